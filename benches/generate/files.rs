//! Everything of an instance that lies in files: logs, attachments, code, queued jobs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt};

use super::text::{
    FIRST_NAMES, LAST_NAMES, WORDS, pick, push, push_date, push_hex, push_number, push_padded,
    push_time, push_uuid, push_words,
};
use super::{DAY_S, Night, Written};

const BUFFER_BYTES: usize = 256 << 10;

/// A file was last changed up to `days` before the evening.
fn changed_within(random: &mut ChaCha8Rng, night: &Night, days: u64) -> SystemTime {
    let seconds = random.random_range(1..days * DAY_S);
    night.evening() - Duration::new(seconds, random.random_range(0..1_000_000_000))
}

/// Refuses what is there already: a night applied twice must not go unnoticed.
fn create(path: &Path) -> io::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    created.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn write_file(path: &Path, bytes: &[u8], modified: SystemTime) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.set_modified(modified)
}

// --- attachments ------------------------------------------------------------------------------------

const ATTACHMENTS: u64 = 800;
const ATTACHMENTS_A_NIGHT: u64 = 8;
const ATTACHMENT_MEAN_BYTES: f64 = 1_000_000.0;
/// Of the logarithm: half of the files are below 0.6 MB, one in a hundred above 6 MB.
const ATTACHMENT_SPREAD: f64 = 1.0;

/// Scans and photographs: nothing in them can be compressed.
pub fn attachments(night: &Night) -> io::Result<Written> {
    let count = if night.is_first() { ATTACHMENTS } else { ATTACHMENTS_A_NIGHT };
    let mut written = Written::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    for number in 0..night.scaled(count) {
        let mut random = night.random(&format!("attachment {number}"));
        let modified = changed_within(&mut random, night, if night.is_first() { 300 } else { 1 });
        let mut name = Vec::new();
        push_uuid(&mut name, 3, night.number << 32 | number);
        let dir = night.dir.join(format!("mrsattachments/{:02}", number % 24));
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.pdf", String::from_utf8_lossy(&name)));

        let bytes = log_normal(&mut random);
        let mut file = create(&path)?;
        let mut left = bytes;
        while left > 0 {
            let part = left.min(BUFFER_BYTES as u64) as usize;
            random.fill_bytes(&mut buffer[..part]);
            if left == bytes && part > 8 {
                buffer[..8].copy_from_slice(b"%PDF-1.4");
            }
            file.write_all(&buffer[..part])?;
            left -= part as u64;
        }
        file.set_modified(modified)?;
        written.add(bytes);
    }
    Ok(written)
}

fn log_normal(random: &mut ChaCha8Rng) -> u64 {
    let (one, other): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
    let of_mean = (ATTACHMENT_SPREAD * normal - ATTACHMENT_SPREAD.powi(2) / 2.0).exp();
    (ATTACHMENT_MEAN_BYTES * of_mean) as u64 + 1
}

// --- logs -------------------------------------------------------------------------------------------

/// Each has its current log, `PLAIN_DAYS` rotated ones and `GZIPPED_DAYS` compressed ones.
const LOGS: &[(&str, LogLine)] =
    &[("django.log", django_line), ("uwsgi.log", uwsgi_line), ("access.log", access_line)];
const PLAIN_DAYS: u64 = 12;
const GZIPPED_DAYS: u64 = 24;
const PLAIN_LOG_BYTES: u64 = 361_000_000 / (3 * (PLAIN_DAYS + 1));
const GZIPPED_LOG_BYTES: u64 = 69_000_000 / (3 * GZIPPED_DAYS);
const APPENDED_BYTES: u64 = 2_000_000;

type LogLine = fn(&mut Vec<u8>, &mut ChaCha8Rng, u64);

pub fn logs(night: &Night) -> io::Result<Written> {
    let dir = night.dir.join("log");
    fs::create_dir_all(&dir)?;
    let mut written = Written::default();
    if !night.is_first() {
        let rotated = format!("django.log-{}", dated(night.evening_s() - DAY_S));
        fs::rename(dir.join("django.log"), dir.join(rotated))?;
        written.add(plain_log(night, &dir, "django.log", LOGS[0].1, night.evening_s())?);
        written.add(append_log(night, &dir, "uwsgi.log", LOGS[1].1)?);
        return Ok(written);
    }
    for (name, line) in LOGS {
        for day in 0..=PLAIN_DAYS + GZIPPED_DAYS {
            let evening_s = night.evening_s() - day * DAY_S;
            let rotated = format!("{name}-{}", dated(evening_s));
            written.add(match day {
                0 => plain_log(night, &dir, name, *line, evening_s)?,
                1..=PLAIN_DAYS => plain_log(night, &dir, &rotated, *line, evening_s)?,
                _ => gzipped_log(night, &dir, &format!("{rotated}.gz"), *line, evening_s)?,
            });
        }
    }
    Ok(written)
}

