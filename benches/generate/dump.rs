//! `db/claims.sql`: what `pg_dump` writes for a claims database, as SQL text.
//!
//! The first line says which night left the file, so that no night is applied twice.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt};

use super::text::{
    FIRST_NAMES, LAST_NAMES, pick, push, push_date, push_hex, push_number, push_padded, push_time,
    push_uuid, push_words,
};
use super::{Night, Written};

const FILE: &str = "db/claims.sql";
const BUFFER_BYTES: usize = 1 << 20;

/// Out of a thousand rows, every night after the first.
const DELETED: u32 = 2;
const UPDATED: u32 = 10;
const INSERTED: u32 = 5;

const PERSONS: u64 = 350_000;
const REQUESTS: u64 = 420_000;
const BILLS: u64 = 640_000;
const ENTRIES: u64 = 1_080_000;

/// Every table ends in `status` and `modified`: what an update changes.
struct Table {
    name: &'static str,
    columns: &'static str,
    rows: u64,
    statuses: &'static [&'static str],
    row: fn(&mut Vec<u8>, &mut ChaCha8Rng, &Night, u64),
}

const TABLES: &[Table] = &[
    Table {
        name: "person_person",
        columns: "id bigint, birth_date date, first_name text, last_name text, email text, nir text, \
                  token text, status text, modified timestamp",
        rows: PERSONS,
        statuses: &["active", "active", "active", "archived", "blocked"],
        row: person,
    },
    Table {
        name: "mrsrequest_mrsrequest",
        columns: "id uuid, display_id text, creation_datetime timestamp, caisse_id int, \
                  insured_id bigint, distance numeric, expense numeric, token text, data jsonb, \
                  comment text, status text, modified timestamp",
        rows: REQUESTS,
        statuses: &["new", "inprogress", "validated", "validated", "validated", "rejected"],
        row: request,
    },
    Table {
        name: "mrsattachment_bill",
        columns: "id bigint, request_id uuid, filename text, sha1 text, bytes bigint, mime text, \
                  creation_datetime timestamp, status text, modified timestamp",
        rows: BILLS,
        statuses: &["stored", "stored", "stored", "purged"],
        row: bill,
    },
    Table {
        name: "mrsrequest_logentry",
        columns: "id bigint, request_id uuid, datetime timestamp, user_id int, action text, \
                  comment text, data jsonb, status text, modified timestamp",
        rows: ENTRIES,
        statuses: &["ok", "ok", "ok", "ok", "mailed", "failed"],
        row: entry,
    },
];

pub fn write(night: &Night) -> io::Result<Written> {
    let path = night.dir.join(FILE);
    if night.is_first() {
        fs::create_dir_all(night.dir.join("db"))?;
    }
    let aside = path.with_extension("sql.new");
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&aside)?);
    if night.is_first() {
        write_new(night, &mut out)?;
    } else {
        rewrite(night, BufReader::with_capacity(BUFFER_BYTES, File::open(&path)?), &mut out)?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.set_modified(night.evening())?;
    fs::rename(aside, path)?;
    Ok(Written { files: 1, bytes: file.metadata()?.len() })
}

fn mark(night: &Night, number: u64) -> String {
    format!("-- claims: seed {} scale {} night {number}\n", night.seed, night.scale)
}

fn write_new(night: &Night, out: &mut impl Write) -> io::Result<()> {
    out.write_all(mark(night, 1).as_bytes())?;
    out.write_all(b"SET client_encoding = 'UTF8';\n\n")?;
    for table in TABLES {
        writeln!(out, "CREATE TABLE public.{} ({});\n", table.name, table.columns)?;
    }
    let mut line = Vec::with_capacity(4096);
    for table in TABLES {
        let mut random = night.random(table.name);
        writeln!(out, "COPY public.{} FROM stdin;", table.name)?;
        for id in 1..=night.scaled(table.rows) {
            line.clear();
            push_row(&mut line, table, &mut random, night, id);
            out.write_all(&line)?;
        }
        out.write_all(b"\\.\n\n")?;
    }
    for table in TABLES {
        let name = table.name;
        writeln!(
            out,
            "ALTER TABLE ONLY public.{name} ADD CONSTRAINT {name}_pkey PRIMARY KEY (id);"
        )?;
    }
    Ok(())
}

