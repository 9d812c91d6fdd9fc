//! `list`, `env export` and `search`, in conda's form, which scripts read.

use std::{path::Path, process::ExitCode, time::SystemTime};

use mlconda::{
    Matches, PrefixRecord, RepoDataRecord, StringMatcher, Subdir,
    environment::{ChannelRule, Environment},
    export::{self, Detail, Export},
    host::Host,
    network::{self, Client},
    prefix::Prefix,
    repodata::{self, RepodataOptions},
};
use serde_json::{Map, Value, json};

use super::{
    channels::{self, Channels},
    environments,
    goal::{no_channel, record_name},
    line::Line,
};
use crate::{
    commands::list::{Package, channel_name, packages},
    context::Context,
    error::CliError,
    escape,
    locking::{self, Cache},
    progress::Display,
    text::word,
};

/// The largest number of packages that a pattern may match.
const MOST: usize = 200;

/// `list`
pub(super) fn list(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let prefix = environments::existing(line, context)?.existing(&context.settings)?;
    let words = line.words()?;
    let pattern = match words.as_slice() {
        [] => None,
        [pattern] => Some(matcher(pattern, line.has("--full-name"))?),
        _ => return Err(CliError::Usage("give at most one regular expression: `list numpy`".to_owned())),
    };
    let is_meant = |name: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
    let mut records = prefix.records()?;
    let lines = line.has("--explicit") || line.has("--export") || line.has("--canonical");
    let no_pip = lines || line.has("--no-pip");
    if !no_pip {
        records.extend(prefix.distributions()?);
    }
    let mut untracked = if no_pip { Vec::new() } else { prefix.untracked(&mut records)? };
    records.retain(|record| is_meant(record_name(record)));
    untracked.retain(|distribution| is_meant(&distribution.name));
    let mut shown = packages(&records, &untracked);
    if line.has("--reverse") {
        shown.reverse();
    }
    if let Some(alias) = channels::alias(line, context) {
        shown.iter_mut().for_each(|package| name_below(&alias, &mut package.channel));
    }
    if line.has("--json") && !lines {
        context.ui.json(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    match lines {
        true => context.ui.data(explicit(line, &records, &shown))?,
        false => context.ui.text(&table(&prefix, line, &shown))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a name of the URL of a channel below the alias, at the start of a text.
fn name_below(alias: &str, text: &mut String) {
    if text.starts_with(alias) {
        text.drain(..alias.len());
    }
}

/// A regular expression for any part of a name, in any case.
fn matcher(pattern: &str, whole: bool) -> Result<StringMatcher, CliError> {
    let text = if whole { format!("^(?i)(?:{pattern})$") } else { format!("^(?i).*(?:{pattern}).*$") };
    text.parse().map_err(|_| CliError::Usage(format!("`{pattern}` is not a regular expression")))
}

const HEAD: &str =
    "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n";

/// One line per package.
fn explicit(line: &Line, records: &[PrefixRecord], shown: &[Package<'_>]) -> String {
    let subdirs = shown.iter().map(|package| package.platform).find(|platform| *platform != "noarch");
    let mut text = format!("{HEAD}# platform: {}\n", subdirs.unwrap_or("noarch"));
    if line.has("--explicit") {
        text.push_str("@EXPLICIT\n");
    } else if line.has("--canonical") {
        text.clear();
    }
    for package in shown {
        let (name, version, build) = (package.name, &package.version, package.build_string);
        if line.has("--export") {
            text.push_str(&format!("{name}={version}={build}\n"));
        } else if line.has("--canonical") {
            text.push_str(&format!("{}/{}::{}\n", package.channel, package.platform, package.dist_name));
        } else if let Some(record) = records.iter().find(|record| record_name(record) == name) {
            let known = &record.repodata_record.package_record;
            let (md5, sha256) =
                (known.md5.map(|hash| hex(&hash)), known.sha256.map(|hash| format!("sha256:{}", hex(&hash))));
            let hash = match (line.has("--md5"), line.has("--sha256")) {
                (_, true) => sha256,
                (true, _) => md5.or(sha256),
                _ => None,
            };
            let hash = hash.map(|hash| format!("#{hash}")).unwrap_or_default();
            text.push_str(&format!("{}{hash}\n", network::redact(&record.repodata_record.url)));
        }
    }
    text
}

pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// conda's table.
fn table(prefix: &Prefix, line: &Line, shown: &[Package<'_>]) -> String {
    let mut text = format!("# packages in environment at {}:\n#\n", prefix.path().display());
    let head = ["# Name", "Version", "Build", "Channel"];
    let row = |[name, version, build, channel]: [&str; 4]| {
        let [name, version, build, channel] = [name, version, build, channel].map(escape::line);
        format!("{name:<25} {version:<15} {build:>15}  {channel}\n")
    };
    text.push_str(&row(head));
    for package in shown {
        let is_default = package.channel.starts_with("pkgs/") && !line.has("--show-channel-urls");
        let channel = if is_default { "" } else { &package.channel };
        text.push_str(&row([package.name, &package.version, package.build_string, channel]));
    }
    text
}

/// `env export`
pub(super) fn export(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let prefix = environments::existing(line, context)?.existing(&context.settings)?;
    let format = format(line)?;
    let text = if format == "explicit" {
        let records = prefix.records()?;
        let all = Line { options: vec![("--explicit", String::new()), ("--md5", String::new())], ..line.clone() };
        explicit(&all, &records, &packages(&records, &[]))
    } else {
        let detail = match () {
            () if line.has("--from-history") || format == "requirements" => Detail::History,
            () if line.has("--no-build") => Detail::Versions,
            () => Detail::Builds,
        };
        let mut export = export::export(&prefix, detail)?;
        if let Some(alias) = channels::alias(line, context) {
            export.channels.iter_mut().chain(&mut export.dependencies).for_each(|text| name_below(&alias, text));
        }
        let typed: Vec<String> = line.values("--channel").map(str::to_owned).collect();
        if line.has("--ignore-channels") {
            export.channels.clear();
        } else {
            export.channels.retain(|channel| !typed.contains(channel) && !line.has("--override-channels"));
            export.channels.splice(0..0, typed);
        }
        if prefix.path() == context.settings.root_prefix {
            export.name = Some("base".to_owned());
        }
        if format == "requirements" {
            let lines: String = export.dependencies.iter().map(|spec| format!("{spec}\n")).collect();
            format!("{HEAD}{lines}")
        } else if format == "json" {
            format!("{:#}\n", in_json(&export))
        } else {
            export.to_yaml()
        }
    };
    match line.value("--file").filter(|file| *file != "-") {
        Some(file) => {
            context.replace(
                Path::new(file),
                &text,
                "name a file in a directory that can be written to, with `--file`",
            )?;
        }
        None => context.ui.data(text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The content of an `environment.yml` in JSON. As in YAML, the keys at the end are left out if they have no content.
fn in_json(export: &Export) -> Value {
    let mut dependencies: Vec<Value> = export.dependencies.iter().map(|each| json!(each)).collect();
    if !export.pip.is_empty() {
        dependencies.push(json!({ "pip": export.pip }));
    }
    let mut value = json!({ "name": export.name, "channels": export.channels, "dependencies": dependencies });
    if !export.variables.is_empty() {
        value["variables"] = json!(export.variables);
    }
    if let Some(slim) = &export.slim {
        value["x-mlconda"] = json!({ "slim": slim.to_string() });
    }
    value
}

/// The format of an export: given, or by the name of the file. A name that belongs to a format which is not written here,
/// and a text file, are refused, because nobody expects YAML in them. conda refuses more names.
fn format(line: &Line) -> Result<&'static str, CliError> {
    let file = line.value("--file").unwrap_or_default();
    let is_lock = || file.ends_with(".lock") || file.ends_with("conda-lock.yml") || file.ends_with("conda-lock.yaml");
    match line.value("--format") {
        _ if line.has("--explicit") => Ok("explicit"),
        None if line.has("--json") || file.ends_with(".json") => Ok("json"),
        None if file.ends_with("explicit.txt") => Ok("explicit"),
        None if file.ends_with("requirements.txt") || file.ends_with("spec.txt") => Ok("requirements"),
        None if is_lock() => {
            let message = format!("`{file}` has the name of a lock, and `export` writes no locks");
            let kind = match file {
                _ if file.ends_with("pixi.lock") => " --format pixi",
                _ if file.ends_with(".lock") => "",
                _ => " --format conda-lock",
            };
            let hint = format!(
                "`mlconda lock --from-prefix PREFIX{kind} -o {}` writes a lock; `--format yaml` writes an environment.yml",
                word(file)
            );
            Err(CliError::World { message, hint: Some(hint) })
        }
        None if file.ends_with(".txt") => {
            let message =
                format!("the name `{file}` does not say the format: add `--format explicit`, `requirements` or `yaml`");
            Err(CliError::Usage(message))
        }
        None | Some("yaml" | "yml" | "env.yml" | "environment-yaml") => Ok("yaml"),
        Some("json" | "environment-json") => Ok("json"),
        Some("explicit") => Ok("explicit"),
        Some("requirements" | "reqs" | "txt") => Ok("requirements"),
        Some(other) => {
            let known = "`yaml`, `json`, `explicit` and `requirements`";
            Err(CliError::Usage(format!("`{other}` is not a format of `export`: there are {known}")))
        }
    }
}

/// `search`
pub(super) fn search(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let channels = Channels::of(line, context)?;
    let names: Vec<String> = channels.typed.iter().chain(&channels.configured).cloned().collect();
    if names.is_empty() {
        return Err(no_channel());
    }
    let options = channels.options(&names, ChannelRule::ExtraOnly, context);
    let words = line.words()?;
    let [word] = words.as_slice() else {
        return Err(CliError::Usage("`search` takes one package: `search numpy`, `search 'numpy>=1.24'`".to_owned()));
    };
    let platform = channels::platform(line, context)?.unwrap_or_else(|| Host::detect(Path::new("/")).platform);
    let is_pattern = word.contains('*') && !word.contains(['=', '<', '>', ' ', '[']);
    let mut environment = Environment::from_specs(if is_pattern { &[] } else { std::slice::from_ref(word) }, &options)?;
    if is_pattern {
        let pattern: StringMatcher = word.parse().map_err(|_| CliError::Usage(format!("`{word}` is not a pattern")))?;
        let all = load(&environment, &channels, platform, context)?;
        let meant: Vec<&str> =
            all.package_names().into_iter().filter(|name| pattern.matches(name)).take(MOST).collect();
        environment = Environment::from_specs(&meant, &options)?;
    }
    let loaded = load(&environment, &channels, platform, context)?;
    let specs = &environment.requirements;
    let is_meant = |record: &&RepoDataRecord| specs.iter().any(|each| each.spec.matches(*record));
    let mut found: Vec<&RepoDataRecord> = loaded.records().filter(is_meant).collect();
    mlconda::sorting::sort_by(&mut found, |one, other| {
        let key = |record: &RepoDataRecord| {
            let package = &record.package_record;
            (package.name.as_normalized().to_owned(), package.version.clone(), package.build_number, record.url.clone())
        };
        key(one).cmp(&key(other))
    });
    if found.is_empty() {
        let message = format!("no channel has `{word}` for `{platform}`");
        return Err(CliError::world(
            message,
            format!("searched: {}; `search '*NAME*'` finds parts of names", names.join(", ")),
        ));
    }
    match line.has("--json") {
        true => context.ui.json_text(&as_json(&found))?,
        false => context.ui.text(&as_table(&found, line.has("--info")))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn load(
    environment: &Environment,
    channels: &Channels,
    platform: Subdir,
    context: &Context,
) -> Result<repodata::Repodata, CliError> {
    let client = Client::new(&context.settings.network_options()?)?;
    let directory = locking::cache_directory(Cache::IfPresent, context)?;
    let options = RepodataOptions {
        cache_directory: directory.path().join("repodata"),
        access: channels.args.access(),
        now: SystemTime::now(),
    };
    let progress = Display::new(&context.ui);
    let host = Host::baseline(platform);
    let loading = repodata::load(&client, environment, &host, &options, &progress);
    Ok(context.block_on_or_end(loading)??)
}

/// The name of a record's channel.
fn channel(record: &RepoDataRecord) -> String {
    let url = network::redact(&record.url);
    let base = url.rsplitn(3, '/').nth(2).unwrap_or(&url);
    channel_name(base).to_owned()
}

fn as_table(found: &[&RepoDataRecord], info: bool) -> String {
    let mut text = String::new();
    let row = |[name, version, build, channel]: [&str; 4]| {
        let [name, version, build, channel] = [name, version, build, channel].map(escape::line);
        format!("{name:<20} {version:>15} {build:>15}  {channel:<20}\n")
    };
    if !info {
        text.push_str(&row(["# Name", "Version", "Build", "Channel"]));
    }
    for record in found {
        let package = &record.package_record;
        let (name, version) = (package.name.as_normalized(), package.version.to_string());
        if !info {
            text.push_str(&row([name, &version, package.build.as_str(), &channel(record)]));
            continue;
        }
        let title = format!("{name} {version} {}", package.build);
        text.push_str(&format!("{}\n{}\n", escape::line(&title), "-".repeat(title.len())));
        let hash = package.sha256.map(|hash| hex(&hash)).unwrap_or_default();
        let size = package.size.map(crate::text::bytes).unwrap_or_default();
        for (key, value) in [
            ("channel", channel(record)),
            ("url", network::redact(&record.url)),
            ("size", size),
            ("sha256", hash),
            ("license", package.license.clone().unwrap_or_default()),
        ] {
            text.push_str(&format!("{key:<12}: {}\n", escape::line(&value)));
        }
        text.push_str("dependencies:\n");
        package.depends.iter().for_each(|need| text.push_str(&format!("  - {need}\n")));
        text.push('\n');
    }
    text
}

fn as_json(found: &[&RepoDataRecord]) -> String {
    let mut by_name: Map<String, Value> = Map::new();
    for record in found {
        let mut value = serde_json::to_value(&record.package_record).unwrap_or_default();
        value["fn"] = json!(record.identifier.to_string());
        value["url"] = json!(network::redact(&record.url));
        value["channel"] = json!(channel(record));
        let name = record.package_record.name.as_normalized();
        let list = by_name.entry(name).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(value);
        }
    }
    format!("{:#}\n", Value::Object(by_name))
}
