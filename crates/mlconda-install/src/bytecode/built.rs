//! Compiles modules that the environment's pip has built. They are in the prefix already, so one python compiles them
//! there. Python reads from a file and writes to a file. So nothing blocks, and dropping the installation stops it.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mlconda_inspect::links::{PackageLinks, Replaced};
use mlconda_prefix::Prefix;
use mlconda_system::{
    beneath::{PathKind, Root},
    process::ChildGroup,
};
use mlconda_types::progress::Task;
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
use crate::python_info::PythonInfo;

/// Compiles the modules of a distribution in the prefix, sets their times, and adds the byte code to the record.
/// `place` is the path of the record, relative to the prefix.
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
    let modules = modules(&record.files, python, &root, prefix)?;
    if modules.is_empty() {
        return Ok(Compiled::default());
    }
    for module in &modules {
        root.set_time(&module.path, time)?;
    }
    let answers = match run_compiler(&modules, prefix, &prefix.path().join(python.path()), context, mode).await {
        Ok(answers) => answers,
        Err(error) => return Ok(Compiled { unable: Some(error.to_string()), ..Compiled::default() }),
    };
    let (tag, mut rest) = line(&answers)?;
    let (mut compiled, mut entries) = (Compiled::default(), Vec::new());
    for module in modules {
        let (length, behind) = line(rest)?;
        let length: usize = length.parse().map_err(|_| invalid("python gives no length of byte code"))?;
        if length == 0 {
            let (reason, behind) = line(behind)?;
            compiled.failed.push((module.name, reason.to_owned()));
            rest = behind;
            continue;
        }
        let code = behind.get(..length).filter(|_| length <= LARGEST);
        let code = code.ok_or_else(|| invalid("python gives less byte code than it says"))?;
        rest = &behind[length..];
        let written = write(&root, &module, tag, code, time)?;
        if let Some(entry) = written.filter(|entry| !record.files.contains(&entry.relative_path)) {
            compiled.modules += 1;
            compiled.bytes += length as u64;
            entries.push(entry);
        }
    }
    add(&mut record, &own, entries, &root, Some(time))?;
    Ok(compiled)
}

/// A module of a distribution in the prefix.
struct Module {
    /// Its path in the record, which may be below a link of a package.
    name: PathBuf,
    /// Its real path.
    path: PathBuf,
}

/// The modules among the files of a distribution.
fn modules(files: &[PathBuf], python: &PythonInfo, root: &Root, prefix: &Prefix) -> Result<Vec<Module>, InstallError> {
    let is_source = |path: &&PathBuf| {
        let is_line = path.to_str().is_some_and(|path| !path.contains('\n'));
        let is_python = path.extension().is_some_and(|extension| extension == "py");
        is_python && is_line && path.starts_with(&python.site_packages_path)
    };
    let is_file = |path: &Path| root.lookup(path).is_ok_and(|there| there.is_some_and(|it| it.kind == PathKind::File));
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for name in files.iter().filter(is_source) {
        let known = if is_file(name) { &mut found } else { &mut others };
        known.push(Module { name: name.clone(), path: name.clone() });
    }
    if !others.is_empty() {
        // Links of packages are followed, but not links of the user.
        let records = prefix.records().map_err(io::Error::other)?;
        let links = PackageLinks::new(root, records.iter(), Replaced::NotFollowed);
        for module in others {
            let path = links.place(&module.name)?.filter(|path| is_file(path));
            found.extend(path.map(|path| Module { path, ..module }));
        }
    }
    Ok(found)
}

/// Runs python over modules, and returns its output.
async fn run_compiler(
    modules: &[Module],
    prefix: &Prefix,
    python: &Path,
    context: ScriptContext<'_>,
    mode: &str,
) -> io::Result<Vec<u8>> {
    let time = context.time;
    let meta = prefix.path().join("conda-meta");
    let (mut questions, mut answers) =
        (mlconda_system::process::unnamed_file(&meta)?, mlconda_system::process::unnamed_file(&meta)?);
    let lines: String = modules.iter().map(|module| format!("{time} {}\n", module.name.display())).collect();
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

/// The next line of an answer, and the rest of the answer.
fn line(answers: &[u8]) -> io::Result<(&str, &[u8])> {
    let end = answers.iter().position(|byte| *byte == b'\n').ok_or_else(|| invalid("python broke off"))?;
    let text = std::str::from_utf8(&answers[..end]).map_err(|_| invalid("python gives no answer that can be read"))?;
    Ok((text, &answers[end + 1..]))
}

/// Writes byte code to the path where python looks for it, unless the package has a file there.
fn write(
    prefix: &Root,
    module: &Module,
    tag: &str,
    code: &[u8],
    time: i64,
) -> Result<Option<PathsEntry>, InstallError> {
    if !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(invalid("python gives no name of its byte code").into());
    }
    let stem = module.name.file_stem().unwrap_or_default().to_string_lossy();
    let file = format!("{stem}.{tag}.pyc");
    let beside = |module: &Path| module.parent().unwrap_or(Path::new("")).join("__pycache__");
    let directory = beside(&module.path);
    let target = directory.join(&file);
    if prefix.lookup(&target)?.is_some() {
        return Ok(None);
    }
    if !prefix.has_directory(&directory)? {
        prefix.make_directory(&directory, 0o755)?;
        // The mode must not depend on the umask.
        prefix.set_directory_mode(&directory, 0o755)?;
    }
    prefix.put(&target, code, time)?;
    let recorded = beside(&module.name).join(file);
    Ok(Some(PathsEntry { path_type: PathType::PycFile, ..wheel::written(recorded, code) }))
}