fn dated(seconds: u64) -> String {
    let mut date = Vec::new();
    push_date(&mut date, seconds);
    String::from_utf8_lossy(&date).replace('-', "")
}

fn plain_log(
    night: &Night,
    dir: &Path,
    name: &str,
    line: LogLine,
    evening_s: u64,
) -> io::Result<u64> {
    let file = create(&dir.join(name))?;
    write_lines(night, file, name, line, evening_s, night.scaled(PLAIN_LOG_BYTES))
}

fn append_log(night: &Night, dir: &Path, name: &str, line: LogLine) -> io::Result<u64> {
    let file = OpenOptions::new().append(true).open(dir.join(name))?;
    write_lines(night, file, name, line, night.evening_s(), night.scaled(APPENDED_BYTES))
}

fn write_lines(
    night: &Night,
    file: File,
    name: &str,
    line: LogLine,
    evening_s: u64,
    bytes: u64,
) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut lines = Lines::new(night, name, line, evening_s);
    let mut written = 0;
    while written < bytes {
        let next = lines.next_line();
        out.write_all(next)?;
        written += next.len() as u64;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.set_modified(lines.time())?;
    Ok(written)
}

fn gzipped_log(
    night: &Night,
    dir: &Path,
    name: &str,
    line: LogLine,
    evening_s: u64,
) -> io::Result<u64> {
    let file = create(&dir.join(name))?;
    let mut lines = Lines::new(night, name, line, evening_s);
    let mut out = GzEncoder::new(Counting { file, bytes: 0 }, Compression::fast());
    while out.get_ref().bytes < night.scaled(GZIPPED_LOG_BYTES) {
        out.write_all(lines.next_line())?;
    }
    let out = out.finish()?;
    out.file.set_modified(lines.time())?;
    Ok(out.bytes)
}

struct Counting {
    file: File,
    bytes: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The lines of one day, a moment after each other.
struct Lines {
    random: ChaCha8Rng,
    line: LogLine,
    buffer: Vec<u8>,
    time_us: u64,
}

impl Lines {
    fn new(night: &Night, name: &str, line: LogLine, evening_s: u64) -> Lines {
        let time_us = (evening_s - DAY_S) * 1_000_000;
        Lines { random: night.random(name), line, buffer: Vec::new(), time_us }
    }

    fn next_line(&mut self) -> &[u8] {
        self.time_us += u64::from(self.random.random_range(1_000..600_000u32));
        self.buffer.clear();
        (self.line)(&mut self.buffer, &mut self.random, self.time_us);
        &self.buffer
    }

    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.time_us)
    }
}

fn push_moment(out: &mut Vec<u8>, time_us: u64) {
    push_time(out, time_us / 1_000_000, (time_us % 1_000_000) as u32);
}

fn push_path(out: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    match random.random_range(0..10) {
        0..4 => {
            push(out, pick(random, &["/static/css/main.", "/static/js/app.", "/static/img/logo."]));
            push(out, pick(random, &["4f9ad1c07b2e.css", "9be01a77c3d4.js", "02cc81f6aa10.svg"]));
        }
        4..7 => {
            push(out, "/mrsrequest/");
            push_uuid(out, 2, u64::from(random.random_range(1..5_000u32)));
            push(out, pick(random, &["/validate/", "/update/", "/", "/reject/"]));
        }
        _ => push(out, pick(random, &["/", "/healthz", "/demande", "/dashboard/", "/contact/"])),
    }
}

fn push_address(out: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    push(out, pick(random, &["192.0.2.", "198.51.100.", "203.0.113."]));
    push_number(out, u64::from(random.random_range(1..255u32)));
}

fn django_line(out: &mut Vec<u8>, random: &mut ChaCha8Rng, time_us: u64) {
    out.push(b'[');
    push_moment(out, time_us);
    push(out, pick(random, &["] DEBUG ", "] INFO ", "] INFO ", "] WARNING "]));
    push(out, pick(random, &["django.request: ", "mrs.views: ", "django.security: "]));
    push(out, pick(random, &["GET ", "GET ", "POST "]));
    push_path(out, random);
    push(out, " user=");
    push_number(out, u64::from(random.random_range(1..60u32)));
    push(out, " queries=");
    push_number(out, u64::from(random.random_range(1..30u32)));
    push(out, " message=\"");
    let words = random.random_range(2..6);
    push_words(out, random, words);
    push(out, "\"\n");
}

