//! YAML as a tree with locations. It is built from the events of a parser, not deserialized, so that every diagnostic
//! has its line and column, and a scalar keeps its text (`3.10` is not `3.1`). The dialect is YAML 1.2 with merge
//! keys, as in conda. Duplicate keys are rejected, as in conda.

use std::{collections::HashMap, rc::Rc};

use mlconda_types::diagnostic::{Diagnostic, Location, SourceText};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

/// How deeply values may be nested. An environment needs four levels; the limit protects the stack.
const MAX_DEPTH: usize = 64;

/// The most keys of a mapping: each is compared with all before it.
const MAX_KEYS: usize = 10_000;

/// The longest line, in bytes, in which a comment after a value is searched for. Longer lines are written by programs
/// and have thousands of values.
const MAX_LINE_LENGTH: usize = 10_000;

/// The most values that aliases may expand to. A few lines could otherwise expand to any number of values; the longest
/// locks have some thousand.
const MAX_COPIED: usize = 1 << 20;

/// The most values of a file. A lock of five platforms with 1,000 packages each has some 200,000.
const MAX_VALUES: usize = 1 << 20;

/// A value and its location.
#[derive(Clone, Debug)]
pub struct YamlNode {
    /// The value.
    pub value: Value,
    /// The location of its first character.
    pub location: Location,
    /// Its length in characters on its first line.
    pub length: usize,
    /// The location at which a comment after it could begin.
    pub(crate) end: Location,
}

/// A value. Scalars stay text.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar.
    Scalar {
        /// The text, without quotes.
        text: String,
        /// Whether it was quoted.
        style: Style,
    },
    /// A list.
    Sequence(Vec<Rc<YamlNode>>),
    /// A mapping.
    Mapping(MappingEntries),
}

/// The keys and values of a mapping, in order.
pub type MappingEntries = Vec<(Rc<YamlNode>, Rc<YamlNode>)>;

/// The style of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Unquoted: it may be a number, a boolean or null.
    Plain,
    /// Quoted: it is a string.
    Quoted,
}

impl YamlNode {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text, if YAML reads the unquoted scalar as a string.
    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, style: Style::Plain } => Some(text),
            _ => None,
        }
    }

    /// Whether the value is null: empty, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// The YAML type of an unquoted scalar that is not a string.
    pub(crate) fn not_a_string(&self) -> Option<&'static str> {
        let text = self.plain()?;
        if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
            return Some("a boolean");
        }
        // Rust parses `inf`, `nan` and `infinity` as numbers, YAML as strings.
        let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        (numeric && text.parse::<f64>().is_ok() || is_odd_number(text)).then_some("a number")
    }

    /// The kind of the value with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "empty",
            Value::Scalar { .. } => self.not_a_string().unwrap_or("a string"),
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The comment after the value on its last line, without the `#`.
    pub(crate) fn comment<'a>(&self, source: SourceText<'a>) -> Option<&'a str> {
        let line = source.line(self.end.line);
        if line.len() > MAX_LINE_LENGTH {
            return None;
        }
        let offset = line.char_indices().nth(self.end.column - 1).map_or(line.len(), |(offset, _)| offset);
        let behind = line[offset..].trim_start();
        // A key is followed by its colon.
        behind.strip_prefix(':').unwrap_or(behind).trim_start().strip_prefix('#').map(str::trim)
    }
}

/// Whether a text is a number that only YAML writes so (YAML 1.2.2, section 10.3.2): `0x1F`, `0o17`, `-.inf`, `.nan`.
fn is_odd_number(text: &str) -> bool {
    let digits = |prefix, base| {
        text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c: char| c.is_digit(base)))
    };
    let infinite = matches!(text.strip_prefix(['+', '-']).unwrap_or(text), ".inf" | ".Inf" | ".INF");
    infinite || matches!(text, ".nan" | ".NaN" | ".NAN") || digits("0x", 16) || digits("0o", 8)
}

/// Whether an unquoted scalar is a string for every reader, also of YAML 1.1.
pub(crate) fn is_string(text: &str) -> bool {
    let value = Value::Scalar { text: text.to_owned(), style: Style::Plain };
    let node = YamlNode { value, location: Location::default(), length: 0, end: Location::default() };
    let old = ["yes", "no", "on", "off", "y", "n"].iter().any(|word| text.eq_ignore_ascii_case(word));
    !node.is_null() && node.not_a_string().is_none() && !old
}

