//! COPY text through a rule set of twenty columns, on one thread: bytes a second, both passes.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mrs_backup::anonymize::transform::NoFiles;
use mrs_backup::anonymize::{
    Charset, Column, FingerprintKey, Gatherer, Originals, Program, PseudonymKey, Rewriter,
    RowStream, Rules, Schema, Surveyor, Table, compile,
};
use mrs_backup::crypto::Secret;
use mrs_backup::crypto::random::SeededRandom;

const ROWS: usize = 2_000;

const COLUMNS: [(&str, &str); 20] = [
    ("id", "integer"),
    ("first_name", "character varying(70)"),
    ("last_name", "character varying(70)"),
    ("birth_date", "date"),
    ("email", "character varying(254)"),
    ("phone", "character varying(20)"),
    ("nir", "character varying(13)"),
    ("use_email", "boolean"),
    ("shifted", "boolean"),
    ("created", "timestamp with time zone"),
    ("status", "integer"),
    ("token", "character varying(43)"),
    ("iban", "character varying(34)"),
    ("pel", "character varying(14)"),
    ("ip", "inet"),
    ("street", "character varying(200)"),
    ("postcode", "character varying(5)"),
    ("comment", "text"),
    ("note", "text"),
    ("data", "jsonb"),
];

const RULES: &str = r#"
version = 1
[defaults]
null = "keep"
empty = "keep"
[table.person]
id = { keep = "a number" }
use_email = { keep = "a flag" }
shifted = { keep = "a flag" }
created = { keep = "a time" }
status = { keep = "a number" }
note = { keep = "for the scan" }
first_name = { fake = "first_name" }
last_name = { fake = "last_name" }
birth_date = { birth_month = true }
email = { email = "{hmac:16}@example.invalid" }
phone = { phone = "fr" }
nir = { nir = "fpe" }
token = { pattern = "[A-Za-z0-9]{43}" }
iban = { iban = "same_country" }
pel = { pattern = "[A-Z0-9]{14}" }
ip = { ip = "prefix" }
street = { address = "street" }
postcode = { address = "postcode" }
comment = { text = "lorem" }
[table.person.data.json]
nir = { nir = "fpe" }
last_name = { fake = "last_name" }
distance = { keep = "kilometres" }
"#;

fn program() -> Program {
    let columns = COLUMNS.iter().map(|(name, type_name)| Column {
        name: (*name).to_owned(),
        type_name: (*type_name).to_owned(),
        is_nullable: true,
    });
    let table = Table {
        schema: "public".to_owned(),
        name: "person".to_owned(),
        columns: columns.collect(),
        primary: vec!["id".to_owned()],
        ..Table::default()
    };
    let rules = Rules::parse(RULES, Path::new("rules.toml")).expect("rules");
    let key = PseudonymKey::new(&Secret::new(vec![7; 32])).expect("a key");
    compile(&rules, &Schema { tables: vec![table], ..Schema::default() }, &key)
        .expect("rules that fit")
}

/// Rows as COPY writes them.
fn rows() -> String {
    let mut text = String::new();
    for n in 0..ROWS {
        let nir =
            format!("1{:02}{:02}75{:03}{:03}", n % 90 + 10, n % 12 + 1, n / 999 + 1, n % 999 + 1);
        text.push_str(&format!(
            "{n}\tJean-{}\tQuenneville{n}\t19{:02}-{:02}-11\tjean.q{n}@orange-mail.fr\t06 12 {:02} {:02} 78\t{nir}\tt\tf\t\
             2024-05-06 07:08:09+00\t{}\ttoken{n:038}\t\
             FR14200410100505{n:05}M02606\tPEL{n:011}\t10.1.{}.{}\t\
             {n} rue de la Gare\t75011\tElle a appelé à propos de sa demande {n}, et rappellera demain.\t\
             Le dossier {n} est complet et a été transmis au service qui le traite.\t\
             {{\"nir\": \"{nir}\", \"last_name\": \"Quenneville{n}\", \"distance\": {}}}\n",
            n % 50,
            n % 90 + 10,
            n % 12 + 1,
            n % 100,
            n / 100 % 100,
            n % 5,
            n % 200,
            n % 250 + 1,
            n % 300,
        ));
    }
    text
}

fn surveyed(program: &Program, rows: &str) -> Originals {
    let key = FingerprintKey::new(&SeededRandom::new(1));
    let mut gatherer = Gatherer::new(key, program.scanned);
    let mut surveyor = Surveyor::new(&program.tables[0], Charset::Utf8);
    rows.lines().for_each(|line| surveyor.row(line.as_bytes(), &mut gatherer));
    assert!(surveyor.troubles.is_empty(), "{:?}", surveyor.troubles);
    gatherer.seal().expect("few values")
}

fn rewriting(criterion: &mut Criterion) {
    let (program, rows) = (program(), rows());
    let originals = surveyed(&program, &rows);
    let mut group = criterion.benchmark_group("anonymize");
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("survey", |bencher| bencher.iter(|| black_box(surveyed(&program, &rows))));
    group.bench_function("rewrite", |bencher| {
        bencher.iter(|| {
            let rewriter = Rewriter::new(&program.tables[0], Charset::Utf8, &originals, &NoFiles);
            let (mut stream, mut out) = (RowStream::new(rewriter), Vec::with_capacity(rows.len()));
            for piece in rows.as_bytes().chunks(64 << 10) {
                stream.push(piece, &mut out).expect("rows that can be rewritten");
            }
            black_box(out)
        });
    });
    group.finish();
}

criterion_group!(benches, rewriting);
criterion_main!(benches);
