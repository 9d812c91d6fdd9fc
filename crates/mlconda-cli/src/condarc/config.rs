//! `conda config` and `mamba config`: read and change `.condarc` files.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use mlconda::edit::{InsertPosition, YamlEditor};
use serde_json::{Value as Json, json};

use super::{Condarc, LISTS, MAPPINGS, VALUES, output, read};
use crate::{context::Context, error::CliError, text::list};

/// The action.
#[derive(Debug)]
enum Action {
    Put(InsertPosition, String, String),
    Set(String, String),
    Remove(String, String),
    RemoveKey(String),
    Get(Vec<String>),
    Show(Vec<String>),
    Sources,
    /// Read every file, and report errors.
    Validate,
}

/// The file to change.
#[derive(Debug, Default)]
struct Line {
    wishes: Vec<Action>,
    file: Option<PathBuf>,
    is_json: bool,
}

/// Runs a command line, which begins after `config`.
pub(crate) fn run(arguments: &[OsString], context: &Context) -> Result<ExitCode, CliError> {
    let text = |word: &OsString| {
        let message = || format!("`{}` is not UTF-8 text", word.display());
        word.to_str().map(str::to_owned).ok_or_else(|| CliError::Usage(message()))
    };
    let words = arguments.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    if words.iter().any(|word| word == "--help" || word == "-h") {
        context.ui.data(output::HELP)?;
        return Ok(ExitCode::SUCCESS);
    }
    let line = Line::parse(words, context)?;
    let (reading, writing): (Vec<Action>, Vec<Action>) = line
        .wishes
        .into_iter()
        .partition(|wish| matches!(wish, Action::Get(_) | Action::Show(_) | Action::Sources | Action::Validate));
    let user = || context.settings.home.as_ref().map(|home| home.join(".condarc"));
    let file = line.file.clone().or_else(user).ok_or_else(|| {
        CliError::Usage("there is no home directory: name the file with `--file FILE` or `--system`".to_owned())
    })?;
    if !writing.is_empty() {
        let before = read(&file)?.map_or_else(|| YamlEditor::new(b"", &file), Ok)?;
        let mut text = before.clone();
        for wish in writing {
            change(&mut text, wish, context)?;
        }
        if text.to_text() != before.to_text() {
            file.parent().map_or(Ok(()), fs_err::create_dir_all)?;
            if file.parent() == Some(&context.settings.root_prefix) {
                // Otherwise an installation refuses the directory, because it is not empty and not a prefix.
                fs_err::create_dir_all(context.settings.root_prefix.join("conda-meta"))?;
            }
            let another = "change its permissions, or name another file with `--file FILE`";
            context.replace(&file, &text.to_text(), another)?;
        }
        if line.is_json {
            context.ui.json(&json!({"rc_path": file.display().to_string(), "success": true, "warnings": []}))?;
        }
    }
    let all = || line.file.as_ref().map_or_else(|| Condarc::read(&context.settings), |file| Condarc::read_only(file));
    for wish in reading {
        let told = match wish {
            Action::Get(keys) => output::get(&Condarc::read_only(&file)?, &keys, line.is_json.then_some(&file)),
            Action::Show(keys) => output::show(&all()?, &keys, line.is_json, &context.settings)?,
            Action::Sources => output::sources(&all()?, line.is_json),
            _ => all().map(|_| String::new())?,
        };
        context.ui.data(told)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Line {
    fn parse(words: Vec<String>, context: &Context) -> Result<Self, CliError> {
        let (mut line, settings) = (Self::default(), &context.settings);
        let mut words = words.into_iter().peekable();
        let mut verb = true;
        while let Some(word) = words.next() {
            let (word, mut joined) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            let name = word.strip_prefix("--").map(str::to_owned);
            // mamba's actions come first, without dashes.
            let is_verb = name.is_none() && !word.starts_with('-') && std::mem::take(&mut verb);
            let Some(name) = name.or_else(|| is_verb.then(|| word.clone())) else {
                if word == "-f" {
                    line.file = Some(settings.absolute(PathBuf::from(next(&mut words, &word)?).as_path()));
                } else if !["-y", "-q", "-v", "-vv", "-vvv"].contains(&word.as_str()) {
                    return Err(unknown(&word));
                }
                continue;
            };
            let mut value = || joined.take().map_or_else(|| next(&mut words, &word), Ok);
            let wish = match name.as_str() {
                "add" | "prepend" => Action::Put(InsertPosition::First, value()?, next(&mut words, &word)?),
                "append" => Action::Put(InsertPosition::Last, value()?, next(&mut words, &word)?),
                "set" => Action::Set(value()?, next(&mut words, &word)?),
                "remove" => Action::Remove(value()?, next(&mut words, &word)?),
                "remove-key" => Action::RemoveKey(value()?),
                "get" => Action::Get(joined.into_iter().chain(keys(&mut words)).collect()),
                "show" | "list" => Action::Show(joined.into_iter().chain(keys(&mut words)).collect()),
                "show-sources" | "sources" => Action::Sources,
                "validate" => Action::Validate,
                "system" => {
                    line.file = Some(settings.root_prefix.join(".condarc"));
                    continue;
                }
                "env" => {
                    let prefix = settings.variable("CONDA_PREFIX").map(std::path::Path::new);
                    line.file = prefix.map(|prefix| settings.absolute(&prefix.join(".condarc"))).or(line.file);
                    continue;
                }
                "file" | "rc-file" => {
                    line.file = Some(settings.absolute(PathBuf::from(value()?).as_path()));
                    continue;
                }
                "name" | "prefix" | "root-prefix" | "color" | "progress" => {
                    value()?;
                    continue;
                }
                "json" => {
                    line.is_json = true;
                    continue;
                }
                "user" | "force" | "yes" | "quiet" | "verbose" | "no-rc" | "no-env" | "no-color" => continue,
                "describe" | "write-default" | "stdin" => return Err(not_available(&word)),
                _ => return Err(unknown(&word)),
            };
            line.wishes.push(wish);
        }
        let nothing = "`config` needs an action; `config --help` lists them";
        if line.wishes.is_empty() { Err(CliError::Usage(nothing.to_owned())) } else { Ok(line) }
    }
}

fn not_available(word: &str) -> CliError {
    CliError::world(
        format!("`config {word}` is not supported"),
        "`config --show` shows the settings; conda's documentation describes the keys",
    )
}

fn unknown(word: &str) -> CliError {
    CliError::Usage(format!("`config` has no action `{word}`; `config --help` lists the actions"))
}

fn next(words: &mut impl Iterator<Item = String>, option: &str) -> Result<String, CliError> {
    words.next().ok_or_else(|| CliError::Usage(format!("a value is missing after `{option}`")))
}

/// The arguments up to the next option.
fn keys(words: &mut std::iter::Peekable<impl Iterator<Item = String>>) -> Vec<String> {
    std::iter::from_fn(|| words.next_if(|word| !word.starts_with('-'))).collect()
}

/// A value: a boolean, a number, or a string.
pub(super) fn value(text: &str) -> Json {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => json!(true),
        "false" | "no" | "off" | "n" => json!(false),
        _ => text.parse::<i64>().map_or_else(|_| json!(text), Json::from),
    }
}

fn change(text: &mut YamlEditor, wish: Action, context: &Context) -> Result<(), CliError> {
    let path = |key: &str| key.split('.').map(str::to_owned).collect::<Vec<String>>();
    let (Action::Put(_, key, _) | Action::Set(key, _) | Action::Remove(key, _) | Action::RemoveKey(key)) = &wish else {
        return Ok(());
    };
    let keys = path(key);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    check(&wish, &keys, context)?;
    let json = text.to_json()?;
    let old = keys.iter().try_fold(&json, |json, key| json.get(*key));
    let items = || old.map(super::texts).unwrap_or_default();
    match &wish {
        Action::Put(place, key, item) => {
            if let Some(index) = items().iter().position(|known| known == item) {
                let end = if *place == InsertPosition::First { "top" } else { "bottom" };
                context.ui.warn(&format!("`{item}` is already in the list `{key}`, and moves to its {end}"));
                text.remove(&keys, index)?;
            }
            text.insert(&keys, item, *place)?;
        }
        Action::Set(_, new) => text.set(&keys, &value(new))?,
        Action::Remove(key, item) if key == "channels" && item == "defaults" && !items().contains(item) => {
            context.ui.say(
                "`channels` does not name `defaults`, so nothing is removed; they are used if no channel is configured.",
            );
        }
        Action::Remove(key, item) => {
            let index = items().iter().position(|known| known == item).ok_or_else(|| CliError::World {
                message: format!("the list `{key}` does not have `{item}`"),
                hint: (!items().is_empty()).then(|| format!("it has {}", list(&items()))),
            })?;
            text.remove(&keys, index)?;
        }
        _ if old.is_none() => {
            return Err(CliError::World { message: format!("the key `{key}` is not set"), hint: None });
        }
        _ => text.remove_key(&keys)?,
    }
    Ok(())
}

/// An error for a wrong use of a key, and a warning for keys without effect.
fn check(wish: &Action, keys: &[&str], context: &Context) -> Result<(), CliError> {
    let key = keys.first().copied().unwrap_or_default();
    let is_list = LISTS.contains(&key);
    match wish {
        Action::Set(_, value) if is_list => {
            return Err(CliError::Usage(format!("`{key}` is a list: `config --add {key} {value}` adds `{value}`")));
        }
        Action::Put(_, _, value) if VALUES.contains(&key) => {
            return Err(CliError::Usage(format!("`{key}` has one value: `config --set {key} {value}` sets it")));
        }
        Action::Set(_, value) if key == "channel_priority" => {
            let known = ["strict", "flexible", "disabled", "true", "false"];
            if !known.contains(&value.to_lowercase().as_str()) {
                return Err(CliError::Usage(format!(
                    "`{value}` is not a channel priority: there are `strict`, `flexible` and `disabled`"
                )));
            }
        }
        Action::RemoveKey(_) | Action::Remove(..) => return Ok(()),
        _ => {}
    }
    let without_effect = match (key, wish) {
        ("disallowed_packages" | "allowlist_channels" | "denylist_channels", _) => {
            "packages come from all given channels"
        }
        ("ssl_verify", Action::Set(_, new)) if value(new) == json!(false) => {
            "certificates are checked; `ssl_verify` can give a file of trusted certificates"
        }
        _ if is_list || MAPPINGS.contains(&key) || VALUES.contains(&key) => return Ok(()),
        _ => {
            let known = [LISTS, MAPPINGS, VALUES].concat();
            let letters = |word: &str| word.replace(['_', '-'], "").trim_end_matches('s').to_lowercase();
            if let Some(meant) = known.iter().find(|known| letters(known) == letters(key) || is_near(known, key)) {
                return Err(CliError::Usage(format!("`{key}` is not a key of conda's; there is `{meant}`")));
            }
            "mlconda does not use this key"
        }
    };
    context.ui.warn(&format!("`{key}` is written, but has no effect: {without_effect}"));
    Ok(())
}

/// Whether two words differ in one letter, or in two swapped letters.
fn is_near(known: &str, typed: &str) -> bool {
    let (known, typed) = (known.as_bytes(), typed.as_bytes());
    let start = known.iter().zip(typed).take_while(|(one, other)| one == other).count();
    let end =
        known[start..].iter().rev().zip(typed[start..].iter().rev()).take_while(|(one, other)| one == other).count();
    let (left, right) = (known.len() - start - end, typed.len() - start - end);
    (left <= 1 && right <= 1) || (left == 2 && right == 2 && known[start] == typed[start + 1])
}