/// A collection that is not complete yet.
enum OpenCollection {
    Sequence { items: Vec<Rc<YamlNode>>, anchor: usize, location: Location },
    Mapping { entries: MappingEntries, key: Option<Rc<YamlNode>>, anchor: usize, location: Location },
}

/// A document, and the problems that did not prevent reading it.
#[derive(Debug, Default)]
pub struct Document {
    /// The value; `None` for an empty document.
    pub root: Option<Rc<YamlNode>>,
    /// Duplicate keys; the first of each is kept.
    pub duplicates: Vec<Diagnostic>,
}

/// Parses a text with one document.
///
/// # Errors
/// If the text is not YAML, has more than one document, or is nested too deeply.
pub fn parse(source: SourceText<'_>) -> Result<Document, Box<Diagnostic>> {
    let (anchors, document) = (HashMap::new(), Document::default());
    let unended = (!source.text.ends_with('\n')).then(|| source.text.chars().count());
    let mut tree = TreeBuilder { source, unended, open: Vec::new(), anchors, aliased: 0, values: 0, document };
    let mut parser = Parser::new_from_str(source.text);
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax_error(source, &error))?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(source.diagnostic(
                    location(span.start),
                    3,
                    "a second YAML document begins here",
                    "keep one environment in a file: remove the `---`, or move what follows it into a file of its own",
                ));
            }
        }
        tree.handle_event(event, span)?;
    }
    Ok(tree.document)
}

struct TreeBuilder<'a> {
    source: SourceText<'a>,
    /// How many characters the text has, if its last line has no break.
    unended: Option<usize>,
    open: Vec<OpenCollection>,
    /// Anchored values, with their depth and size.
    anchors: HashMap<usize, (Rc<YamlNode>, NodeExtent)>,
    /// How many values the aliases expand to so far.
    aliased: usize,
    /// How many values there are so far.
    values: usize,
    document: Document,
}

/// The depth of a value, and the number of its values, including itself.
#[derive(Clone, Copy)]
struct NodeExtent {
    depth: usize,
    values: usize,
}

