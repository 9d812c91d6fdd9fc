//! Fields that are of one type or another, in little code.
//!
//! `rattler_conda_types` and `rattler_digest` read hashes (text, bytes or numbers) and features (a text or several) by the
//! crate `serde-untagged`, which erases the types of readers by many small functions. This crate takes its place by a
//! patch in the workspace's `Cargo.toml`. It has the same names, as far as they are used: texts, bytes, sequences and
//! maps. The values of a sequence or a map are read as JSON values first.

use std::{
    fmt::{self, Display, Formatter},
    marker::PhantomData,
};

use serde::{
    Deserialize, Deserializer,
    de::{self as serde_de, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

/// The most values of a list: hashes have 64, features a few words. Each takes many times the room that it has in a file.
const LONGEST: usize = 1 << 16;

/// What closures take and give.
pub mod de {
    pub use super::{Error, Map, Seq};
}

/// What is wrong with a value.
#[derive(Debug)]
pub struct Error(String);

impl Display for Error {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde_de::Error for Error {
    fn custom<T: Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// A sequence of values. The lifetimes are those of the crate that this one stands in for; no value is borrowed.
pub struct Seq<'access, 'de> {
    values: serde_json::Value,
    lifetimes: PhantomData<(&'access (), &'de ())>,
}

/// A map of values.
pub struct Map<'access, 'de> {
    entries: serde_json::map::IntoIter,
    value: Option<serde_json::Value>,
    lifetimes: PhantomData<(&'access (), &'de ())>,
}

impl<'de> Seq<'_, 'de> {
    /// The sequence as a value of a type.
    ///
    /// # Errors
    /// If it is none.
    pub fn deserialize<T: Deserialize<'de>>(self) -> Result<T, Error> {
        T::deserialize(self.values).map_err(serde_de::Error::custom)
    }
}

impl<'de> Map<'_, 'de> {
    /// The map as a value of a type.
    ///
    /// # Errors
    /// If it is none.
    pub fn deserialize<T: Deserialize<'de>>(self) -> Result<T, Error> {
        T::deserialize(serde_de::value::MapAccessDeserializer::new(self))
    }
}

impl<'de> MapAccess<'de> for Map<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(serde_json::Value::String(key)).map(Some).map_err(serde_de::Error::custom)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        // A value is read once, after its key.
        seed.deserialize(self.value.take().unwrap_or_default()).map_err(serde_de::Error::custom)
    }
}

type Closure<'closure, Given, Value> = Option<Box<dyn FnOnce(Given) -> Result<Value, Error> + 'closure>>;
type OfText<'closure, Value> = Option<Box<dyn FnOnce(&str) -> Result<Value, Error> + 'closure>>;
type OfBytes<'closure, Value> = Option<Box<dyn FnOnce(&[u8]) -> Result<Value, Error> + 'closure>>;

/// Reads a value by one of several closures, whichever is for its type.
pub struct UntaggedEnumVisitor<'closure, 'de, Value> {
    expecting: Option<Box<dyn Display + 'closure>>,
    string: OfText<'closure, Value>,
    bytes: OfBytes<'closure, Value>,
    seq: Closure<'closure, Seq<'closure, 'de>, Value>,
    map: Closure<'closure, Map<'closure, 'de>, Value>,
}

impl<Value> Default for UntaggedEnumVisitor<'_, '_, Value> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'closure, 'de, Value> UntaggedEnumVisitor<'closure, 'de, Value> {
    /// A reader of no type.
    pub fn new() -> Self {
        Self { expecting: None, string: None, bytes: None, seq: None, map: None }
    }

    /// What an error says that was expected.
    pub fn expecting(mut self, expecting: impl Display + 'closure) -> Self {
        self.expecting = Some(Box::new(expecting));
        self
    }

    /// Reads texts.
    pub fn string(mut self, visit: impl FnOnce(&str) -> Result<Value, Error> + 'closure) -> Self {
        self.string = Some(Box::new(visit));
        self
    }

    /// Reads bytes.
    pub fn bytes(mut self, visit: impl FnOnce(&[u8]) -> Result<Value, Error> + 'closure) -> Self {
        self.bytes = Some(Box::new(visit));
        self
    }

