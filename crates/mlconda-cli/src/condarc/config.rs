//! `conda config`, and `mamba config` with its words: reads and changes `.condarc` files.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use mlconda::edit::{InsertPosition, YamlEditor};
use serde_json::{Value as Json, json};

use super::{Condarc, LISTS, MAPPINGS, VALUES, output, read};
use crate::{context::Context, error::CliError, text::list};

/// What is to be done.
#[derive(Debug)]
enum Wish {
    Put(InsertPosition, String, String),
    Set(String, String),
    Remove(String, String),
    RemoveKey(String),
    Get(Vec<String>),
    Show(Vec<String>),
    Sources,
    /// Nothing: every file is read, and what is wrong with one is told.
    Validate,
}

/// Which file is meant.
#[derive(Debug, Default)]
struct Line {
    wishes: Vec<Wish>,
    file: Option<PathBuf>,
    is_json: bool,
}

/// Carries out a command line, from behind the word `config`.
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
    let (reading, writing): (Vec<Wish>, Vec<Wish>) = line
        .wishes
        .into_iter()
        .partition(|wish| matches!(wish, Wish::Get(_) | Wish::Show(_) | Wish::Sources | Wish::Validate));
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
                // An installation takes a directory with this one for a prefix.
                fs_err::create_dir_all(context.settings.root_prefix.join("conda-meta"))?;
            }
            context.write(&file, &text.to_text())?;
        }
        if line.is_json {
            context.ui.json(&json!({"rc_path": file.display().to_string(), "success": true, "warnings": []}))?;
        }
    }
    let all = || line.file.as_ref().map_or_else(|| Condarc::read(&context.settings), |file| Condarc::read_only(file));
    for wish in reading {
        let told = match wish {
            Wish::Get(keys) => output::get(&Condarc::read_only(&file)?, &keys, line.is_json.then_some(&file)),
            Wish::Show(keys) => output::show(&all()?, &keys, line.is_json, &context.settings)?,
            Wish::Sources => output::sources(&all()?, line.is_json),
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
            // mamba's words stand first, without dashes.
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
                "add" | "prepend" => Wish::Put(InsertPosition::First, value()?, next(&mut words, &word)?),
                "append" => Wish::Put(InsertPosition::Last, value()?, next(&mut words, &word)?),
                "set" => Wish::Set(value()?, next(&mut words, &word)?),
                "remove" => Wish::Remove(value()?, next(&mut words, &word)?),
                "remove-key" => Wish::RemoveKey(value()?),
                "get" => Wish::Get(joined.into_iter().chain(keys(&mut words)).collect()),
                "show" | "list" => Wish::Show(joined.into_iter().chain(keys(&mut words)).collect()),
                "show-sources" | "sources" => Wish::Sources,
                "validate" => Wish::Validate,
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
                "name" | "prefix" | "root-prefix" => {
                    value()?;
                    continue;
                }
                "json" => {
                    line.is_json = true;
                    continue;
                }
                "user" | "force" | "yes" | "quiet" | "verbose" | "no-rc" | "no-env" => continue,
                "describe" | "write-default" | "stdin" => return Err(not_available(&word)),
                _ => return Err(unknown(&word)),
            };
            line.wishes.push(wish);
        }
        let nothing = "`config` is not told what to do; `config --help` tells what it does";
        if line.wishes.is_empty() { Err(CliError::Usage(nothing.to_owned())) } else { Ok(line) }
    }
}

fn not_available(word: &str) -> CliError {
    CliError::world(
        format!("`config {word}` is not to be had"),
        "`config --show` tells what counts; conda's documentation describes the keys",
    )
}

fn unknown(word: &str) -> CliError {
    CliError::Usage(format!("`config` does not know `{word}`; `config --help` tells what it does"))
}

fn next(words: &mut impl Iterator<Item = String>, option: &str) -> Result<String, CliError> {
    words.next().ok_or_else(|| CliError::Usage(format!("a word is missing behind `{option}`")))
}

/// The words up to the next option.
fn keys(words: &mut std::iter::Peekable<impl Iterator<Item = String>>) -> Vec<String> {
    std::iter::from_fn(|| words.next_if(|word| !word.starts_with('-'))).collect()
}

/// A value as it was typed: a boolean, a number, or a string.
pub(super) fn value(text: &str) -> Json {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => json!(true),
        "false" | "no" | "off" | "n" => json!(false),
        _ => text.parse::<i64>().map_or_else(|_| json!(text), Json::from),
    }
}