/// Copies the dump of the night before, changing rows on the way.
fn rewrite(night: &Night, mut old: impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::with_capacity(4096);
    old.read_until(b'\n', &mut line)?;
    let expected = mark(night, night.number - 1);
    if line != expected.as_bytes() {
        let what = format!("{FILE} does not begin with {:?}", expected.trim_end());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    out.write_all(mark(night, night.number).as_bytes())?;

    let mut tables = TABLES.iter();
    loop {
        line.clear();
        if old.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        out.write_all(&line)?;
        if line.starts_with(b"COPY ") {
            let table = tables.next().expect("as many COPY blocks as tables");
            rewrite_rows(night, table, &mut old, out)?;
        }
    }
}

fn rewrite_rows(
    night: &Night,
    table: &Table,
    old: &mut impl BufRead,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut random = night.random(table.name);
    let rows = night.scaled(table.rows);
    // Each night has twice the ids it will need on average.
    let mut next_id = rows + (night.number - 2) * (rows / 100 + 1) + 1;
    let mut line = Vec::with_capacity(4096);
    loop {
        line.clear();
        old.read_until(b'\n', &mut line)?;
        if line.is_empty() || line == b"\\.\n" {
            return out.write_all(&line);
        }
        match random.random_range(0..1000) {
            dice if dice < DELETED => continue,
            dice if dice < DELETED + UPDATED => {
                let mut tabs = line.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\t');
                let status_at = tabs.nth(1).map_or(0, |(at, _)| at + 1);
                line.truncate(status_at);
                push_tail(&mut line, table, &mut random, night);
            }
            dice if dice < DELETED + UPDATED + INSERTED => {
                push_row(&mut line, table, &mut random, night, next_id);
                next_id += 1;
            }
            _ => {}
        }
        out.write_all(&line)?;
    }
}

fn push_row(line: &mut Vec<u8>, table: &Table, random: &mut ChaCha8Rng, night: &Night, id: u64) {
    (table.row)(line, random, night, id);
    line.push(b'\t');
    push_tail(line, table, random, night);
}

fn push_tail(line: &mut Vec<u8>, table: &Table, random: &mut ChaCha8Rng, night: &Night) {
    push(line, pick(random, table.statuses));
    line.push(b'\t');
    push_moment(line, random, night, if night.is_first() { 400 } else { 1 });
    line.push(b'\n');
}

/// A time in the last `days` before the evening.
fn push_moment(line: &mut Vec<u8>, random: &mut ChaCha8Rng, night: &Night, days: u32) {
    let seconds = night.evening_s() - u64::from(random.random_range(1..days * 86_400));
    push_time(line, seconds, random.random_range(0..1_000_000));
}

fn push_token<const BYTES: usize>(line: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let mut bytes = [0; BYTES];
    random.fill_bytes(&mut bytes);
    push_hex(line, &bytes);
}

/// A price or a distance: `123.45`.
fn push_amount(line: &mut Vec<u8>, random: &mut ChaCha8Rng, below: u32) {
    push_number(line, u64::from(random.random_range(0..below)));
    line.push(b'.');
    push_padded(line, u64::from(random.random_range(0..20u32)) * 5, 2);
}

/// Like a French social security number: sex, year, month, then digits.
fn push_nir(line: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    push_number(line, u64::from(random.random_range(1..=2u32)));
    push_padded(line, u64::from(random.random_range(20..100u32)), 2);
    push_padded(line, u64::from(random.random_range(1..=12u32)), 2);
    push_padded(line, random.random_range(0..10_000_000_000), 10);
}

fn person(line: &mut Vec<u8>, random: &mut ChaCha8Rng, _: &Night, id: u64) {
    let (first, last) = (pick(random, &FIRST_NAMES), pick(random, &LAST_NAMES));
    push_number(line, id);
    line.push(b'\t');
    push_date(line, u64::from(random.random_range(0..1_100_000_000u32)));
    for text in ["\t", first, "\t", last, "\t"] {
        push(line, text);
    }
    line.extend(first.bytes().chain([b'.']).chain(last.bytes()).filter(u8::is_ascii));
    push_number(line, u64::from(random.random_range(0..1000u32)));
    push(line, pick(random, &["@example.org\t", "@example.com\t", "@courriel.example\t"]));
    push_nir(line, random);
    line.push(b'\t');
    push_token::<16>(line, random);
}

fn request(line: &mut Vec<u8>, random: &mut ChaCha8Rng, night: &Night, id: u64) {
    push_uuid(line, 2, id);
    line.push(b'\t');
    push_padded(line, id, 12);
    line.push(b'\t');
    push_moment(line, random, night, 900);
    line.push(b'\t');
    push_number(line, u64::from(random.random_range(1..=101u32)));
    line.push(b'\t');
    push_number(line, random.random_range(1..=PERSONS));
    line.push(b'\t');
    push_number(line, u64::from(random.random_range(1..400u32)));
    line.push(b'\t');
    push_amount(line, random, 120);
    line.push(b'\t');
    push_token::<20>(line, random);
    push(line, "\t{\"version\": 3, \"modevp\": \"");
    push(line, pick(random, &["car", "bike", "bus", "train", "taxi"]));
    push(line, "\", \"transports\": [{\"date_depart\": \"");
    let depart = night.evening_s() - u64::from(random.random_range(1..900 * 86_400u32));
    push_date(line, depart);
    push(line, "\", \"date_return\": \"");
    push_date(line, depart + 86_400 * u64::from(random.random_range(0..3u32)));
    push(line, "\"}], \"expensevp_toll\": ");
    push_amount(line, random, 40);
    push(line, ", \"parking_enable\": ");
    push(line, pick(random, &["true", "false"]));
    push(line, ", \"pmt_pel\": null, \"confirms\": ");
    push_number(line, u64::from(random.random_range(0..4u32)));
    push(line, "}\t");
    let words = random.random_range(0..13);
    push_words(line, random, words);
}

fn bill(line: &mut Vec<u8>, random: &mut ChaCha8Rng, night: &Night, id: u64) {
    push_number(line, id);
    line.push(b'\t');
    push_uuid(line, 2, random.random_range(1..=REQUESTS));
    push(line, pick(random, &["\tfacture_", "\tpeage_", "\tparking_", "\tscan_", "\tIMG_"]));
    push_padded(line, u64::from(random.random_range(0..100_000u32)), 5);
    push(line, pick(random, &[".pdf\t", ".jpg\t", ".jpeg\t", ".png\t"]));
    push_token::<20>(line, random);
    line.push(b'\t');
    push_number(line, u64::from(random.random_range(9_000..4_000_000u32)));
    push(line, "\tapplication/octet-stream\t");
    push_moment(line, random, night, 900);
}

fn entry(line: &mut Vec<u8>, random: &mut ChaCha8Rng, night: &Night, id: u64) {
    push_number(line, id);
    line.push(b'\t');
    push_uuid(line, 2, random.random_range(1..=REQUESTS));
    line.push(b'\t');
    push_moment(line, random, night, 900);
    line.push(b'\t');
    push_number(line, u64::from(random.random_range(1..60u32)));
    push(
        line,
        pick(random, &["\tcreate\t", "\tupdate\t", "\tvalidate\t", "\treject\t", "\temail\t"]),
    );
    push(line, "Le statut de la demande a été modifié: ");
    let words = random.random_range(5..15);
    push_words(line, random, words);
    push(line, "\t{\"template\": \"");
    push(line, pick(random, &["success_mail", "reject_mail", "claim_mail"]));
    push(line, "\", \"changed\": {\"distance\": [");
    push_number(line, u64::from(random.random_range(1..400u32)));
    push(line, ", ");
    push_number(line, u64::from(random.random_range(1..400u32)));
    push(line, "]}, \"ip\": \"10.0.");
    push_number(line, u64::from(random.random_range(0..256u32)));
    line.push(b'.');
    push_number(line, u64::from(random.random_range(0..256u32)));
    push(line, "\"}");
}
