use std::io::Read;

use super::*;

/// Writes archives as PostgreSQL does.
struct Writer {
    bytes: Vec<u8>,
    minor: u8,
}

impl Writer {
    fn new(minor: u8, entries: i32) -> Self {
        let mut writer = Self { bytes: b"PGDMP".to_vec(), minor };
        writer.bytes.extend([1, minor, 0, 4, 8, 1]);
        if minor >= 15 {
            writer.bytes.push(0);
        } else {
            writer.int(-1);
        }
        (0..7).for_each(|n| writer.int(n));
        ["mrs", "15.1", "15.1"].iter().for_each(|text| writer.text(Some(text)));
        writer.int(entries);
        writer
    }

    fn int(&mut self, value: i32) {
        self.bytes.push(u8::from(value < 0));
        self.bytes.extend(value.unsigned_abs().to_le_bytes());
    }

    fn text(&mut self, text: Option<&str>) {
        self.int(text.map_or(-1, |text| i32::try_from(text.len()).unwrap()));
        self.bytes.extend(text.unwrap_or_default().as_bytes());
    }

    fn entry(mut self, id: i32, has_data: bool) -> Self {
        self.int(id);
        self.int(i32::from(has_data));
        for text in ["1259", "16384", "table", "TABLE DATA"] {
            self.text(Some(text));
        }
        self.int(3);
        let texts = [Some("CREATE"), Some(""), None, Some("public"), None];
        texts.into_iter().for_each(|text| self.text(text));
        if self.minor >= 14 {
            self.text(Some("heap"));
        }
        if self.minor >= 16 {
            self.int(114);
        }
        for text in [Some("django"), Some("false"), Some("3"), Some(""), Some("5"), None] {
            self.text(text);
        }
        self.bytes.push(if has_data { 1 } else { 3 });
        self.bytes.extend([0; 8]);
        self
    }

    fn data(mut self, id: i32, chunks: &[&str]) -> Self {
        self.bytes.push(1);
        self.int(id);
        chunks.iter().for_each(|chunk| self.text(Some(chunk)));
        self.int(0);
        self
    }

    fn large_objects(mut self, id: i32) -> Self {
        self.bytes.push(3);
        self.int(id);
        // The oid 3000000000 as PostgreSQL writes it.
        for oid in [16_400, -1_294_967_296] {
            self.int(oid);
            self.text(Some("content"));
            self.int(0);
        }
        self.int(0);
        self
    }
}

fn whole(minor: u8) -> Vec<u8> {
    Writer::new(minor, 4)
        .entry(7, true)
        .entry(8, false)
        .entry(9, true)
        .entry(10, true)
        .data(9, &["1\tone\n", "2\ttwo\n"])
        .large_objects(10)
        .data(7, &[])
        .bytes
}

fn walk(bytes: &[u8]) -> Result<ArchiveReport, String> {
    let mut walker = ArchiveWalker::new(bytes);
    let mut out = Vec::new();
    walker.read_to_end(&mut out).map_err(|error| error.to_string())?;
    assert_eq!(out, bytes);
    Ok(walker.report())
}

/// Hands out one byte at a time.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let end = buf.len().min(1);
        self.0.read(&mut buf[..end])
    }
}

