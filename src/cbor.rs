//! CBOR as the format has it: written into a `Vec` (which cannot fail), and maps with integer keys
//! read so that no length is believed before its items are there.

use minicbor::decode::Error;
use minicbor::{Decoder, Encoder, encode};

/// Writes CBOR items one after the other.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The head of an item: major type and argument, in the shortest form.
    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        match value {
            0..=23 => self.0.push(major | bytes[7]),
            24..=0xff => self.0.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&bytes);
            }
        }
        self
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(0, value)
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        if value < 0 {
            self.head(1, !value.cast_unsigned())
        } else {
            self.head(0, value.cast_unsigned())
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(2, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(3, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// The head of an array of `len` items.
    pub fn array(&mut self, len: usize) -> &mut Self {
        self.head(4, len as u64)
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(if value { 0xf5 } else { 0xf4 });
        self
    }

    /// An array of what `write` writes for each item.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.array(items.len());
        for item in items {
            write(self, item);
        }
    }

    /// A map of text to whatever `write` writes.
    pub fn text_map<'a, T: 'a>(
        &mut self,
        items: impl ExactSizeIterator<Item = (&'a String, &'a T)>,
        mut write: impl FnMut(&mut Self, &T),
    ) {
        self.head(5, items.len() as u64);
        for (key, value) in items {
            self.text(key);
            write(self, value);
        }
    }

    /// A map whose fields `write` writes.
    pub fn map(&mut self, write: impl FnOnce(&mut MapWriter)) -> &mut Self {
        let mut fields = MapWriter::default();
        write(&mut fields);
        self.head(5, fields.count);
        self.0.extend_from_slice(&fields.items.0);
        self
    }

    /// Everything written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Hands everything written to an encoder of `minicbor`.
    pub fn give_to<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.writer_mut().write_all(&self.0).map_err(encode::Error::write)
    }
}

/// Writes the fields of a map and counts them, for the count comes first.
#[derive(Debug, Default)]
pub struct MapWriter {
    items: Writer,
    count: u64,
}

impl MapWriter {
    /// Writes `key`; the caller writes one value after it.
    pub fn key(&mut self, key: u64) -> &mut Writer {
        self.count += 1;
        self.items.uint(key)
    }
}

/// Reads a map with integer keys. `field` reads the value of the key it is given, or passes over it
/// with `skip`; a key that none of our maps has (negative, 64 or more) is passed over here. A key that
/// comes twice is refused: readers could take different values.
pub fn read_map<'b, E: From<Error>>(
    d: &mut Decoder<'b>,
    mut field: impl FnMut(u8, &mut Decoder<'b>) -> Result<(), E>,
) -> Result<(), E> {
    let mut left = d.map()?;
    let mut seen = 0_u64;
    while next(d, &mut left)? {
        let Some(key) = u8::try_from(d.int()?).ok().filter(|key| *key < 64) else {
            d.skip()?;
            continue;
        };
        if seen & (1 << key) != 0 {
            return Err(Error::message("a key of a map comes twice").into());
        }
        seen |= 1 << key;
        field(key, d)?;
    }
    Ok(())
}

/// Reads an array, item by item: nothing is reserved for a length nobody has checked.
pub fn read_list<'b, T, E: From<Error>>(
    d: &mut Decoder<'b>,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<T, E>,
) -> Result<Vec<T>, E> {
    let mut left = d.array()?;
    let mut items = Vec::new();
    while next(d, &mut left)? {
        items.push(item(d)?);
    }
    Ok(items)
}

/// Reads a map with text keys.
pub fn read_text_map<'b, T, M: FromIterator<(String, T)>>(
    d: &mut Decoder<'b>,
    mut value: impl FnMut(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<M, Error> {
    let mut left = d.map()?;
    let mut items = Vec::new();
    while next(d, &mut left)? {
        items.push((text(d)?, value(d)?));
    }
    Ok(items.into_iter().collect())
}

/// Whether a further item of an array or map follows (`left` is `None` for those without length).
fn next(d: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(count) => {
            *count -= 1;
            Ok(true)
        }
        None if d.datatype()? == minicbor::data::Type::Break => {
            d.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

/// A text.
pub fn text(d: &mut Decoder<'_>) -> Result<String, Error> {
    d.str().map(str::to_owned)
}

/// A byte string.
pub fn bytes(d: &mut Decoder<'_>) -> Result<Vec<u8>, Error> {
    d.bytes().map(<[u8]>::to_vec)
}

/// The value of a key that must be there.
pub fn required<T>(value: Option<T>, what: &'static str) -> Result<T, Error> {
    value.ok_or_else(|| Error::message(format!("{what} is missing")))
}

/// Makes a type with `write(&self, &mut Writer)` and `read(&mut Decoder)` one that `minicbor` knows.
macro_rules! codec {
    ($name:ident) => {
        impl minicbor::Encode<()> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                (): &mut (),
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                let mut writer = $crate::cbor::Writer::default();
                self.write(&mut writer);
                writer.give_to(e)
            }
        }

        impl minicbor::Decode<'_, ()> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'_>,
                (): &mut (),
            ) -> Result<Self, minicbor::decode::Error> {
                Self::read(d)
            }
        }
    };
}
pub(crate) use codec;