fn uwsgi_line(out: &mut Vec<u8>, random: &mut ChaCha8Rng, time_us: u64) {
    push(out, "[pid: ");
    push_number(out, u64::from(random.random_range(20..28u32)));
    push(out, "|app: 0|req: ");
    push_number(out, time_us / 300_000 % 1_000_000);
    push(out, "] 172.18.0.5 () {52 vars in 1");
    push_number(out, u64::from(random.random_range(100..400u32)));
    push(out, " bytes} [");
    push_moment(out, time_us);
    push(out, "] GET ");
    push_path(out, random);
    push(out, " => generated ");
    push_number(out, u64::from(random.random_range(200..20_000u32)));
    push(out, " bytes in ");
    push_number(out, u64::from(random.random_range(2..400u32)));
    push(out, " msecs (HTTP/1.1 200) 8 headers in 312 bytes (1 switches on core 0)\n");
}

fn access_line(out: &mut Vec<u8>, random: &mut ChaCha8Rng, time_us: u64) {
    push_address(out, random);
    push(out, " - - [");
    push_moment(out, time_us);
    push(out, "] \"GET ");
    push_path(out, random);
    push(out, " HTTP/2.0\" ");
    push(out, pick(random, &["200 ", "200 ", "200 ", "304 ", "302 ", "404 "]));
    push_number(out, u64::from(random.random_range(0..30_000u32)));
    push(out, " \"-\" \"Mozilla/5.0 (");
    push(out, pick(random, &["Windows NT 10.0; Win64; x64", "X11; Linux x86_64", "iPhone"]));
    push(out, ") Gecko/20100101 Firefox/12");
    push_number(out, u64::from(random.random_range(0..10u32)));
    push(out, ".0\" \"django@docker\" \"http://172.18.0.5:8000\" ");
    push_number(out, u64::from(random.random_range(2..400u32)));
    push(out, "ms\n");
}

// --- small files ------------------------------------------------------------------------------------

struct SmallFiles {
    dir: &'static str,
    count: u64,
    a_directory: u64,
    bytes: std::ops::Range<f64>,
    /// Above 1: small files are more frequent than larger ones.
    bend: f64,
}

/// Of 20,000 files.
const ADDED_SMALL: u64 = 200;
const CHANGED_SMALL: u64 = 113;

pub fn application(night: &Night) -> io::Result<Written> {
    let count = night.scaled(20_000);
    SmallFiles { dir: "app", count, a_directory: 64, bytes: 512.0..6_144.0, bend: 1.4 }.write(night)
}

pub fn only_small(night: &Night, count: u64) -> io::Result<Written> {
    SmallFiles { dir: "files", count, a_directory: 200, bytes: 512.0..3_584.0, bend: 1.0 }
        .write(night)
}

impl SmallFiles {
    fn write(&self, night: &Night) -> io::Result<Written> {
        let mut written = Written::default();
        if night.is_first() {
            self.add(night, 0..self.count, &mut written)?;
            return Ok(written);
        }
        let added = (self.count * ADDED_SMALL).div_ceil(20_000);
        let first = self.count + (night.number - 2) * added;
        self.add(night, first..first + added, &mut written)?;

        let mut random = night.random(self.dir);
        for _ in 0..(self.count * CHANGED_SMALL).div_ceil(20_000) {
            let path = night.dir.join(self.path(random.random_range(0..self.count)));
            let mut file = OpenOptions::new().append(true).open(path)?;
            // Every third is only touched, as an unpacked release does.
            if random.random_range(0..3) > 0 {
                let mut line = Vec::new();
                push(&mut line, "# ");
                push_words(&mut line, &mut random, 6);
                line.push(b'\n');
                file.write_all(&line)?;
            }
            file.set_modified(changed_within(&mut random, night, 1))?;
            written.add(file.metadata()?.len());
        }
        Ok(written)
    }

    fn path(&self, number: u64) -> String {
        let kind = ["py", "json", "txt"][(number % 3) as usize];
        let word = WORDS[(number as usize * 7) % WORDS.len()];
        format!("{}/{:04}/{word}_{number:06}.{kind}", self.dir, number / self.a_directory)
    }

