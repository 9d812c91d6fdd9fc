//! YAML as a small tree in which every value knows its place. Built from a parser's events, not deserialized, for two
//! reasons: every complaint can point at its line and column, and a scalar stays the text that was written (`3.10` is
//! not `3.1`). The dialect is YAML 1.2 with merge keys, as conda's own reader has it; duplicate keys are refused, as
//! conda refuses them.

use std::{collections::HashMap, rc::Rc};

use mlconda_types::diagnostic::{Diagnostic, Location, Source};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

/// How deeply values may be nested. An environment needs four levels; the limit keeps the stack safe.
const DEEPEST: usize = 64;

/// How many keys a mapping may have, for each of them is compared with all before it.
const MOST_KEYS: usize = 10_000;

/// The longest line, in bytes, on which the comment behind a value is looked for. Longer ones are written by programs, and have
/// thousands of values.
const LONGEST_LINE: usize = 10_000;

/// How many values aliases may stand for in all. A few lines of them can stand for more than any memory holds, for whoever
/// walks through the tree; the longest locks have some thousand.
const LARGEST: usize = 1 << 20;

/// How many values a file may have. A lock of five platforms with 1,000 packages each has some 200,000.
const MOST_VALUES: usize = 1 << 20;

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub location: Location,
    /// How many characters it takes up on its first line.
    pub length: usize,
    /// Where a comment behind it on the same line could begin.
    pub(crate) end: Location,
}

/// A value. Scalars stay text.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar.
    Scalar {
        /// As written, without quotes.
        text: String,
        /// Whether it was quoted.
        style: Style,
    },
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values.
    Mapping(Entries),
}

/// The keys of a mapping with their values, in order.
pub type Entries = Vec<(Rc<Node>, Rc<Node>)>;

/// Whether a scalar can be anything but a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// It may be a number, a boolean or nothing.
    Plain,
    /// It is text.
    Quoted,
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text, if YAML takes the scalar for a string without being told so.
    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, style: Style::Plain } => Some(text),
            _ => None,
        }
    }

    /// Whether there is no value: nothing at all, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// What YAML makes of a scalar without quotes that is no string: the word for it.
    pub(crate) fn not_a_string(&self) -> Option<&'static str> {
        let text = self.plain()?;
        if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
            return Some("a boolean");
        }
        // `inf`, `nan` and `infinity` are numbers to Rust and words to YAML.
        let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        (numeric && text.parse::<f64>().is_ok()).then_some("a number")
    }

    /// The word for the kind of value, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "empty",
            Value::Scalar { .. } => self.not_a_string().unwrap_or("a string"),
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// What stands behind the value on its last line, if that is a comment: its text without the `#`.
    pub(crate) fn comment<'a>(&self, source: Source<'a>) -> Option<&'a str> {
        let line = source.line(self.end.line);
        if line.len() > LONGEST_LINE {
            return None;
        }
        let offset = line.char_indices().nth(self.end.column - 1).map_or(line.len(), |(offset, _)| offset);
        let behind = line[offset..].trim_start();
        // Behind a key stands its colon.
        behind.strip_prefix(':').unwrap_or(behind).trim_start().strip_prefix('#').map(str::trim)
    }
}

/// Whether a scalar without quotes is a string to every reader, those of YAML 1.1 too.
pub(crate) fn is_string(text: &str) -> bool {
    let value = Value::Scalar { text: text.to_owned(), style: Style::Plain };
    let node = Node { value, location: Location::default(), length: 0, end: Location::default() };
    let old = ["yes", "no", "on", "off", "y", "n"].iter().any(|word| text.eq_ignore_ascii_case(word));
    !node.is_null() && node.not_a_string().is_none() && !old
}

/// A collection that is being read.
enum Open {
    Sequence { items: Vec<Rc<Node>>, anchor: usize, location: Location },
    Mapping { entries: Entries, key: Option<Rc<Node>>, anchor: usize, location: Location },
}

