//! The program with a bundle appended: one executable that installs the environments in it, `./env.run -p /opt/env`.
//!
//! The whole file is verified before anything is installed.

use std::{
    ffi::{OsStr, OsString},
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{bundle::Bundle, install::Stop};

use crate::{
    commands::bundle::{prove, threads},
    context::Context,
    error::CliError,
    global::Global,
    report, settings, signals,
    text::{bytes, count},
};

/// The text of `--help`.
const HELP: &str = "\
Installs the environment that is in this file. No network is used, and nothing else is needed.

  NAME -p /opt/env           install it into this prefix
  NAME                       install it as the environment of its name, under the root prefix
  NAME --verify              compare this file with what was written, and install nothing
  NAME --extract FILE        write the bundle without the program: a tar, and a channel when it is unpacked
  NAME mlconda COMMAND …     the program: `NAME mlconda run -p /opt/env python`

The other options are those of `mlconda install`: `NAME mlconda install --help` lists them.
";

/// The result of looking for an appended bundle.
pub(crate) enum Meaning {
    /// There is none: these are the arguments of the usual program.
    Words(Vec<OsString>),
    /// The bundle was handled; this is the exit code.
    Done(ExitCode),
}

/// Looks for a bundle appended to this program, and runs its command line.
pub(crate) fn main(words: Vec<OsString>) -> Meaning {
    let Some(program) = settings::own_program() else { return Meaning::Words(words) };
    let bundle = match Bundle::open(&program) {
        Ok(None) => return Meaning::Words(words),
        Ok(Some(bundle)) => Ok(bundle),
        Err(error) => Err(error),
    };
    let arguments = words.get(1..).unwrap_or_default();
    if let Some((first, rest)) = arguments.split_first()
        && first == "mlconda"
    {
        return Meaning::Words([std::slice::from_ref(first), rest].concat());
    }
    // Under the name `mlconda`, it is the usual program: an image may contain it under this name.
    if file_name(&words) == "mlconda" {
        return Meaning::Words(words);
    }
    let context = Context::new(&Global::of_words(arguments));
    let outcome = bundle.map_err(CliError::from).and_then(|bundle| asked(&bundle, &program, &words, &context));
    outcome.unwrap_or_else(|error| Meaning::Done(report::report(&error, &context)))
}

/// The name by which this program was called.
fn file_name(words: &[OsString]) -> String {
    let own = words.first().map(PathBuf::from).unwrap_or_default();
    own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn asked(bundle: &Bundle, program: &Path, words: &[OsString], context: &Context) -> Result<Meaning, CliError> {
    let own = file_name(words);
    let arguments = words.get(1..).unwrap_or_default();
    let has = |names: &[&str]| arguments.iter().any(|word| names.iter().any(|name| word == name));
    if has(&["--help", "-h"]) {
        context.ui.text(&HELP.replace("NAME", &format!("./{own}")))?;
        return Ok(Meaning::Done(ExitCode::SUCCESS));
    }
    if has(&["--version", "-V"]) {
        return Ok(Meaning::Words(vec!["mlconda".into(), "--version".into()]));
    }
    let size = prove(bundle, threads(None), context)?;
    if has(&["--verify"]) {
        let packages = count(bundle.packages(), "package");
        context.ui.say(&format!("`{own}` is intact: {packages}, {}.", bytes(size)));
        return Ok(Meaning::Done(ExitCode::SUCCESS));
    }
    if let Some(place) = arguments.iter().position(|word| word == "--extract") {
        let output = arguments.get(place + 1);
        let output = output.ok_or_else(|| CliError::Usage("`--extract` needs the name of a file".to_owned()))?;
        extract(bundle, &context.settings.absolute(Path::new(output)), context)?;
        let (size, output) = (bytes(bundle.size()), Path::new(output).display().to_string());
        context.ui.say(&format!("The bundle is in `{output}`: {size}."));
        return Ok(Meaning::Done(ExitCode::SUCCESS));
    }
    let before = ["mlconda".into(), "install".into(), program.as_os_str().to_owned()];
    Ok(Meaning::Words([&before, arguments].concat()))
}

/// Writes the bundle into a file. The file gets its name when it is complete; a stop leaves nothing.
fn extract(bundle: &Bundle, output: &Path, context: &Context) -> Result<(), CliError> {
    if output.is_dir() {
        let message = format!("`{}` is a directory", output.display());
        return Err(CliError::world(message, "name a file in it"));
    }
    let (directory, name) = output.parent().zip(output.file_name()).unwrap_or((output, OsStr::new("")));
    let cannot = |error: &io::Error| {
        let message = format!("cannot write `{}`: {}", output.display(), error.kind());
        CliError::world(message, "name a file in a directory that you can write to, and that has room for it")
    };
    let mode = Permissions::from_mode(0o666);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(name).suffix(".partial").permissions(mode);
    let mut file = builder.tempfile_in(directory).map_err(|error| cannot(&error))?;
    let stop = Stop::default();
    let written = context.keep_or_signal(&stop, async { bundle.extract(file.as_file_mut(), &stop) });
    if stop.is_requested() {
        return Err(CliError::Stopped(signals::told().unwrap_or_default()));
    }
    written?.map_err(|error| cannot(&error))?;
    file.persist(output).map_err(|error| cannot(&error.error))?;
    Ok(())
}
