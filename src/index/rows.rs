//! How segments and chunks are laid out in rows, and the rows that find them.

use rusqlite::{Connection, Transaction, params};

use crate::chunker::Features;
use crate::id::{ChunkId, KeyId, SegmentId, SessionId};
use crate::pack::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};

use super::db::{Failure, bytes, bytes_or_none, from_sql, to_sql, valid};
use super::object::IndexedPack;

const FEATURES: &str = "features of a segment";
/// Bytes of one chunk in `segment.chunks`.
const CHUNK_LEN: usize = ChunkId::SIZE + 4;
/// Fewer rows than this are not worth merging.
const MERGE_AT_LEAST: i64 = 250_000;
/// Rows removed in one sorted go.
const REMOVE_AT_ONCE: usize = 65_536;

/// A row of `lookup`: key and segment.
pub(super) type LookupRow = (i64, i64);

/// The first six bytes of an id, which SQLite stores in six bytes. Rows that share them by accident
/// are told apart by the whole id.
pub(super) fn lookup_key(id: &[u8; 32]) -> i64 {
    let [a, b, c, d, e, f, ..] = *id;
    i64::from_be_bytes([a, b, c, d, e, f, 0, 0]) >> 16
}

pub(super) fn class_from(number: u8) -> Result<PackClass, Failure> {
    valid(PackClass::from_number(number.into()), "class of a pack")
}

fn kind_from(number: u8) -> Result<SegmentKind, Failure> {
    match number {
        0 => Ok(SegmentKind::Raw),
        1 => Ok(SegmentKind::Zstd),
        2 => Ok(SegmentKind::ZstdWithBase),
        _ => Err(Failure::Damaged("kind of a segment")),
    }
}

/// The chunks as a column: `None` if the segment is one chunk of the same id.
fn chunks_column(entry: &SegmentEntry) -> Option<Vec<u8>> {
    if let [only] = entry.chunks.as_slice()
        && only.id.as_bytes() == entry.id.as_bytes()
        && only.len == entry.raw_len
    {
        return None;
    }
    let mut column = Vec::with_capacity(entry.chunks.len().saturating_mul(CHUNK_LEN));
    for chunk in &entry.chunks {
        column.extend_from_slice(chunk.id.as_bytes());
        column.extend_from_slice(&chunk.len.to_le_bytes());
    }
    Some(column)
}

pub(super) fn chunk_records(
    column: &[u8],
) -> Result<impl Iterator<Item = ([u8; 32], u32)>, Failure> {
    let records = column.as_chunks::<CHUNK_LEN>();
    if !records.1.is_empty() {
        return Err(Failure::Damaged("chunks of a segment"));
    }
    Ok(records.0.iter().filter_map(|record| {
        let (id, len) = record.split_first_chunk::<32>()?;
        Some((*id, u32::from_le_bytes(len.try_into().ok()?)))
    }))
}

/// Where `wanted` is in a segment: offset and length.
pub(super) fn find_chunk(
    wanted: &ChunkId,
    segment: &[u8],
    raw_len: u32,
    column: Option<&[u8]>,
) -> Result<Option<(u32, u32)>, Failure> {
    let Some(column) = column else {
        return Ok((segment == wanted.as_bytes()).then_some((0, raw_len)));
    };
    let mut offset = 0_u32;
    for (id, len) in chunk_records(column)? {
        if id == *wanted.as_bytes() {
            return Ok(Some((offset, len)));
        }
        offset = valid(offset.checked_add(len), "lengths of chunks")?;
    }
    Ok(None)
}

