# shellcheck shell=bash
# The home directory of an invented instance, for a script to source.
#
#   instance_create HOME   the first evening
#   instance_day HOME      what a day of work changes
#
# Besides the ordinary, it holds what backup programs stumble over: names that are no UTF-8, holes,
# hard links, dangling links, foreign owners, times with nanoseconds, extended attributes.

# shellcheck disable=SC2034 # for the script that sources this
INSTANCE_PATHS=(docker-compose.yml mrsattachments log spooler)

random_file() { # PATH KILOBYTES
    { printf '%%PDF-1.4\n' && head -c "$(($2 * 1024))" /dev/urandom; } >"$1"
}

log_lines() { # DAY LINES
    awk -v day="$1" -v lines="$2" 'BEGIN {
        for (n = 0; n < lines; n++)
            printf "[%s %02d:%02d:%02d] INFO mrs.views: GET /mrsrequest/%d/ user=%d %d ms\n",
                day, n / 3600 % 24, n / 60 % 60, n % 60, n * 7919 % 80000, n % 80, n * 31 % 400
    }'
}

# In the current directory.
awkward_files() {
    random_file $'2023/re\xe7u latin-1.pdf' 30
    random_file '2023/reçu de péage, été 2023.pdf' 30
    random_file $'2023/two\nlines.pdf' 1
    : >2023/empty.pdf
    ln 2024/facture_9.pdf 2023/same_as_facture_9.pdf
    ln -s ../2024/facture_10.pdf 2023/link.pdf
    ln -s /nowhere/at/all 2023/dangling
    truncate -s 64M 2023/sparse.img
    printf 'in the middle' | dd of=2023/sparse.img bs=1M seek=32 conv=notrunc status=none
    chmod 4711 2024/facture_1.pdf
    chmod 000 2024/facture_2.pdf
    touch -d '2019-07-14 12:34:56.123456789' 2024/facture_3.pdf
    if ((EUID == 0)); then chown -h 1234:4321 2024/facture_4.pdf 2023/link.pdf; fi
    if command -v setfattr >/dev/null; then setfattr -n user.origin -v scanner 2024/facture_5.pdf; fi
    if command -v setfacl >/dev/null; then setfacl -m u:1234:r 2024/facture_6.pdf; fi
    touch -d '2020-02-29 01:02:03.000000004' empty
}

instance_create() {
    local home=$1 number
    mkdir -p "$home"/{log,spooler/mail,spooler/stat,postgres/data,mrsattachments/{2023,2024,empty}}
    chmod 750 "$home/spooler"

    cat >"$home/docker-compose.yml" <<'YAML'
services:
  django:
    image: example/mrs:master
    volumes: [./log:/app/log, ./spooler:/spooler, ./mrsattachments:/app/mrsattachments]
  postgres:
    image: postgres:15
    volumes: [./postgres/data:/var/lib/postgresql/data]
YAML
    chmod 600 "$home/docker-compose.yml"

    log_lines 2024-03-01 60000 >"$home/log/django.log"
    log_lines 2024-02-29 60000 >"$home/log/django.log.1"
    for number in 2 3 4; do
        log_lines "2024-02-2$number" 60000 | gzip >"$home/log/django.log.$number.gz"
    done
    for number in {1..40}; do
        printf 'mail %d\nsubject=Votre demande\n' "$number" >"$home/spooler/mail/job_$number"
        printf 'stat %d\n' "$number" >"$home/spooler/stat/job_$number"
    done
    for number in {1..60}; do
        random_file "$home/mrsattachments/2024/facture_$number.pdf" $((number * number / 4 + 1))
    done
    (cd "$home/mrsattachments" && awkward_files)

    # What must not be saved: an excluded name, and the live files of the database.
    echo stale >"$home/spooler/stale.pyc"
    echo 15 >"$home/postgres/data/PG_VERSION"
}

instance_day() {
    local home=$1
    log_lines 2024-03-02 3000 >>"$home/log/django.log"
    rm "$home/log/django.log.4.gz" "$home"/spooler/mail/job_{1..9}
    printf 'mail 41\n' >"$home/spooler/mail/job_41"
    random_file "$home/mrsattachments/2024/facture_61.pdf" 700
    mv "$home/mrsattachments/2024/facture_7.pdf" "$home/mrsattachments/2023/facture_7.pdf"
    chmod 640 "$home/docker-compose.yml"
}
