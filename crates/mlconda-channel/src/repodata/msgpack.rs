//! The subset of MessagePack that sharded repodata (CEP-16) uses. Values are skipped one by one, or converted to JSON
//! text. So unusual records of shards are parsed like those of a `repodata.json` (see [`super::plain_record`]).

use std::io::Write as _;

/// How deeply values may be nested. Records need six levels; the limit protects the stack.
const MAX_DEPTH: usize = 64;

/// The length in bytes at which the JSON of a value becomes too long: twice the limit of a shard. One more text may
/// exceed it.
const MAX_TEXT: usize = 256 << 20;

/// Why bytes are not valid MessagePack for sharded repodata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MsgpackError {
    /// The bytes end in the middle of a value.
    #[error("it ends in the middle of a value")]
    Short,
    /// Arrays and maps are nested too deeply.
    #[error("its values are nested in more than {MAX_DEPTH} levels")]
    Deep,
    /// No value can begin with this byte.
    #[error("no value begins with the byte {0:#04x}")]
    Marker(u8),
    /// The next value has another type than the expected one.
    #[error("there is no {0} where one has to be")]
    Expected(&'static str),
    /// The JSON is longer than that of any shard.
    #[error("it is too long")]
    Long,
    /// A text is not UTF-8.
    #[error("a text in it is not UTF-8")]
    NotUtf8,
}