/// Reads `id, offset, sealed_len, raw_len, kind, key, base, features` from column `at` on; without chunks.
pub(super) fn segment_from(row: &rusqlite::Row<'_>, at: usize) -> Result<SegmentEntry, Failure> {
    let base = match bytes_or_none(row, at + 6, "base of a segment")? {
        None => None,
        Some(base) => Some(valid(SegmentId::from_slice(base), "base of a segment")?),
    };
    let features = match bytes_or_none(row, at + 7, FEATURES)? {
        None => None,
        Some(features) => Some(valid(Features::from_bytes(features), FEATURES)?),
    };
    Ok(SegmentEntry {
        id: valid(SegmentId::from_slice(bytes(row, at, "id of a segment")?), "id of a segment")?,
        offset: row.get(at + 1)?,
        sealed_len: row.get(at + 2)?,
        raw_len: row.get(at + 3)?,
        kind: kind_from(row.get(at + 4)?)?,
        key: KeyId(row.get(at + 5)?),
        base,
        features,
        chunks: Vec::new(),
    })
}

/// The chunks of a segment.
pub(super) fn chunks_from(
    entry: &SegmentEntry,
    column: Option<&[u8]>,
) -> Result<Vec<ChunkEntry>, Failure> {
    match column {
        None => Ok(vec![ChunkEntry { id: ChunkId::new(*entry.id.as_bytes()), len: entry.raw_len }]),
        Some(column) => Ok(chunk_records(column)?
            .map(|(id, len)| ChunkEntry { id: ChunkId::new(id), len })
            .collect()),
    }
}

/// Inserts a pack nobody knows yet with its segments; what finds them is added to `found_by`.
pub(super) fn insert_pack(
    tx: &Transaction<'_>,
    pack: &IndexedPack,
    pending: Option<SessionId>,
    found_by: &mut Vec<LookupRow>,
) -> Result<i64, Failure> {
    let last: i64 = tx
        .prepare_cached("SELECT coalesce(max(no), 0) FROM segment")?
        .query_row([], |r| r.get(0))?;
    let mut number = valid(last.checked_add(1), "number of a segment")?;
    let chunks: usize = pack.entries.iter().map(|entry| entry.chunks.len()).sum();
    let raw_bytes: u64 = pack.entries.iter().map(|entry| u64::from(entry.raw_len)).sum();
    tx.prepare_cached(
        "INSERT INTO pack (id, class, size, key, present, condemned, pending, first_segment, segments,
         chunks, raw_bytes) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        pack.id.as_bytes(),
        pack.class as u8,
        to_sql(pack.size)?,
        pack.key.0,
        pending.is_some(),
        pending.as_ref().map(SessionId::as_bytes),
        number,
        count(pack.entries.len())?,
        count(chunks)?,
        to_sql(raw_bytes)?,
    ])?;
    let pack_number = tx.last_insert_rowid();
    let mut insert = tx.prepare_cached(
        "INSERT INTO segment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for entry in &pack.entries {
        let column = chunks_column(entry);
        insert.execute(params![
            number,
            pack_number,
            entry.id.as_bytes(),
            entry.offset,
            entry.sealed_len,
            entry.raw_len,
            entry.kind as u8,
            entry.key.0,
            entry.base.as_ref().map(SegmentId::as_bytes),
            entry.features.map(Features::to_bytes),
            column,
        ])?;
        found_by.push((lookup_key(entry.id.as_bytes()), number));
        if column.is_some() {
            let keys = entry.chunks.iter().map(|chunk| lookup_key(chunk.id.as_bytes()));
            found_by.extend(keys.map(|key| (key, number)));
        }
        if let Some(features) = entry.features {
            found_by.extend(features.keys().map(|key| (key, number)));
        }
        number = valid(number.checked_add(1), "number of a segment")?;
    }
    Ok(pack_number)
}

fn count(number: usize) -> Result<i64, Failure> {
    i64::try_from(number).map_err(|_| Failure::Refused("too many entries in one pack".into()))
}