impl NodeExtent {
    /// The values of aliases are counted each time; the limits keep this small.
    fn of(node: &YamlNode) -> Self {
        let children: Vec<&Rc<YamlNode>> = match &node.value {
            Value::Scalar { .. } => Vec::new(),
            Value::Sequence(items) => items.iter().collect(),
            Value::Mapping(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        };
        children.into_iter().map(|child| Self::of(child)).fold(Self { depth: 1, values: 1 }, |sum, child| Self {
            depth: sum.depth.max(child.depth + 1),
            values: sum.values + child.values,
        })
    }
}

impl TreeBuilder<'_> {
    fn handle_event(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        let start = location(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let mut text = text.into_owned();
                // The parser adds a line break to a block that ends with the file and has none.
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let is_unended = is_block && self.unended.is_some_and(|end| span.end.index() >= end);
                if is_unended && text.ends_with('\n') {
                    text.pop();
                }
                let style = if style == ScalarStyle::Plain && !tagged { Style::Plain } else { Style::Quoted };
                let length = text.lines().next().unwrap_or("").chars().count();
                let value = Value::Scalar { text, style };
                let length = if span.start.line() == span.end.line() { span.len() } else { length };
                self.put(Rc::new(YamlNode { value, location: start, length, end: location(span.end) }), anchor)?;
            }
            Event::Alias(anchor) => {
                let fail = |message: &str, help| Err(self.source.diagnostic(start, span.len(), message, help));
                let Some((node, extent)) = self.anchors.get(&anchor).cloned() else {
                    return fail("an alias contains itself", "write the value out");
                };
                self.aliased += extent.values;
                if self.open.len() + extent.depth > MAX_DEPTH + 1 || self.aliased > MAX_COPIED {
                    return fail("the aliases expand to too many values", "write the values out");
                }
                self.put(node, 0)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.push(OpenCollection::Sequence { items: Vec::new(), anchor, location: start })?;
            }
            Event::MappingStart(anchor, _) => {
                self.push(OpenCollection::Mapping { entries: Vec::new(), key: None, anchor, location: start })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn push(&mut self, open: OpenCollection) -> Result<(), Box<Diagnostic>> {
        if self.open.len() == MAX_DEPTH {
            let (OpenCollection::Sequence { location, .. } | OpenCollection::Mapping { location, .. }) = open;
            return Err(self.source.diagnostic(
                location,
                1,
                format!("values are nested more than {MAX_DEPTH} deep"),
                "check that this is an environment file",
            ));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Box<Diagnostic>> {
        let (value, anchor, start) = match self.open.pop() {
            Some(OpenCollection::Sequence { items, anchor, location }) => (Value::Sequence(items), anchor, location),
            Some(OpenCollection::Mapping { entries, anchor, location, .. }) => {
                (Value::Mapping(merged(self.source, entries)?), anchor, location)
            }
            None => return Ok(()),
        };
        self.put(Rc::new(YamlNode { value, location: start, length: 1, end: location(span.end) }), anchor)
    }

    fn put(&mut self, node: Rc<YamlNode>, anchor: usize) -> Result<(), Box<Diagnostic>> {
        self.values += 1;
        if self.values > MAX_VALUES {
            let message = format!("the file has more than {MAX_VALUES} values");
            let help = "no lock or environment has as many: check that it is one";
            return Err(self.source.diagnostic(node.location, 1, message, help));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), NodeExtent::of(&node)));
        }
        match self.open.last_mut() {
            None => self.document.root = (!node.is_null()).then_some(node),
            Some(OpenCollection::Sequence { items, .. }) => items.push(node),
            Some(OpenCollection::Mapping { key: slot @ None, .. }) => *slot = Some(node),
            Some(OpenCollection::Mapping { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    if entries.len() == MAX_KEYS {
                        let message = format!("a mapping of more than {MAX_KEYS} keys");
                        let help = "check that this is an environment file";
                        return Err(self.source.diagnostic(key.location, key.length, message, help));
                    }
                    match duplicate(self.source, entries, &key) {
                        Some(duplicate) => self.document.duplicates.push(*duplicate),
                        None => entries.push((key, node)),
                    }
                }
            }
        }
        Ok(())
    }
}

fn duplicate(
    source: SourceText<'_>,
    entries: &[(Rc<YamlNode>, Rc<YamlNode>)],
    key: &YamlNode,
) -> Option<Box<Diagnostic>> {
    let text = key.text().filter(|text| *text != "<<")?;
    let (first, _) = entries.iter().find(|(other, _)| other.text() == Some(text))?;
    Some(source.diagnostic(
        key.location,
        key.length,
        format!("the key `{text}` stands here and on line {}", first.location.line),
        "a key stands once: put both values under one of them",
    ))
}

/// Applies merge keys (`<<: *base`): a mapping's own keys take precedence.
fn merged(source: SourceText<'_>, entries: MappingEntries) -> Result<MappingEntries, Box<Diagnostic>> {
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.plain() == Some("<<"));
    for (key, value) in merges {
        let bases = match &value.value {
            Value::Sequence(bases) => bases.clone(),
            _ => vec![Rc::clone(&value)],
        };
        for base in bases {
            let Value::Mapping(inherited) = &base.value else {
                let help = "give it an alias of a mapping, such as `<<: *base`";
                return Err(source.diagnostic(key.location, key.length, "`<<` merges mappings only", help));
            };
            for (key, value) in inherited {
                if !own.iter().any(|(other, _)| other.text() == key.text()) {
                    own.push((Rc::clone(key), Rc::clone(value)));
                }
            }
        }
    }
    Ok(own)
}

/// The parser counts columns from 0.
fn location(marker: Marker) -> Location {
    Location { line: marker.line(), column: marker.col() + 1 }
}

fn syntax_error(source: SourceText<'_>, error: &ScanError) -> Box<Diagnostic> {
    let mut place = location(*error.marker());
    // An error at the end of the file is reported on the last line with text.
    let last = source.text.trim_end().split('\n').count();
    if place.line > last {
        place = Location { line: last, column: source.line(last).trim_end().chars().count() + 1 };
    }
    let message = format!("the YAML is broken: {}", error.info());
    let help = reason(source, place, error.info());
    if let (None, Some((place, length, help))) = (help, unclosed_quote(source, place)) {
        return source.diagnostic(place, length, "the YAML is broken here", help);
    }
    source.diagnostic(place, 1, message, help.unwrap_or(LAYOUT_HELP))
}

const LAYOUT_HELP: &str = "check the indentation, the `- ` and the `:` on this line and on the one above it";