    /// Reads sequences.
    pub fn seq(mut self, visit: impl FnOnce(Seq<'closure, 'de>) -> Result<Value, Error> + 'closure) -> Self {
        self.seq = Some(Box::new(visit));
        self
    }

    /// Reads maps.
    pub fn map(mut self, visit: impl FnOnce(Map<'closure, 'de>) -> Result<Value, Error> + 'closure) -> Self {
        self.map = Some(Box::new(visit));
        self
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If no closure is for its type, or the closure fails.
    pub fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What was expected, once the closures are gone.
struct Expected<'closure>(Option<Box<dyn Display + 'closure>>);

impl serde_de::Expected for Expected<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        fmt_expected(self.0.as_deref(), formatter)
    }
}

fn fmt_expected(expecting: Option<&(dyn Display + '_)>, formatter: &mut Formatter<'_>) -> fmt::Result {
    match expecting {
        Some(expecting) => expecting.fmt(formatter),
        None => formatter.write_str("a value of another type"),
    }
}

impl<'de, Value> Visitor<'de> for UntaggedEnumVisitor<'_, 'de, Value> {
    type Value = Value;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        fmt_expected(self.expecting.as_deref(), formatter)
    }

    fn visit_str<E: serde_de::Error>(self, text: &str) -> Result<Value, E> {
        match self.string {
            Some(visit) => visit(text).map_err(E::custom),
            None => Err(E::invalid_type(serde_de::Unexpected::Str(text), &Expected(self.expecting))),
        }
    }

    fn visit_bytes<E: serde_de::Error>(self, bytes: &[u8]) -> Result<Value, E> {
        match self.bytes {
            Some(visit) => visit(bytes).map_err(E::custom),
            None => Err(E::invalid_type(serde_de::Unexpected::Bytes(bytes), &Expected(self.expecting))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let Some(visit) = self.seq else {
            return Err(serde_de::Error::invalid_type(serde_de::Unexpected::Seq, &Expected(self.expecting)));
        };
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            if values.len() == LONGEST {
                return Err(serde_de::Error::custom("the list is too long"));
            }
            values.push(value);
        }
        visit(Seq { values: serde_json::Value::Array(values), lifetimes: PhantomData }).map_err(serde_de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Some(visit) = self.map else {
            return Err(serde_de::Error::invalid_type(serde_de::Unexpected::Map, &Expected(self.expecting)));
        };
        let mut values = serde_json::Map::new();
        while let Some((key, value)) = map.next_entry()? {
            values.insert(key, value);
        }
        visit(Map { entries: values.into_iter(), value: None, lifetimes: PhantomData }).map_err(serde_de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn words(value: Value) -> Result<Vec<String>, String> {
        let visitor = UntaggedEnumVisitor::new()
            .expecting("words")
            .string(|text| Ok(text.split(' ').map(str::to_owned).collect()))
            .seq(|sequence| sequence.deserialize())
            .map(|map| {
                Ok(map.deserialize::<serde_json::Map<String, Value>>()?.into_iter().map(|(key, _)| key).collect())
            });
        visitor.deserialize(value).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn each_type_has_its_closure_and_others_are_refused() {
        assert_eq!(words(json!("a b")), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(words(json!(["a", "b c"])), Ok(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(words(json!({"a": 1})), Ok(vec!["a".to_owned()]));
        assert_eq!(words(json!(7)), Err("invalid type: integer `7`, expected words".to_owned()));
        assert_eq!(words(json!([7])), Err("invalid type: integer `7`, expected a string".to_owned()));
        assert_eq!(words(Value::Array(vec![json!("a"); LONGEST + 1])), Err("the list is too long".to_owned()));
        let no_text: UntaggedEnumVisitor<'_, '_, ()> = UntaggedEnumVisitor::new().expecting("numbers").seq(|_| Ok(()));
        let error: serde_json::Error = no_text.deserialize(json!("a")).unwrap_err();
        assert_eq!(error.to_string(), "invalid type: string \"a\", expected numbers");
    }
}
