//! Compiles modules that the environment's pip has built. They are in the prefix already, so one python compiles them there. It
//! reads from a file and writes to a file, so that dropping the installation stops it and nothing blocks.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mlconda_prefix::Prefix;
use mlconda_system::{
    beneath::{PathKind, Root},
    process::ChildGroup,
};
use mlconda_types::progress::Task;
use rattler::install::PythonInfo;
use rattler_conda_types::prefix_record::{PathType, PathsEntry};

use super::{
    super::{
        InstallError,
        link::wheel,
        package::invalid,
        record_file,
        script::{self, ScriptContext},
    },
    Bytecode, Compiled, LARGEST, SCRIPT, add, answer_limit, no_answer,
};

/// Compiles the modules of a distribution in the prefix, sets their times, and adds the byte code to the record. `place` is the
/// path of the record, relative to the prefix.
pub(crate) async fn compile_built(
    place: &Path,
    prefix: &Prefix,
    python: &PythonInfo,
    context: ScriptContext<'_>,
    mode: Bytecode,
) -> Result<Compiled, InstallError> {
    let Some(mode) = mode.name() else { return Ok(Compiled::default()) };
    let time = context.time;
    let root = Root::open(prefix.path())?;
    let (mut record, own) = record_file::read(&root, place)?;
    let is_module = |path: &&PathBuf| {
        let is_contained = root.lookup(path).is_ok_and(|there| there.is_some_and(|there| there.kind == PathKind::File));
        let is_line = path.to_str().is_some_and(|path| !path.contains('\n'));
        let is_source = path.extension().is_some_and(|extension| extension == "py");
        is_source && is_line && is_contained && path.starts_with(&python.site_packages_path)
    };
    let modules: Vec<PathBuf> = record.files.iter().filter(is_module).cloned().collect();
    if modules.is_empty() {
        return Ok(Compiled::default());
    }
    for path in &modules {
        root.set_time(path, time)?;
    }
    let answers = match run_compiler(&modules, prefix, &prefix.path().join(python.path()), context, mode).await {
        Ok(answers) => answers,
        Err(error) => return Ok(Compiled { unable: Some(error.to_string()), ..Compiled::default() }),
    };
    let (tag, mut rest) = line(&answers)?;
    let (mut compiled, mut entries) = (Compiled::default(), Vec::new());
    for path in modules {
        let (length, behind) = line(rest)?;
        let length: usize = length.parse().map_err(|_| invalid("python gives no length of byte code"))?;
        if length == 0 {
            let (reason, behind) = line(behind)?;
            compiled.failed.push((path, reason.to_owned()));
            rest = behind;
            continue;
        }
        let code = behind.get(..length).filter(|_| length <= LARGEST);
        let code = code.ok_or_else(|| invalid("python gives less byte code than it says"))?;
        rest = &behind[length..];
        if let Some(entry) =
            write(&root, &path, tag, code, time)?.filter(|entry| !record.files.contains(&entry.relative_path))
        {
            compiled.modules += 1;
            compiled.bytes += length as u64;
            entries.push(entry);
        }
    }
    add(&mut record, &own, entries, &root, Some(time))?;
    Ok(compiled)
}

/// Runs python over modules, and returns its output.
pub(crate) async fn run_compiler(
    modules: &[PathBuf],
    prefix: &Prefix,
    python: &Path,
    context: ScriptContext<'_>,
    mode: &str,
) -> io::Result<Vec<u8>> {
    let time = context.time;
    let meta = prefix.path().join("conda-meta");
    let (mut questions, mut answers) =
        (mlconda_system::process::unnamed_file(&meta)?, mlconda_system::process::unnamed_file(&meta)?);
    let lines: String = modules.iter().map(|path| format!("{time} {}\n", path.display())).collect();
    questions.write_all(lines.as_bytes())?;
    questions.seek(SeekFrom::Start(0))?;
    let process = Command::new(python)
        .args(["-s", "-S", "-B", "-W", "ignore", "-c", SCRIPT])
        .args([prefix.path(), prefix.path()])
        .arg(mode)
        .env_clear()
        .env("PYTHONHASHSEED", "0")
        .current_dir(meta)
        .process_group(0)
        .stdin(questions)
        .stdout(answers.try_clone()?)
        .stderr(Stdio::null())
        .spawn()?;
    let limit = answer_limit(context.limit);
    let status =
        script::wait(ChildGroup::new(process).wait(), Some(limit), context.progress, Task::Bytecode, "python").await;
    let status = status.ok_or_else(|| io::Error::other(no_answer(limit)))??;
    if !status.success() {
        return Err(io::Error::other(format!("python ended with {status}")));
    }
    let mut said = Vec::new();
    answers.seek(SeekFrom::Start(0))?;
    answers.read_to_end(&mut said)?;
    Ok(said)
}

/// The next line of an answer, and what is behind it.
fn line(answers: &[u8]) -> io::Result<(&str, &[u8])> {
    let end = answers.iter().position(|byte| *byte == b'\n').ok_or_else(|| invalid("python broke off"))?;
    let text = std::str::from_utf8(&answers[..end]).map_err(|_| invalid("python gives no answer that can be read"))?;
    Ok((text, &answers[end + 1..]))
}

/// Writes byte code to where python looks for it; not in the place of what the package has brought itself.
fn write(prefix: &Root, module: &Path, tag: &str, code: &[u8], time: i64) -> Result<Option<PathsEntry>, InstallError> {
    if !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(invalid("python gives no name of its byte code").into());
    }
    let stem = module.file_stem().unwrap_or_default().to_string_lossy();
    let directory = module.parent().unwrap_or(Path::new("")).join("__pycache__");
    let target = directory.join(format!("{stem}.{tag}.pyc"));
    if prefix.lookup(&target)?.is_some() {
        return Ok(None);
    }
    prefix.make_directories(&directory, 0o777)?;
    prefix.put(&target, code, time)?;
    Ok(Some(PathsEntry { path_type: PathType::PycFile, ..wheel::written(target, code) }))
}