/// A document, and what is wrong with it that does not keep it from being read.
#[derive(Debug, Default)]
pub struct Document {
    /// The value; `None` if there is nothing in the document.
    pub root: Option<Rc<Node>>,
    /// Keys that stand twice; the first of them is the one that is kept.
    pub duplicates: Vec<Diagnostic>,
}

/// Reads the one document of a text.
///
/// # Errors
/// If the text is no YAML, has more than one document, or nests too deeply.
pub fn parse(source: Source<'_>) -> Result<Document, Box<Diagnostic>> {
    let (anchors, document) = (HashMap::new(), Document::default());
    let mut tree = Tree { source, open: Vec::new(), anchors, aliased: 0, values: 0, document };
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
        tree.take(event, span)?;
    }
    Ok(tree.document)
}

struct Tree<'a> {
    source: Source<'a>,
    open: Vec<Open>,
    /// What has a name, with how deep it is and how many values it has in it.
    anchors: HashMap<usize, (Rc<Node>, Extent)>,
    /// How many values the aliases so far stand for.
    aliased: usize,
    /// How many values there are so far.
    values: usize,
    document: Document,
}

/// How deep a value is nested, and how many values it is made of, itself included.
#[derive(Clone, Copy)]
struct Extent {
    depth: usize,
    values: usize,
}

