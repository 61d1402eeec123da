//! Where chunks are.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Row, params};

use crate::chunker::Features;
use crate::id::{ChunkId, PackId, SegmentId, SessionId};
use crate::pack::{SegmentEntry, SegmentKind};

use super::db::{Failure, bytes, bytes_or_none, valid};
use super::rows::{chunk_records, chunks_from, class_from, find_chunk, lookup_key, segment_from};
use super::store::{Index, IndexError, Place};

/// Segments found by a key, with their packs; rows pending for others are left out.
pub(super) const PLACES: &str = "
SELECT s.id, s.offset, s.sealed_len, s.raw_len, s.kind, s.key, s.base, s.features, s.chunks,
    p.id, p.class, p.present, p.condemned
FROM (
    SELECT segment FROM lookup WHERE key = ?1 UNION ALL SELECT segment FROM recent WHERE key = ?1
) AS found
CROSS JOIN segment AS s ON s.no = found.segment
CROSS JOIN pack AS p ON p.no = s.pack
WHERE p.pending IS NULL OR p.pending = ?2";

/// Usable segments found by a key. A delta counts only if its base does, which is asked with the same words.
pub(super) const USABLE: &str = "
SELECT s.id, s.raw_len, s.chunks, s.base
FROM (
    SELECT segment FROM lookup WHERE key = ?1 UNION ALL SELECT segment FROM recent WHERE key = ?1
) AS found
CROSS JOIN segment AS s ON s.no = found.segment
CROSS JOIN pack AS p ON p.no = s.pack
WHERE p.present AND NOT p.condemned AND (p.pending IS NULL OR p.pending = ?2)";

/// Segments that share a super-feature, the newest first.
const SIMILAR: &str = "
SELECT s.no, s.features, s.id
FROM (
    SELECT segment FROM (SELECT segment FROM lookup WHERE key = ?1 ORDER BY segment DESC LIMIT 16)
    UNION ALL
    SELECT segment FROM (SELECT segment FROM recent WHERE key = ?1 ORDER BY segment DESC LIMIT 16)
) AS found
CROSS JOIN segment AS s ON s.no = found.segment
CROSS JOIN pack AS p ON p.no = s.pack
WHERE p.present AND NOT p.condemned AND p.pending IS NULL AND s.features IS NOT NULL";

/// Longest chain of deltas that is followed: longer ones are never written, and circles end here.
pub(crate) const MAX_CHAIN: usize = 16;

impl Index {
    /// Up to `most` segments of usable packs that are like `features`, the likest first, among those the newest.
    pub fn similar(&self, features: Features, most: usize) -> Result<Vec<SegmentId>, IndexError> {
        let mut found = self.read_together("looking for similar segments", |connection| {
            let mut statement = connection.prepare_cached(SIMILAR)?;
            let mut found: Vec<(usize, i64, SegmentId)> = Vec::new();
            for key in features.keys() {
                let mut rows = statement.query([key])?;
                while let Some(row) = rows.next()? {
                    let stored = Features::from_bytes(bytes(row, 1, "features of a segment")?);
                    let shared = stored.map_or(0, |stored| stored.shared_with(features));
                    let id = valid(SegmentId::from_slice(bytes(row, 2, BASE)?), BASE)?;
                    if shared > 0 && found.iter().all(|(_, _, other)| *other != id) {
                        found.push((shared, row.get(0)?, id));
                    }
                }
            }
            Ok(found)
        })?;
        found.sort_unstable_by_key(|(shared, number, _)| std::cmp::Reverse((*shared, *number)));
        Ok(found.into_iter().take(most).map(|(_, _, id)| id).collect())
    }

    /// Where segment `id` and everything it was compressed against is usable: itself first, a plain one last.
    /// `None` if something is missing.
    pub fn usable_chain(
        &self,
        id: &SegmentId,
        session: SessionId,
    ) -> Result<Option<Vec<Place>>, IndexError> {
        let mut chain: Vec<Place> = Vec::new();
        let mut next = *id;
        while chain.len() <= MAX_CHAIN {
            // Plain kinds come first.
            let places = self.locate_segment(&next, Some(session))?;
            let usable = places.into_iter().find(|place| place.is_present && !place.is_condemned);
            let Some(place) = usable else { return Ok(None) };
            let base = place.entry.base;
            chain.push(place);
            match base {
                None => return Ok(Some(chain)),
                Some(base) => next = base,
            }
        }
        Ok(None)
    }