fn change(text: &mut YamlEditor, wish: Wish, context: &Context) -> Result<(), CliError> {
    let path = |key: &str| key.split('.').map(str::to_owned).collect::<Vec<String>>();
    let (Wish::Put(_, key, _) | Wish::Set(key, _) | Wish::Remove(key, _) | Wish::RemoveKey(key)) = &wish else {
        return Ok(());
    };
    let keys = path(key);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    check(&wish, &keys, context)?;
    let json = text.to_json()?;
    let old = keys.iter().try_fold(&json, |json, key| json.get(*key));
    let items = || old.map(super::texts).unwrap_or_default();
    match &wish {
        Wish::Put(place, key, item) => {
            if let Some(index) = items().iter().position(|known| known == item) {
                let end = if *place == InsertPosition::First { "top" } else { "bottom" };
                context.ui.warn(&format!("`{item}` is in the list `{key}` already, and moves to its {end}"));
                text.remove(&keys, index)?;
            }
            text.insert(&keys, item, *place)?;
        }
        Wish::Set(_, new) => text.set(&keys, &value(new))?,
        Wish::Remove(key, item) if key == "channels" && item == "defaults" && !items().contains(item) => {
            context.ui.say(
                "`channels` does not name `defaults`, so nothing is removed; they count where no channel is named.",
            );
        }
        Wish::Remove(key, item) => {
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

/// Refuses what is no use of a key, and says what has no effect.
fn check(wish: &Wish, keys: &[&str], context: &Context) -> Result<(), CliError> {
    let key = keys.first().copied().unwrap_or_default();
    let is_list = LISTS.contains(&key);
    match wish {
        Wish::Set(_, value) if is_list => {
            return Err(CliError::Usage(format!(
                "`{key}` is a list: `config --add {key} {value}` puts `{value}` into it"
            )));
        }
        Wish::Put(_, _, value) if VALUES.contains(&key) => {
            return Err(CliError::Usage(format!("`{key}` has one value: `config --set {key} {value}` sets it")));
        }
        Wish::Set(_, value) if key == "channel_priority" => {
            let known = ["strict", "flexible", "disabled", "true", "false"];
            if !known.contains(&value.to_lowercase().as_str()) {
                return Err(CliError::Usage(format!(
                    "`{value}` is no channel priority: there are `strict`, `flexible` and `disabled`"
                )));
            }
        }
        Wish::RemoveKey(_) | Wish::Remove(..) => return Ok(()),
        _ => {}
    }
    let without_effect = match (key, wish) {
        ("envs_dirs", _) => "environments by name are in `envs/` under the root prefix; `-p DIR` names one elsewhere",
        ("pinned_packages", _) => "name the packages with their versions in the command, or in an environment.yml",
        ("disallowed_packages" | "allowlist_channels" | "denylist_channels", _) => {
            "packages come from all channels that are named"
        }
        ("ssl_verify", Wish::Set(_, new)) if value(new) == json!(false) => {
            "certificates are checked; `ssl_verify` can name a file of those to trust"
        }
        _ if is_list || MAPPINGS.contains(&key) || VALUES.contains(&key) => return Ok(()),
        _ => {
            let known = [LISTS, MAPPINGS, VALUES].concat();
            let letters = |word: &str| word.replace(['_', '-'], "").trim_end_matches('s').to_lowercase();
            if let Some(meant) = known.iter().find(|known| letters(known) == letters(key) || is_near(known, key)) {
                return Err(CliError::Usage(format!("`{key}` is no key of conda's; there is `{meant}`")));
            }
            return Ok(());
        }
    };
    context.ui.warn(&format!("`{key}` is written, and has no effect: {without_effect}"));
    Ok(())
}

/// Whether two words differ in one letter, or in two that changed places.
fn is_near(known: &str, typed: &str) -> bool {
    let (known, typed) = (known.as_bytes(), typed.as_bytes());
    let start = known.iter().zip(typed).take_while(|(one, other)| one == other).count();
    let end =
        known[start..].iter().rev().zip(typed[start..].iter().rev()).take_while(|(one, other)| one == other).count();
    let (left, right) = (known.len() - start - end, typed.len() - start - end);
    (left <= 1 && right <= 1) || (left == 2 && right == 2 && known[start] == typed[start + 1])
}