/// Inserts rows that find segments, and merges if there are many new ones by now.
pub(super) fn insert_lookup(tx: &Transaction<'_>, mut rows: Vec<LookupRow>) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_unstable();
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO recent VALUES (?1, ?2)")?;
    let mut inserted = 0;
    for (key, segment) in &rows {
        inserted += insert.execute([key, segment])?;
    }
    let (lookup, recent): (i64, i64) = tx
        .prepare_cached(
            "UPDATE meta SET recent_rows = recent_rows + ?1 RETURNING lookup_rows, recent_rows",
        )?
        .query_row([count(inserted)?], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if recent >= MERGE_AT_LEAST.max(lookup / 8) { merge(tx) } else { Ok(()) }
}

/// Moves what is in `recent` to where everything else is.
pub(super) fn merge(tx: &Transaction<'_>) -> Result<(), Failure> {
    tx.execute_batch(
        "INSERT OR IGNORE INTO lookup SELECT key, segment FROM recent ORDER BY key, segment;
         DELETE FROM recent;
         UPDATE meta SET lookup_rows = lookup_rows + recent_rows, recent_rows = 0;",
    )?;
    Ok(())
}

/// Removes packs with their segments and what finds them.
pub(super) fn remove_packs(tx: &Transaction<'_>, packs: &[i64]) -> Result<(), Failure> {
    let mut range =
        tx.prepare_cached("DELETE FROM pack WHERE no = ?1 RETURNING first_segment, segments")?;
    let mut select = tx.prepare_cached(
        "SELECT no, id, chunks, features FROM segment WHERE no BETWEEN ?1 AND ?2 AND pack = ?3",
    )?;
    let mut delete =
        tx.prepare_cached("DELETE FROM segment WHERE no BETWEEN ?1 AND ?2 AND pack = ?3")?;
    let mut found_by = Vec::new();
    for pack in packs {
        let (first, segments): (i64, i64) =
            range.query_row([pack], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let last = valid(first.checked_add(segments), "segments of a pack")?;
        let mut rows = select.query([first, last, *pack])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let id = valid(bytes(row, 1, "id of a segment")?.first_chunk(), "id of a segment")?;
            found_by.push((lookup_key(id), number));
            if let Some(column) = bytes_or_none(row, 2, "chunks of a segment")? {
                found_by.extend(chunk_records(column)?.map(|(id, _)| (lookup_key(&id), number)));
            }
            if let Some(features) = bytes_or_none(row, 3, FEATURES)? {
                let features = valid(Features::from_bytes(features), FEATURES)?;
                found_by.extend(features.keys().map(|key| (key, number)));
            }
            if found_by.len() >= REMOVE_AT_ONCE {
                remove_lookup(tx, &mut found_by)?;
            }
        }
        drop(rows);
        delete.execute([first, last, *pack])?;
    }
    remove_lookup(tx, &mut found_by)
}

fn remove_lookup(tx: &Transaction<'_>, rows: &mut Vec<LookupRow>) -> Result<(), Failure> {
    rows.sort_unstable();
    for (delete, subtract) in [
        (
            "DELETE FROM lookup WHERE key = ?1 AND segment = ?2",
            "UPDATE meta SET lookup_rows = max(lookup_rows - ?1, 0)",
        ),
        (
            "DELETE FROM recent WHERE key = ?1 AND segment = ?2",
            "UPDATE meta SET recent_rows = max(recent_rows - ?1, 0)",
        ),
    ] {
        let mut delete = tx.prepare_cached(delete)?;
        let mut removed = 0;
        for (key, segment) in &*rows {
            removed += delete.execute([key, segment])?;
        }
        tx.execute(subtract, [count(removed)?])?;
    }
    rows.clear();
    Ok(())
}

/// Hands over the key of everything that can be looked up, usable or not, and roughly in order.
pub(super) fn each_key(connection: &Connection, mut take: impl FnMut(i64)) -> Result<(), Failure> {
    for sql in ["SELECT key FROM lookup", "SELECT key FROM recent"] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(row.get(0)?);
        }
    }
    Ok(())
}

/// How many keys there are.
pub(super) fn key_count(connection: &Connection) -> Result<u64, Failure> {
    let rows: i64 =
        connection.query_row("SELECT lookup_rows + recent_rows FROM meta", [], |row| row.get(0))?;
    from_sql(rows, "number of chunks")
}
