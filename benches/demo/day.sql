-- A day of work on the claims: what the second night finds changed.

SELECT setseed(0.43);
BEGIN;

UPDATE request SET status = 'validated', data = data || '{"validated_by": 7}'
    WHERE status = 'new' AND random() < 0.05;
UPDATE person SET email = 'new' || id || '@example.org' WHERE random() < 0.01;
DELETE FROM "request_logEntry" WHERE random() < 0.002;
DELETE FROM request WHERE status = 'canceled' AND random() < 0.01;
DELETE FROM django_session WHERE expire_date < '2024-03-01 06:00+00';

INSERT INTO request (id, creation_datetime, caisse_id, insured_id, distance, expense, token, data)
    SELECT md5('second day' || n)::uuid, timestamptz '2024-03-02' + n * interval '1 minute', 1 + n % 101, n,
        n % 400, 12.5, sha256((-n)::text::bytea), '{"version": 4}'
    FROM generate_series(1, 400) n;
INSERT INTO "request_logEntry" (request_id, at, action)
    SELECT md5('second day' || n)::uuid, timestamptz '2024-03-02' + n * interval '1 minute', 0
    FROM generate_series(1, 400) n;

-- A release came with a migration.
ALTER TABLE caisse ADD COLUMN phone text;
UPDATE caisse SET phone = '+33 1 99 00 00 ' || lpad((id % 100)::text, 2, '0');
INSERT INTO django_migrations (app, name, applied) VALUES ('caisse', '0091_phone', '2024-03-02 09:00+00');

COMMIT;
