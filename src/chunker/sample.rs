//! Tells incompressible data from a sample.

/// Whether `sample` (the first kilobytes of a stream) looks compressed or encrypted already.
pub fn looks_incompressible(sample: &[u8]) -> bool {
    let _ = sample;
    todo!()
}