#[test]
fn whole_archives_of_every_known_version_pass() {
    for minor in 12..=16 {
        let report = walk(&whole(minor)).unwrap();
        assert_eq!((report.entries, report.with_data, report.note), (4, 3, None));
        assert_eq!(report.version, Some(format!("1.{minor}")));
        ArchiveWalker::new(Dribble(&whole(minor))).read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn every_truncation_is_noticed() {
    for minor in 12..=16 {
        let bytes = whole(minor);
        for len in 0..bytes.len() {
            assert!(walk(&bytes[..len]).is_err(), "1.{minor} cut to {len}");
        }
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let fails = |bytes: &[u8], text: &str| {
        let error = walk(bytes).unwrap_err();
        assert!(error.contains(text), "{error}");
    };
    let bytes = whole(14);
    fails(b"", "it is empty");
    fails(b"-- SQL dump", "it does not begin with PGDMP");
    fails(&bytes[..40], "it ends after 40 bytes, within its table of contents");
    fails(&bytes[..bytes.len() - 1], "within the data of entry 7");
    fails(&bytes[..bytes.len() - 11], "without the data of 1 entry, first that of entry 7");
    fails(&[&bytes[..], b"x"].concat(), "byte 120 at offset");
    fails(&[&bytes[..], &[1, 0, 7, 0, 0, 0]].concat(), "comes twice or has no entry");
    fails(&[&bytes[..10], &[3]].concat(), "not in the custom format (format 3, not 1)");
    fails(&Writer::new(14, 1).entry(1, false).data(1, &[]).bytes, "has no entry");
    fails(&Writer::new(14, 2).entry(1, true).entry(1, true).bytes, "in its contents twice");
}

#[test]
fn lengths_without_sense_are_refused() {
    let mut writer = Writer::new(14, 1).entry(1, true);
    writer.bytes.extend([1, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
    assert!(walk(&writer.bytes).unwrap_err().contains("is 2147483647 long"));
    let mut writer = Writer::new(14, 1);
    writer.bytes.truncate(11);
    writer.bytes.extend([7; 40]);
    assert!(walk(&writer.bytes).unwrap_err().contains("there is no number"));
}

#[test]
fn an_unknown_version_passes_with_a_note() {
    for (version, text) in [([1, 17], "1.17"), ([2, 0], "2.0"), ([1, 9], "1.9")] {
        let bytes = [&b"PGDMP"[..], &version, b"\0whatever comes"].concat();
        let report = walk(&bytes).unwrap();
        assert_eq!(report.note, Some(format!("archive walk: not possible for version {text}")));
    }
}

#[test]
fn the_error_stays() {
    let mut walker = ArchiveWalker::new(&b"PGDMX"[..]);
    for _ in 0..3 {
        assert!(walker.read(&mut [0; 16]).is_err());
    }
}

fn rows_of_table(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut rows = TableRows::find(bytes, "public", "table").map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    rows.read_to_end(&mut out).map_err(|error| error.to_string()).map(|_| out)
}

/// An archive in which the rows of the first table come behind others.
fn with_rows(minor: u8) -> Vec<u8> {
    Writer::new(minor, 3)
        .entry(7, true)
        .entry(9, true)
        .entry(10, true)
        .data(9, &["no\n", "not these\n"])
        .large_objects(10)
        .data(7, &["1\tone\n2", "\ttwo\n\\.\n", "\n\n"])
        .bytes
}

#[test]
fn the_rows_of_a_table_are_found_behind_others_and_end_where_they_end() {
    for minor in 12..=16 {
        let bytes = with_rows(minor);
        assert_eq!(rows_of_table(&bytes).unwrap(), b"1\tone\n2\ttwo\n", "1.{minor}");
        for len in 0..bytes.len() {
            assert!(rows_of_table(&bytes[..len]).is_err(), "1.{minor} cut to {len}");
        }
        let mut small = Vec::new();
        let mut rows = TableRows::find(&bytes[..], "public", "table").unwrap();
        let mut buffer = [0; 3];
        while let count @ 1.. = rows.read(&mut buffer).unwrap() {
            small.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(small, b"1\tone\n2\ttwo\n");
        let error = TableRows::find(&bytes[..], "public", "other").unwrap_err().to_string();
        assert!(error.contains("no rows of the table"), "{error}");
    }
    let unmarked = Writer::new(14, 1).entry(7, true).data(7, &["1\tone\n"]).bytes;
    assert!(rows_of_table(&unmarked).unwrap_err().contains("have no end"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_rows_panic(bytes: Vec<u8>, at in 0_usize..400, minor in 12_u8..=16) {
        let mut archive = with_rows(minor);
        let at = at.min(archive.len());
        let end = (at + bytes.len()).min(archive.len());
        archive[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = rows_of_table(&archive);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0_usize..400, minor in 12_u8..=16) {
        let mut archive = whole(minor);
        let at = at.min(archive.len());
        let end = (at + bytes.len()).min(archive.len());
        archive[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = walk(&archive);
    }
}