    /// Deltas whose base is among `bases`, with the packs they are in. Reads every segment's row: for the rare
    /// case of damage.
    pub fn deltas_on(
        &self,
        bases: &HashSet<SegmentId>,
    ) -> Result<Vec<(PackId, SegmentEntry)>, IndexError> {
        self.read_together("looking for deltas", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.id, s.offset, s.sealed_len, s.raw_len, s.kind, s.key, s.base, s.features, s.chunks, p.id
                 FROM segment AS s CROSS JOIN pack AS p ON p.no = s.pack WHERE s.base IS NOT NULL",
            )?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let mut entry = segment_from(row, 0)?;
                if entry.base.is_some_and(|base| bases.contains(&base)) {
                    entry.chunks = chunks_from(&entry, bytes_or_none(row, 8, CHUNKS)?)?;
                    let pack = PackId::from_slice(bytes(row, 9, "id of a pack")?);
                    found.push((valid(pack, "id of a pack")?, entry));
                }
            }
            Ok(found)
        })
    }

    /// Everywhere `chunk` is: present and uncondemned packs first, plain kinds first. Pending rows of other sessions than `session` are left out.
    pub fn locate(
        &self,
        chunk: &ChunkId,
        session: Option<SessionId>,
    ) -> Result<Vec<Place>, IndexError> {
        self.locate_chunk(chunk, session, false)
    }

    /// The same with `entry.chunks` filled: for a reader that will ask for the chunks beside it next.
    pub fn locate_with_neighbours(
        &self,
        chunk: &ChunkId,
        session: Option<SessionId>,
    ) -> Result<Vec<Place>, IndexError> {
        self.locate_chunk(chunk, session, true)
    }

    fn locate_chunk(
        &self,
        chunk: &ChunkId,
        session: Option<SessionId>,
        with_neighbours: bool,
    ) -> Result<Vec<Place>, IndexError> {
        self.read("looking for a chunk", |connection| {
            places(connection, chunk.as_bytes(), session, |row, entry| {
                let column = bytes_or_none(row, 8, CHUNKS)?;
                let found = find_chunk(chunk, entry.id.as_bytes(), entry.raw_len, column)?;
                if with_neighbours && found.is_some() {
                    entry.chunks = chunks_from(entry, column)?;
                }
                Ok(found)
            })
        })
    }

    /// Everywhere segment `id` is.
    pub fn locate_segment(
        &self,
        id: &SegmentId,
        session: Option<SessionId>,
    ) -> Result<Vec<Place>, IndexError> {
        self.read("looking for a segment", |connection| {
            places(connection, id.as_bytes(), session, |_, entry| {
                Ok((entry.id == *id).then_some((0, entry.raw_len)))
            })
        })
    }

    /// Whether each chunk is in a usable pack (present, uncondemned, not somebody else's pending one). Batched.
    pub fn are_usable(
        &self,
        chunks: &[ChunkId],
        session: SessionId,
    ) -> Result<Vec<bool>, IndexError> {
        let lengths = self.usable_lengths(chunks, session)?;
        Ok(lengths.iter().map(Option::is_some).collect())
    }

    /// The length of each chunk that is in a usable pack.
    pub fn usable_lengths(
        &self,
        chunks: &[ChunkId],
        session: SessionId,
    ) -> Result<Vec<Option<u32>>, IndexError> {
        self.read_together("looking for chunks", |connection| {
            let mut neighbours = HashMap::new();
            let mut length_of = |chunk: &ChunkId| {
                if let Some(length) = neighbours.get(chunk) {
                    return Ok(Some(*length));
                }
                usable_length(connection, chunk, session, Some(&mut neighbours))
            };
            chunks.iter().map(&mut length_of).collect()
        })
    }

    /// [`Self::are_usable`] of one.
    pub(super) fn is_usable(
        &self,
        chunk: &ChunkId,
        session: SessionId,
    ) -> Result<bool, IndexError> {
        self.read("looking for a chunk", |connection| {
            Ok(usable_length(connection, chunk, session, None)?.is_some())
        })
    }

    /// Hands over every segment that was compressed against another one, and that one.
    pub fn each_delta(
        &self,
        mut visit: impl FnMut(SegmentId, SegmentId),
    ) -> Result<(), IndexError> {
        self.read("listing deltas", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, base FROM segment WHERE kind = 2")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let id = SegmentId::from_slice(bytes(row, 0, "id of a segment")?);
                let base = SegmentId::from_slice(bytes(row, 1, "base of a segment")?);
                visit(valid(id, "id of a segment")?, valid(base, "base of a segment")?);
            }
            Ok(())
        })
    }

    /// The segments of one pack with their chunks, by offset.
    pub fn segments_of(&self, pack: &PackId) -> Result<Vec<SegmentEntry>, IndexError> {
        self.read("listing the segments of a pack", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.id, s.offset, s.sealed_len, s.raw_len, s.kind, s.key, s.base, s.features,
                 s.chunks,
                 p.segments FROM pack AS p CROSS JOIN segment AS s
                 ON s.no BETWEEN p.first_segment AND p.first_segment + p.segments AND s.pack = p.no
                 WHERE p.id = ?1 ORDER BY s.no",
            )?;
            let mut rows = statement.query([pack.as_bytes()])?;
            let (mut segments, mut expected) = (Vec::new(), 0_i64);
            while let Some(row) = rows.next()? {
                let mut entry = segment_from(row, 0)?;
                entry.chunks = chunks_from(&entry, bytes_or_none(row, 8, CHUNKS)?)?;
                segments.push(entry);
                expected = row.get(9)?;
            }
            // A prune decides by what is listed here: rows that went astray must not pass unnoticed.
            if i64::try_from(segments.len()) != Ok(expected) {
                return Err(Failure::Damaged("number of segments of a pack"));
            }
            // Mostly they are in this order: left to the database, sorting cost more than reading.
            segments.sort_by_key(|entry| entry.offset);
            Ok(segments)
        })
    }
}

