//! Reading whole pieces from a stream.

use std::io::{self, Read};

/// Reads until `buffer` is full or the stream ends; retries interrupted reads. Gives how many bytes it has, and
/// the error that kept it from having more.
///
/// Unlike `read_to_end` it asks for all of the room at once, and neither zeroes nor grows it: with a buffer that is
/// used again a stream costs one call for each piece.
pub fn fill<R: Read + ?Sized>(reader: &mut R, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() {
        let room = buffer.len() - filled;
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            // A reader that claims to have given more than there was room for is not believed.
            Ok(len) => filled += len.min(room),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}