/// The most likely reason for a syntax error, if the text shows one.
fn reason(source: SourceText<'_>, place: Location, info: &str) -> Option<&'static str> {
    let line = source.line(place.line);
    let before = source.line(place.line.saturating_sub(1).max(1));
    let indented_by_tab = |line: &str| line[..line.len() - line.trim_start().len()].contains('\t');
    let value = line.trim_start().trim_start_matches("- ").trim_start();
    let at = line.chars().nth(place.column.saturating_sub(1));
    let means = |c: char| matches!(c, '*' | '&' | '!' | '%' | '@' | '`' | '>' | '|');
    let text = source.text;
    Some(if text.lines().any(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ")) {
        "the file holds unresolved merge conflicts: resolve them first"
    } else if text.contains("{{") || text.contains("{%") {
        "the file looks like a template: render it first"
    } else if line.chars().any(|c| c.is_control() && c != '\t') {
        "the line has a character in it that cannot be seen: remove it, and save the file in UTF-8"
    } else if indented_by_tab(line) || indented_by_tab(before) {
        "YAML is indented by spaces only: replace the tab"
    } else if at.is_some_and(means) || value.starts_with(means) {
        "put the value in quotes: it begins with a character that means something to YAML"
    } else if value.starts_with(['"', '\'']) || info.contains("quoted") || before.matches(['"', '\'']).count() % 2 == 1
    {
        "check that every quote is closed"
    } else if info.contains("flow") || info.contains("recursion") {
        "check the brackets: what is opened is closed, and commas stand between the entries"
    } else {
        return None;
    })
}

/// The offset of a character at the beginning of a line that only looks like a space or a `-`.
fn lookalike(line: &str) -> Option<usize> {
    let is_odd = |c: char| !c.is_ascii() && (c.is_whitespace() || matches!(c, '–' | '—' | '−' | '•' | '·'));
    let place = line.chars().position(is_odd)?;
    line.chars().take(place).all(|c| matches!(c, ' ' | '-')).then_some(place)
}

/// The first such character in the file, and what to do about all of them.
fn lookalikes(source: SourceText<'_>) -> Option<(Location, usize, String)> {
    let mut lines = source.lines.iter().enumerate().filter_map(|(index, line)| Some((index + 1, lookalike(line)?)));
    let (line, place) = lines.next()?;
    let others = match lines.count() {
        0 => String::new(),
        1 => ", and on one more line".to_owned(),
        others => format!(", and on {others} more lines"),
    };
    let help = format!("a character that only looks like a space or a `-` stands here{others}: type it anew");
    Some((Location { line, column: place + 1 }, 1, help))
}

/// A mistake that the YAML parser notices only some lines later: its location, its length, and help. It is searched
/// for in the line of the error and the few lines before it.
fn unclosed_quote(source: SourceText<'_>, place: Location) -> Option<(Location, usize, String)> {
    (place.line.saturating_sub(3).max(1)..=place.line).rev().find_map(|number| {
        let line = source.line(number);
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let (item, at) = (line.trim_start_matches(' '), |column| Location { line: number, column });
        if lookalike(line).is_some() {
            return lookalikes(source);
        }
        if item.starts_with('-') && item[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Some((at(indent + 1), 2, "put a space after the `-`".to_owned()));
        }
        let (key, behind) = super::keys::KEYS.iter().find_map(|key| Some((*key, item.strip_prefix(key)?)))?;
        let help = match behind.strip_prefix(':') {
            None if behind.trim().is_empty() => format!("put a `:` after `{key}`"),
            Some(value) if value.starts_with(|c: char| !c.is_whitespace()) => format!("put a space after `{key}:`"),
            Some(_) if indent > 0 => format!("`{key}:` begins its line, without spaces in front of it"),
            _ => return None,
        };
        Some((at(indent + 1), key.len(), help))
    })
}

/// A string as YAML, quoted if any reader could misunderstand it.
pub fn scalar(text: &str) -> String {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_owned()
    } else if text.chars().any(is_invisible_character) {
        // A JSON string is a YAML string; more characters are escaped here.
        let quoted = serde_json::Value::from(text).to_string();
        let shown =
            |c: char| if is_invisible_character(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        quoted.chars().map(shown).collect()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Whether a character controls the terminal or changes the direction of writing. A file should show all of its
/// contents.
fn is_invisible_character(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod conformance;