const CHUNKS: &str = "chunks of a segment";
const BASE: &str = "base of a segment";

/// Places of the segments with this key in which `inside` finds what is looked for (offset and length).
fn places(
    connection: &Connection,
    id: &[u8; 32],
    session: Option<SessionId>,
    inside: impl Fn(&Row<'_>, &mut SegmentEntry) -> Result<Option<(u32, u32)>, Failure>,
) -> Result<Vec<Place>, Failure> {
    let mut statement = connection.prepare_cached(PLACES)?;
    let session = session.as_ref().map(SessionId::as_bytes);
    let mut rows = statement.query(params![lookup_key(id), session])?;
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        let mut entry = segment_from(row, 0)?;
        let Some((chunk_offset, chunk_len)) = inside(row, &mut entry)? else {
            continue;
        };
        let pack = PackId::from_slice(bytes(row, 9, "id of a pack")?);
        places.push(Place {
            pack: valid(pack, "id of a pack")?,
            class: class_from(row.get(10)?)?,
            entry,
            chunk_offset,
            chunk_len,
            is_present: row.get(11)?,
            is_condemned: row.get(12)?,
        });
    }
    places.sort_by_key(|place| {
        (
            !place.is_present || place.is_condemned,
            !place.is_present,
            place.entry.kind == SegmentKind::ZstdWithBase,
        )
    });
    Ok(places)
}

/// The length of `chunk`, if it is in a usable pack. What lies in the same segment is added to `neighbours`: of small
/// files, many are asked for together, and reading such a segment's row costs more than finding it.
fn usable_length(
    connection: &Connection,
    chunk: &ChunkId,
    session: SessionId,
    neighbours: Option<&mut HashMap<ChunkId, u32>>,
) -> Result<Option<u32>, Failure> {
    // Asked about when the statement is free again: the bases are looked for with the same one.
    let mut deltas = Vec::new();
    let mut statement = connection.prepare_cached(USABLE)?;
    let mut rows = statement.query(params![lookup_key(chunk.as_bytes()), session.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let segment = bytes(row, 0, "id of a segment")?;
        let column = bytes_or_none(row, 2, CHUNKS)?;
        let Some((_, len)) = find_chunk(chunk, segment, row.get(1)?, column)? else { continue };
        if let Some(base) = base_of(row)? {
            deltas.push((len, base));
            continue;
        }
        if let (Some(neighbours), Some(column)) = (neighbours, column) {
            let records = chunk_records(column)?;
            neighbours.extend(records.map(|(id, len)| (ChunkId::new(id), len)));
        }
        return Ok(Some(len));
    }
    drop(rows);
    drop(statement);
    for (len, base) in deltas {
        if is_whole(connection, base, session, MAX_CHAIN)? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

fn base_of(row: &Row<'_>) -> Result<Option<SegmentId>, Failure> {
    let base = bytes_or_none(row, 3, BASE)?;
    base.map(|base| valid(SegmentId::from_slice(base), BASE)).transpose()
}

/// Whether segment `id` and everything it was compressed against is usable, within `left` steps.
fn is_whole(
    connection: &Connection,
    id: SegmentId,
    session: SessionId,
    left: usize,
) -> Result<bool, Failure> {
    // Collected first: the same statement is asked again for the base.
    let mut bases = Vec::new();
    let mut statement = connection.prepare_cached(USABLE)?;
    let mut rows = statement.query(params![lookup_key(id.as_bytes()), session.as_bytes()])?;
    while let Some(row) = rows.next()? {
        if bytes(row, 0, "id of a segment")? == id.as_bytes() {
            match base_of(row)? {
                None => return Ok(true),
                Some(base) => bases.push(base),
            }
        }
    }
    drop(rows);
    drop(statement);
    for base in bases {
        if left > 0 && is_whole(connection, base, session, left - 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}
