//! A parsed command line of conda, mamba or micromamba: command, options and operands. The rules are those of argparse:
//! options can be anywhere, `--name=x`, `--name x` and `-nx` are the same, letters can be joined (`-afy`), and a long
//! name can be abbreviated if it stays unique.

use std::ffi::{OsStr, OsString};

use super::{
    options::{Effect, ROWS, Row, VERBS, Verb},
    tool::Tool,
};
use crate::error::CliError;

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tool: Tool,
    /// `None` if there is only `--help` or `--version`.
    pub(crate) verb: Option<Verb>,
    /// The options that have an effect, in order: the last of their names, and their values.
    pub(crate) options: Vec<(&'static str, String)>,
    /// The arguments that are not options.
    pub(crate) operands: Vec<OsString>,
    /// Warnings about ignored options.
    pub(crate) remarks: Vec<String>,
}

impl Line {
    /// Whether an option is given.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.options.iter().any(|(known, _)| *known == key)
    }

    /// All values of an option, in order.
    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// The value of an option; the last one counts.
    pub(crate) fn value<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.values(key).last()
    }

    /// The operands as text.
    pub(crate) fn words(&self) -> Result<Vec<String>, CliError> {
        self.operands.iter().map(|word| text(word)).collect()
    }

    /// The command's words.
    pub(crate) fn command(&self) -> &'static str {
        VERBS.iter().find(|(_, verb, _)| Some(*verb) == self.verb).map_or("", |(words, ..)| words)
    }

    /// Reads a command line, without the program.
    pub(crate) fn parse(tool: Tool, arguments: &[OsString]) -> Result<Self, CliError> {
        let mut line = Self { tool, verb: None, options: Vec::new(), operands: Vec::new(), remarks: Vec::new() };
        // Options can come before the command, so the command is found first.
        let (verb, places) = verb(arguments)?;
        line.verb = verb;
        if places.first().is_some_and(|place| arguments[*place] == "help") {
            line.options.push(("--help", String::new()));
        }
        if matches!(verb, Some(Verb::Nothing(_) | Verb::Refused(_))) {
            return Ok(line);
        }
        let mut rest = arguments.iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, word)| word);
        while let Some(word) = rest.next() {
            let Some(option) = word.to_str().filter(|word| word.len() > 1 && word.starts_with('-')) else {
                line.operands.push(word.clone());
                if verb == Some(Verb::Run) {
                    line.operands.extend(rest.cloned());
                    break;
                }
                continue;
            };
            if option == "--" {
                line.operands.extend(rest.cloned());
                break;
            }
            line.option(option, &mut rest)?;
        }
        Ok(line)
    }

    /// Parses an option, or several joined letters, with their values.
    fn option<'a>(&mut self, option: &str, rest: &mut impl Iterator<Item = &'a OsString>) -> Result<(), CliError> {
        if option.starts_with("--") {
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let row = self.row(name)?;
            let value = match (row.2, value) {
                ("", Some(_)) => return Err(CliError::Usage(format!("`{name}` takes no value"))),
                ("", None) => String::new(),
                (_, Some(value)) => value.to_owned(),
                (what, None) => self.behind(name, what, rest)?,
            };
            return self.take(row, name, value);
        }
        let mut letters = &option[1..];
        while let Some(letter) = letters.chars().next() {
            let name = format!("-{letter}");
            letters = &letters[letter.len_utf8()..];
            let row = self.row(&name).map_err(|error| match option.chars().count() {
                2 => error,
                _ => CliError::Usage(format!(
                    "`{option}` stands for the options {}, and there is no `{name}`",
                    each(option)
                )),
            })?;
            let value = match row.2 {
                "" => String::new(),
                what if letters.is_empty() => self.behind(&name, what, rest)?,
                _ => std::mem::take(&mut letters).trim_start_matches('=').to_owned(),
            };
            self.take(row, &name, value)?;
        }
        Ok(())
    }

    /// The value after an option.
    fn behind<'a>(
        &self,
        name: &str,
        what: &str,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<String, CliError> {
        let value = rest.next().ok_or_else(|| CliError::Usage(format!("a value is missing after `{name}`: {what}")))?;
        text(value)
    }

    /// The table row of a name or an abbreviation.
    fn row(&self, name: &str) -> Result<&'static Row, CliError> {
        let is_of = |row: &&Row| self.verb.is_none_or(|verb| row.is_of(verb));
        if let Some(row) = ROWS.iter().filter(is_of).find(|row| row.names().any(|known| known == name)) {
            return Ok(row);
        }
        let begins = |row: &&Row| row.names().any(|known| name.len() > 3 && known.starts_with(name));
        let mut like = ROWS.iter().filter(is_of).filter(begins);
        if let (Some(row), None) = (like.next(), like.next()) {
            return Ok(row);
        }
        let command = format!("{} {}", self.tool.name(), self.command());
        let message = match ROWS.iter().any(|row| row.names().any(|known| known == name)) {
            true => format!("`{name}` is not an option of `{command}`; `{command} --help` lists them"),
            false => format!("there is no option `{name}`; `{command} --help` lists them"),
        };
        Err(CliError::Usage(message))
    }

    fn take(&mut self, row: &'static Row, name: &str, value: String) -> Result<(), CliError> {
        match row.3 {
            Effect::Counts => self.options.push((row.key(), value)),
            Effect::Already => {}
            Effect::Word(word) => self.remarks.push(format!("`{name}` changes nothing: {word}")),
            Effect::Not(instead) => return Err(CliError::world(format!("`{name}` is not supported"), instead)),
        }
        Ok(())
    }
}