    fn add(
        &self,
        night: &Night,
        numbers: std::ops::Range<u64>,
        sum: &mut Written,
    ) -> io::Result<()> {
        let mut random = night.random(&format!("{} new", self.dir));
        let mut text = Vec::with_capacity(8192);
        for number in numbers.clone() {
            if number % self.a_directory == 0 || number == numbers.start {
                fs::create_dir_all(night.dir.join(format!(
                    "{}/{:04}",
                    self.dir,
                    number / self.a_directory
                )))?;
            }
            let within = random.random::<f64>().powf(self.bend);
            let bytes = self.bytes.start + (self.bytes.end - self.bytes.start) * within;
            text.clear();
            while text.len() < bytes as usize {
                push_source_line(&mut text, &mut random, number % 3);
            }
            text.truncate(bytes as usize);
            let days = if night.is_first() { 300 } else { 1 };
            let modified = changed_within(&mut random, night, days);
            write_file(&night.dir.join(self.path(number)), &text, modified)?;
            sum.add(text.len() as u64);
        }
        Ok(())
    }
}

fn push_source_line(text: &mut Vec<u8>, random: &mut ChaCha8Rng, kind: u64) {
    match kind {
        0 => {
            push(text, pick(random, &["    def ", "    async def "]));
            push(text, pick(random, &WORDS));
            text.push(b'_');
            push(text, pick(random, &WORDS));
            push(text, "(self, ");
            push(text, pick(random, &WORDS));
            push(text, "):\n        return self.");
            push(text, pick(random, &WORDS));
            push(text, ".filter(");
            push(text, pick(random, &WORDS));
            text.push(b'=');
            push_number(text, u64::from(random.random_range(0..1000u32)));
            push(text, ")\n\n");
        }
        1 => {
            push(text, "{\"id\": ");
            push_number(text, u64::from(random.random::<u32>()));
            push(text, ", \"name\": \"");
            push(text, pick(random, &FIRST_NAMES));
            push(text, " ");
            push(text, pick(random, &LAST_NAMES));
            push(text, "\", \"token\": \"");
            push_hex(text, &random.random::<u64>().to_le_bytes());
            push(text, "\"},\n");
        }
        _ => {
            let words = random.random_range(6..14);
            push_words(text, random, words);
            push(text, ".\n");
        }
    }
}

// --- the rest of an instance ------------------------------------------------------------------------

const JOBS: u64 = 150;
const JOBS_A_NIGHT: u64 = 6;

/// Jobs that wait: mails to send, statistics to compute. Every night the oldest are done.
pub fn spooler(night: &Night) -> io::Result<Written> {
    let mut written = Written::default();
    for queue in ["mail", "stat"] {
        let dir = night.dir.join("spooler").join(queue);
        fs::create_dir_all(&dir)?;
        let (stay, new) = (night.scaled(JOBS), night.scaled(JOBS_A_NIGHT));
        let first = if night.is_first() { 0 } else { stay + (night.number - 2) * new };
        let job = |number: u64| dir.join(format!("uwsgi_spoolfile_on_django_24_{number:06}"));
        if !night.is_first() {
            for done in (night.number - 2) * new..(night.number - 1) * new {
                fs::remove_file(job(done))?;
            }
        }
        for number in first..first + if night.is_first() { stay } else { new } {
            let mut random = night.random(&format!("{queue} {number}"));
            let mut text = Vec::new();
            push(&mut text, queue);
            push(&mut text, " 1 0 ");
            push_padded(&mut text, u64::from(random.random::<u32>()), 10);
            text.push(b'\n');
            let words = random.random_range(30..200);
            push_words(&mut text, &mut random, words);
            write_file(&job(number), &text, changed_within(&mut random, night, 1))?;
            written.add(text.len() as u64);
        }
    }
    Ok(written)
}

pub fn compose(night: &Night) -> io::Result<Written> {
    const COMPOSE: &str = "\
services:
  django:
    image: example/mrs:master
    env_file: .env
    volumes:
      - ./log:/app/log
      - ./spooler:/spooler
      - ./mrsattachments:/app/mrsattachments
    depends_on: [postgres]
  postgres:
    image: postgres:15
    environment: {POSTGRES_USER: django, POSTGRES_DB: mrs}
    volumes:
      - ./postgres/data:/var/lib/postgresql/data
";
    let mut written = Written::default();
    if night.is_first() {
        let modified = night.evening() - Duration::from_secs(30 * DAY_S);
        write_file(&night.dir.join("docker-compose.yml"), COMPOSE.as_bytes(), modified)?;
        written.add(COMPOSE.len() as u64);
    }
    Ok(written)
}
