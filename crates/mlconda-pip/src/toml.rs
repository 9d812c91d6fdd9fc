//! Parses the subset of TOML that `pylock.toml` files use (PEP 751), into JSON values.
//!
//! Supported are tables, arrays of tables, strings on one line, arrays, inline tables, numbers, booleans and dates; a
//! date becomes a string. Other syntax is an error, so valid TOML is never misread. Not all invalid TOML is rejected.

use serde_json::{Map, Value};

/// Parses a document.
///
/// # Errors
/// If a line is not understood. The error is its number.
pub(super) fn parse(text: &str) -> Result<Value, usize> {
    let mut root = Map::new();
    let mut path: Vec<String> = Vec::new();
    let mut reader = Reader { text, at: 0 };
    loop {
        reader.blank(true);
        let line = reader.line();
        if reader.rest().is_empty() {
            return Ok(Value::Object(root));
        }
        let read = if reader.take("[[") {
            reader.header("]]").and_then(|header| {
                path = header;
                let (last, parents) = path.split_last()?;
                let list = table(&mut root, parents)?.entry(last).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut()?.push(Value::Object(Map::new()));
                Some(())
            })
        } else if reader.take("[") {
            reader.header("]").and_then(|header| {
                path = header;
                table(&mut root, &path).map(|_| ())
            })
        } else {
            reader.entry().and_then(|(key, value)| {
                let (last, parents) = key.split_last()?;
                let parents: Vec<String> = path.iter().chain(parents).cloned().collect();
                table(&mut root, &parents)?.insert(last.clone(), value).is_none().then_some(())
            })
        };
        if read.is_none() || !reader.end_of_line() {
            return Err(line);
        }
    }
}

/// The table at a path, created if it is missing. In an array of tables, the last table.
fn table<'a>(root: &'a mut Map<String, Value>, path: &[String]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(root, |table, key| match table.entry(key).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(table) => Some(table),
        Value::Array(tables) => tables.last_mut()?.as_object_mut(),
        _ => None,
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn line(&self) -> usize {
        1 + self.text[..self.at].matches('\n').count()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Skips white space and comments; with `breaks`, also line breaks.
    fn blank(&mut self, breaks: bool) {
        loop {
            let rest = self.rest();
            let skipped = match rest.bytes().next() {
                Some(b' ' | b'\t' | b'\r') => 1,
                Some(b'\n') if breaks => 1,
                Some(b'#') => rest.find('\n').unwrap_or(rest.len()),
                _ => return,
            };
            self.at += skipped;
        }
    }

    fn end_of_line(&mut self) -> bool {
        self.blank(false);
        self.rest().is_empty() || self.take("\n")
    }

    fn header(&mut self, close: &str) -> Option<Vec<String>> {
        let key = self.key()?;
        self.take(close).then_some(key)
    }

    /// Parses a key: `a.b."c d"`.
    fn key(&mut self) -> Option<Vec<String>> {
        let mut key = Vec::new();
        loop {
            self.blank(false);
            let bare = |each: char| each.is_ascii_alphanumeric() || "-_".contains(each);
            let rest = self.rest();
            key.push(match rest.bytes().next()? {
                b'"' | b'\'' => self.string()?,
                _ => {
                    let length = rest.find(|each| !bare(each)).unwrap_or(rest.len());
                    let name = rest[..length].to_owned();
                    self.at += length;
                    Some(name).filter(|name| !name.is_empty())?
                }
            });
            self.blank(false);
            if !self.take(".") {
                return Some(key);
            }
        }
    }

    fn entry(&mut self) -> Option<(Vec<String>, Value)> {
        let key = self.key()?;
        if !self.take("=") {
            return None;
        }
        self.blank(false);
        Some((key, self.value()?))
    }

    fn value(&mut self) -> Option<Value> {
        match self.rest().bytes().next()? {
            b'"' | b'\'' => self.string().map(Value::String),
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                loop {
                    self.blank(true);
                    if self.take("]") {
                        return Some(Value::Array(items));
                    }
                    items.push(self.value()?);
                    self.blank(true);
                    if !self.take(",") && !self.rest().starts_with(']') {
                        return None;
                    }
                }
            }
            b'{' => {
                self.at += 1;
                let mut map = Map::new();
                loop {
                    self.blank(true);
                    if self.take("}") {
                        return Some(Value::Object(map));
                    }
                    let (key, value) = self.entry()?;
                    let (last, parents) = key.split_last()?;
                    table(&mut map, parents)?.insert(last.clone(), value).is_none().then_some(())?;
                    self.blank(true);
                    if !self.take(",") && !self.rest().starts_with('}') {
                        return None;
                    }
                }
            }
            _ => self.word(),
        }
    }

    /// Parses a number, a boolean or a date.
    fn word(&mut self) -> Option<Value> {
        let rest = self.rest();
        let length = rest.find([',', ']', '}', '\n', '\r', '#']).unwrap_or(rest.len());
        let word = rest[..length].trim_end().to_owned();
        self.at += length;
        match word.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            // A date such as 2024-12-04T17:35:28Z, or without a time.
            date if date.as_bytes().get(4) == Some(&b'-') && date.bytes().take(4).all(|each| each.is_ascii_digit()) => {
                Some(Value::String(word))
            }
            number => number.replace('_', "").parse::<i64>().ok().map(Value::from),
        }
    }

    fn string(&mut self) -> Option<String> {
        let rest = self.rest();
        let quote = rest.chars().next()?;
        if rest.starts_with("\"\"\"") || rest.starts_with("'''") {
            return None;
        }
        let mut text = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((index, each)) = characters.next() {
            match each {
                each if each == quote => {
                    self.at += index + 1;
                    return Some(text);
                }
                '\\' if quote == '"' => text.push(escape(&mut characters)?),
                '\n' => return None,
                each => text.push(each),
            }
        }
        None
    }
}

/// Parses an escape sequence after its backslash.
fn escape(characters: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let digits = match characters.next()?.1 {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        'b' => return Some('\u{8}'),
        'f' => return Some('\u{c}'),
        same @ ('"' | '\\') => return Some(same),
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let hex: String = characters.take(digits).map(|(_, digit)| digit).collect();
    // `from_str_radix` accepts a sign, but an escape sequence has none.
    let hex = Some(hex).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lock_files_have_is_read() {
        let text = "# by uv\nlock-version = \"1.0\"\n\n[[packages]]\nname = \"a\\u0041\\\"\" # so\nsizes = [ 1_000,\n  {x = 'C:\\d', y.z = true},\n]\n\
                    upload-time = 2024-12-04T17:35:28Z\n[packages.vcs]\n\"commit id\" = 'c'\n[[packages]]\nname = \"b\"\n[tool]\nn = -1\n";
        let expected = serde_json::json!({
            "lock-version": "1.0",
            "packages": [
                {"name": "aA\"", "sizes": [1000, {"x": "C:\\d", "y": {"z": true}}], "upload-time": "2024-12-04T17:35:28Z",
                 "vcs": {"commit id": "c"}},
                {"name": "b"},
            ],
            "tool": {"n": -1},
        });
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(parse("a = 1\nb = \"\"\"x\"\"\"\n"), Err(2));
        assert_eq!(parse("a = 1 b = 2"), Err(1));
        assert_eq!(parse("a = 1\na = 2"), Err(2));
        assert_eq!(parse("[a"), Err(1));
        assert_eq!(parse("a = \"x"), Err(1));
        assert_eq!(parse("a = \"\\u+041\""), Err(1));
        assert_eq!(parse("a = [1 2]"), Err(1));
        assert_eq!(parse("a ="), Err(1));
    }
}