/// The joined letters of options, for a message.
fn each(option: &str) -> String {
    option[1..].chars().map(|letter| format!("`-{letter}`")).collect::<Vec<_>>().join(", ")
}

fn text(word: &OsStr) -> Result<String, CliError> {
    let message = || format!("`{}` is not UTF-8 text", word.to_string_lossy());
    word.to_str().map(str::to_owned).ok_or_else(|| CliError::Usage(message()))
}

/// The command, and the indices of its words.
fn verb(arguments: &[OsString]) -> Result<(Option<Verb>, Vec<usize>), CliError> {
    let mut places = Vec::new();
    let mut value = false;
    for (place, word) in arguments.iter().enumerate() {
        let word = word.to_str().unwrap_or("");
        if std::mem::take(&mut value) {
            continue;
        }
        if word.starts_with('-') {
            let mut rows = ROWS.iter().filter(|row| row.names().any(|known| known == word));
            value = rows.any(|row| !row.2.is_empty()) && (places.is_empty() || word.len() > 1) && places.len() < 2;
            continue;
        }
        places.push(place);
        if places.len() == 2 {
            break;
        }
    }
    let words: Vec<&str> = places.iter().filter_map(|place| arguments[*place].to_str()).collect();
    let found = |count: usize| {
        let words = words.get(..count)?.join(" ");
        VERBS.iter().find(|(known, ..)| *known == words).map(|(_, verb, _)| *verb)
    };
    if words.first() == Some(&"help") {
        let verb = VERBS.iter().find(|(known, ..)| words.get(1) == Some(known)).map(|(_, verb, _)| *verb);
        return Ok((verb, places));
    }
    if words == ["env"] {
        return Ok((None, places));
    }
    if let Some(verb) = found(2) {
        return Ok((Some(verb), places));
    }
    places.truncate(1);
    match (found(1), words.first()) {
        (Some(verb), _) => Ok((Some(verb), places)),
        (None, None) => Ok((None, places)),
        (None, Some(_)) => Err(unknown(&words)),
    }
}

/// The error for an unknown command.
fn unknown(words: &[&str]) -> CliError {
    let group =
        VERBS.iter().any(|(known, ..)| known.split(' ').next() == words.first().copied() && known.contains(' '));
    let (typed, known): (String, Vec<&str>) = match group {
        true => (
            words.join(" "),
            VERBS.iter().map(|(known, ..)| *known).filter(|known| known.starts_with(words[0])).collect(),
        ),
        false => (
            words[0].to_owned(),
            VERBS.iter().map(|(known, ..)| *known).filter(|known| near(known, words[0])).collect(),
        ),
    };
    let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    let hint = match known.as_slice() {
        [] => "`--help` lists the commands".to_owned(),
        known => format!("there is {}", known.join(", ")),
    };
    CliError::world(format!("there is no command `{typed}`"), hint)
}

/// Whether a word is a known one with one typing error: a letter added, missing, replaced, or two swapped.
fn near(known: &str, typed: &str) -> bool {
    let (known, typed): (Vec<char>, Vec<char>) = (known.chars().collect(), typed.to_lowercase().chars().collect());
    let start = known.iter().zip(&typed).take_while(|(one, other)| one == other).count();
    let end =
        known[start..].iter().rev().zip(typed[start..].iter().rev()).take_while(|(one, other)| one == other).count();
    let (left, right) = (known.len() - start - end, typed.len() - start - end);
    (left <= 1 && right <= 1) || (left == 2 && right == 2 && known[start] == typed[start + 1])
}