/// A value, or the beginning of an array or a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'b> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A text, not checked to be UTF-8.
    Text(&'b [u8]),
    Bytes(&'b [u8]),
    /// A value of an application-defined type. Repodata contains none.
    Extension,
    /// An array of this many values, which follow.
    Array(usize),
    /// A map of this many pairs, which follow.
    Map(usize),
}

/// Reads values from bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b> {
    left: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { left: bytes }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], MsgpackError> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(MsgpackError::Short)?;
        self.left = left;
        Ok(taken)
    }

    /// A big-endian number of this many bytes, at most eight.
    fn number(&mut self, size: usize) -> Result<u64, MsgpackError> {
        Ok(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, size: usize) -> Result<usize, MsgpackError> {
        usize::try_from(self.number(size)?).map_err(|_| MsgpackError::Short)
    }

    /// The next value, or the beginning of an array or a map.
    pub(super) fn token(&mut self) -> Result<Token<'b>, MsgpackError> {
        let marker = self.take(1)?[0];
        // If the size is part of the marker, its lowest bits are the exponent of two.
        let size = |first: u8| 1_usize << (marker - first);
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => Token::Map((marker & 0x0f).into()),
            0x90..=0x9f => Token::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.take((marker & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(size(0xc4))?;
                Token::Bytes(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(size(0xc7))?;
                self.take(1)?;
                self.take(length)?;
                Token::Extension
            }
            0xca => Token::Float(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => Token::Float(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Token::Unsigned(self.number(size(0xcc))?),
            0xd0..=0xd3 => {
                let size = size(0xd0);
                let unused = 64 - 8 * size as u32;
                Token::Signed((self.number(size)? << unused) as i64 >> unused)
            }
            0xd4..=0xd8 => {
                self.take(1 + size(0xd4))?;
                Token::Extension
            }
            0xd9..=0xdb => {
                let length = self.length(size(0xd9))?;
                Token::Text(self.take(length)?)
            }
            0xdc | 0xdd => Token::Array(self.length(2 * size(0xdc))?),
            0xde | 0xdf => Token::Map(self.length(2 * size(0xde))?),
            0xe0..=0xff => Token::Signed((marker as i8).into()),
            0xc1 => return Err(MsgpackError::Marker(marker)),
        })
    }

    /// Reads the beginning of a map. Returns the number of its pairs.
    pub(super) fn map(&mut self) -> Result<usize, MsgpackError> {
        match self.token()? {
            Token::Map(count) => Ok(count),
            _ => Err(MsgpackError::Expected("map")),
        }
    }

    /// Reads a text.
    pub(super) fn text(&mut self) -> Result<&'b str, MsgpackError> {
        match self.token()? {
            Token::Text(text) => utf8(text),
            _ => Err(MsgpackError::Expected("text")),
        }
    }

    /// Skips the next value.
    pub(super) fn skip(&mut self) -> Result<(), MsgpackError> {
        self.skip_values(1, 0)
    }

    fn skip_values(&mut self, count: usize, depth: usize) -> Result<(), MsgpackError> {
        if count > 0 && depth > MAX_DEPTH {
            return Err(MsgpackError::Deep);
        }
        for _ in 0..count {
            match self.token()? {
                Token::Array(count) => self.skip_values(count, depth + 1)?,
                Token::Map(count) => self.skip_values(count.checked_mul(2).ok_or(MsgpackError::Short)?, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the next value as JSON. Bytes, such as hashes, become hexadecimal text. Numbers that JSON cannot
    /// represent, and extensions, become `null`.
    ///
    /// # Errors
    /// If it is not MessagePack, or a map has a key that is not text.
    pub(super) fn json(&mut self, text: &mut Vec<u8>) -> Result<(), MsgpackError> {
        self.json_below(0, text)
    }

    fn json_below(&mut self, depth: usize, text: &mut Vec<u8>) -> Result<(), MsgpackError> {
        if depth > MAX_DEPTH {
            return Err(MsgpackError::Deep);
        }
        if text.len() > MAX_TEXT {
            return Err(MsgpackError::Long);
        }
        match self.token()? {
            Token::Nil | Token::Extension => text.extend_from_slice(b"null"),
            Token::Bool(value) => text.extend_from_slice(if value { b"true" } else { b"false" }),
            Token::Text(value) => quote(utf8(value)?, text),
            Token::Bytes(value) => quote(&hex::encode(value), text),
            // Writing to memory cannot fail.
            Token::Unsigned(value) => _ = write!(text, "{value}"),
            Token::Signed(value) => _ = write!(text, "{value}"),
            Token::Float(value) if value.is_finite() => _ = write!(text, "{value:?}"),
            Token::Float(_) => text.extend_from_slice(b"null"),
            Token::Array(count) => {
                text.push(b'[');
                for index in 0..count {
                    if index > 0 {
                        text.push(b',');
                    }
                    self.json_below(depth + 1, text)?;
                }
                text.push(b']');
            }
            Token::Map(count) => {
                text.push(b'{');
                for index in 0..count {
                    if index > 0 {
                        text.push(b',');
                    }
                    quote(self.text()?, text);
                    text.push(b':');
                    self.json_below(depth + 1, text)?;
                }
                text.push(b'}');
            }
        }
        Ok(())
    }
}

fn utf8(text: &[u8]) -> Result<&str, MsgpackError> {
    str::from_utf8(text).map_err(|_| MsgpackError::NotUtf8)
}

/// A text as JSON.
fn quote(value: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        text.extend_from_slice(value.as_bytes());
    } else {
        for byte in value.bytes() {
            match byte {
                b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
                0..b' ' => _ = write!(text, "\\u{byte:04x}"),
                _ => text.push(byte),
            }
        }
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn as_json(bytes: &[u8]) -> Result<Value, MsgpackError> {
        let (mut text, mut reader) = (Vec::new(), Reader::new(bytes));
        reader.json(&mut text)?;
        let mut other = Reader::new(bytes);
        other.skip().unwrap();
        assert_eq!((reader.left.len(), other.left.len()), (0, 0), "all of it is read");
        Ok(serde_json::from_slice(&text).unwrap())
    }

    /// Compares the smallest and largest values of each size and kind with a library's writer.
    #[test]
    fn what_a_library_writes_is_read_back() {
        let numbers = [0_i64, 1, 127, 128, 255, 256, 65_535, 65_536, u32::MAX.into(), 1 << 32, i64::MAX];
        let negative = [-1_i64, -32, -33, -128, -129, -32_768, -32_769, i32::MIN.into(), i64::MIN];
        let lengths = [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536];
        let texts: Vec<String> = lengths.iter().map(|length| "é\"\\\n\u{1}x".repeat(*length)).collect();
        let arrays: Vec<Vec<u8>> = lengths.iter().map(|length| vec![7; *length]).collect();
        let map: serde_json::Map<String, Value> = (0..70_000).map(|key| (format!("k{key}"), json!(key))).collect();
        let few: serde_json::Map<String, Value> = (0..20).map(|key| (format!("k{key}"), json!([]))).collect();
        let value = json!({
            "numbers": numbers, "negative": negative, "large": u64::MAX, "floats": [0.5, -1e300, 1.0],
            "texts": texts, "arrays": arrays, "many": map, "few": few, "none": null, "yes": true, "no": false, "": {},
        });
        assert_eq!(as_json(&rmp_serde::to_vec_named(&value).unwrap()), Ok(value));
    }

    #[test]
    fn what_json_has_no_word_for() {
        assert_eq!(as_json(&[0xc4, 2, 0xab, 0xcd]), Ok(json!("abcd")), "bytes");
        assert_eq!(as_json(&[0xc5, 0, 1, 0xab]), Ok(json!("ab")), "bytes with a longer length");
        assert_eq!(as_json(&[0xca, 0x7f, 0x80, 0, 0]), Ok(json!(null)), "infinite");
        assert_eq!(as_json(&[0xca, 0x3f, 0, 0, 0]), Ok(json!(0.5)), "a short float");
        for extension in
            [&[0xd4, 0, 0][..], &[0xd8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], &[0xc7, 1, 5, 9]]
        {
            assert_eq!(as_json(extension), Ok(json!(null)), "an extension");
        }
    }

    #[test]
    fn what_is_broken_is_refused_wherever_it_ends() {
        let whole = rmp_serde::to_vec_named(&json!({"a": [1, "two", {"b": 300}], "c": "x".repeat(300)})).unwrap();
        for end in 0..whole.len() {
            let (mut reader, mut text) = (Reader::new(&whole[..end]), Vec::new());
            assert_eq!(reader.json(&mut text), Err(MsgpackError::Short), "{end}");
            assert_eq!(Reader::new(&whole[..end]).skip(), Err(MsgpackError::Short), "{end}");
        }
        let refused = |bytes: &[u8]| Reader::new(bytes).json(&mut Vec::new()).unwrap_err();
        assert_eq!(refused(&[0xc1]), MsgpackError::Marker(0xc1));
        assert_eq!(refused(&[0xa1, 0xff]), MsgpackError::NotUtf8);
        assert_eq!(refused(&[0x81, 1, 1]), MsgpackError::Expected("text"));
        assert_eq!(refused(&[0x91; 100_000]), MsgpackError::Deep);
        assert_eq!(Reader::new(&[0x91; 100_000]).skip(), Err(MsgpackError::Deep));
        // A claimed length without bytes must not allocate memory.
        assert_eq!(refused(&[0xdf, 0xff, 0xff, 0xff, 0xff]), MsgpackError::Short);
        assert_eq!(refused(&[0xc6, 0xff, 0xff, 0xff, 0xff, 0]), MsgpackError::Short);
    }
}