impl Extent {
    /// What aliases stand for counts as often as they stand for it; the limits on both keep this small.
    fn of(node: &Node) -> Self {
        let children: Vec<&Rc<Node>> = match &node.value {
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

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        let start = location(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let style = if style == ScalarStyle::Plain && !tagged { Style::Plain } else { Style::Quoted };
                let length = text.lines().next().unwrap_or("").chars().count();
                let value = Value::Scalar { text: text.into_owned(), style };
                let length = if span.start.line() == span.end.line() { span.len() } else { length };
                self.put(Rc::new(Node { value, location: start, length, end: location(span.end) }), anchor)?;
            }
            Event::Alias(anchor) => {
                let fail = |message: &str, help| Err(self.source.diagnostic(start, span.len(), message, help));
                let Some((node, extent)) = self.anchors.get(&anchor).cloned() else {
                    return fail("an alias stands inside of what it stands for", "write the value out");
                };
                self.aliased += extent.values;
                if self.open.len() + extent.depth > DEEPEST + 1 || self.aliased > LARGEST {
                    return fail("aliases stand for more than a file can mean", "write the values out");
                }
                self.put(node, 0)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.push(Open::Sequence { items: Vec::new(), anchor, location: start })?;
            }
            Event::MappingStart(anchor, _) => {
                self.push(Open::Mapping { entries: Vec::new(), key: None, anchor, location: start })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn push(&mut self, open: Open) -> Result<(), Box<Diagnostic>> {
        if self.open.len() == DEEPEST {
            let (Open::Sequence { location, .. } | Open::Mapping { location, .. }) = open;
            return Err(self.source.diagnostic(
                location,
                1,
                format!("values are nested more than {DEEPEST} deep"),
                "check that this is an environment file",
            ));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Box<Diagnostic>> {
        let (value, anchor, start) = match self.open.pop() {
            Some(Open::Sequence { items, anchor, location }) => (Value::Sequence(items), anchor, location),
            Some(Open::Mapping { entries, anchor, location, .. }) => {
                (Value::Mapping(merged(self.source, entries)?), anchor, location)
            }
            None => return Ok(()),
        };
        self.put(Rc::new(Node { value, location: start, length: 1, end: location(span.end) }), anchor)
    }

    fn put(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Box<Diagnostic>> {
        self.values += 1;
        if self.values > MOST_VALUES {
            let message = format!("the file has more than {MOST_VALUES} values");
            let help = "no lock or environment has as many: check that it is one";
            return Err(self.source.diagnostic(node.location, 1, message, help));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), Extent::of(&node)));
        }
        match self.open.last_mut() {
            None => self.document.root = (!node.is_null()).then_some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { key: slot @ None, .. }) => *slot = Some(node),
            Some(Open::Mapping { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    if entries.len() == MOST_KEYS {
                        let message = format!("a mapping of more than {MOST_KEYS} keys");
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

fn duplicate(source: Source<'_>, entries: &[(Rc<Node>, Rc<Node>)], key: &Node) -> Option<Box<Diagnostic>> {
    let text = key.text().filter(|text| *text != "<<")?;
    let (first, _) = entries.iter().find(|(other, _)| other.text() == Some(text))?;
    Some(source.diagnostic(
        key.location,
        key.length,
        format!("the key `{text}` stands here and on line {}", first.location.line),
        "a key stands once: put both values under one of them",
    ))
}

/// Carries out merge keys (`<<: *base`): what a mapping says itself comes before what it merges.
fn merged(source: Source<'_>, entries: Entries) -> Result<Entries, Box<Diagnostic>> {
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

fn syntax_error(source: Source<'_>, error: &ScanError) -> Box<Diagnostic> {
    let mut place = location(*error.marker());
    // What is missing at the end of the file is missing on its last line that says something.
    let last = source.text.trim_end().split('\n').count();
    if place.line > last {
        place = Location { line: last, column: source.line(last).trim_end().chars().count() + 1 };
    }
    let message = format!("the YAML is broken: {}", error.info());
    let help = reason(source, place, error.info());
    if let (None, Some((place, length, help))) = (help, elsewhere(source, place)) {
        return source.diagnostic(place, length, "the YAML is broken here", help);
    }
    source.diagnostic(place, 1, message, help.unwrap_or(LAYOUT_HELP))
}

const LAYOUT_HELP: &str = "check the indentation, the `- ` and the `:` on this line and on the one above it";

/// The likeliest reason for a syntax error at a place, if something stands there that says it.
fn reason(source: Source<'_>, place: Location, info: &str) -> Option<&'static str> {
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

/// Where a line begins with a character that only looks like the space or the `-` that YAML wants there, from 0.
fn lookalike(line: &str) -> Option<usize> {
    let is_odd = |c: char| !c.is_ascii() && (c.is_whitespace() || matches!(c, '–' | '—' | '−' | '•' | '·'));
    let place = line.chars().position(is_odd)?;
    line.chars().take(place).all(|c| matches!(c, ' ' | '-')).then_some(place)
}

/// The first of such characters in the file, and what to do with all of them.
fn lookalikes(source: Source<'_>) -> Option<(Location, usize, String)> {
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

/// A mistake in the layout that a YAML parser finds some lines further on: the place, its length, and what to do. Looked
/// for from the place upwards, in the line itself and the few before it.
fn elsewhere(source: Source<'_>, place: Location) -> Option<(Location, usize, String)> {
    (place.line.saturating_sub(3).max(1)..=place.line).rev().find_map(|number| {
        let line = source.line(number);
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let (item, at) = (line.trim_start_matches(' '), |column| Location { line: number, column });
        if lookalike(line).is_some() {
            return lookalikes(source);
        }
        if item.starts_with('-') && item[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Some((at(indent + 1), 2, "put a space behind the `-`".to_owned()));
        }
        let (key, behind) = super::reader::KEYS.iter().find_map(|key| Some((*key, item.strip_prefix(key)?)))?;
        let help = match behind.strip_prefix(':') {
            None if behind.trim().is_empty() => format!("put a `:` behind `{key}`"),
            Some(value) if value.starts_with(|c: char| !c.is_whitespace()) => format!("put a space behind `{key}:`"),
            Some(_) if indent > 0 => format!("`{key}:` begins its line, without spaces in front of it"),
            _ => return None,
        };
        Some((at(indent + 1), key.len(), help))
    })
}

/// A string as it is where no reader can misunderstand it, else in quotes.
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
    } else if text.chars().any(is_unseen) {
        // A string of JSON is one of YAML, and so is one with more of its characters by number.
        let quoted = serde_json::Value::from(text).to_string();
        let shown = |c: char| if is_unseen(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        quoted.chars().map(shown).collect()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Whether a character steers a terminal, or turns the direction of writing: a file should show what is in it.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
