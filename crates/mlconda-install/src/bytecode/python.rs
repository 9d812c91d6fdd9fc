//! The python processes that compile modules.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{CompileState, LARGEST, Module, SCRIPT};
use crate::package::invalid;

/// A python process.
pub(super) struct Process(pub(super) Mutex<Option<Child>>);

impl Process {
    /// Kills the process and its children. Nobody has waited for it before, so its process id is still valid.
    pub(super) fn end(&self) {
        if let Some(mut child) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// A running python. It exits when its stdin is closed.
pub(super) struct Worker {
    process: Arc<Process>,
    errors: Option<ChildStderr>,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The tag in the names of byte code files (PEP 3147).
    pub(super) tag: String,
}

/// Python's answer for a module.
pub(super) enum Answer {
    Code(Vec<u8>),
    Reason(String),
}

impl Worker {
    /// Starts a python. The error is the reason why it cannot run.
    pub(super) fn start(shared: &CompileState) -> Result<Self, String> {
        let mut process = Command::new(&shared.interpreter)
            // Options: no modules of the user or of `site-packages`, no byte code is written, and no warnings.
            .args(["-s", "-S", "-B", "-W", "ignore", "-c", SCRIPT])
            .arg(shared.way.path())
            .args([&shared.stage.prefix, shared.mode])
            .env_clear()
            // Before python 3.11, byte code contains sets in the order of their hashes.
            .env("PYTHONHASHSEED", "0")
            // This directory contains no python modules.
            .current_dir(shared.way.path().join("conda-meta"))
            // Ctrl-C must reach only this process, which stops python.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| shared.no_start(&error))?;
        let (questions, answers, errors) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let process = shared.watch(process);
        let (Some(questions), Some(answers)) = (questions, answers) else {
            return Err("it has no stdin".to_owned());
        };
        let mut worker = Self { process, errors, questions, answers: BufReader::new(answers), tag: String::new() };
        let tag = worker.line().unwrap_or_default();
        if tag.is_empty() || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(worker.error_line());
        }
        // Close stderr: a full pipe would block python.
        worker.errors = None;
        worker.tag = tag;
        Ok(worker)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.pop().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(line)
    }

    /// The last line of stderr, after python has failed.
    fn error_line(&mut self) -> String {
        self.process.end();
        let mut words = Vec::new();
        if let Some(stderr) = self.errors.take() {
            let _ = stderr.take(64 << 10).read_to_end(&mut words);
        }
        let words = String::from_utf8_lossy(&words);
        let last = words.lines().rfind(|line| !line.trim().is_empty());
        last.map_or_else(|| "it does not answer as a python".to_owned(), |line| line.trim().to_owned())
    }

    pub(super) fn ask(&mut self, module: &Module) -> io::Result<Answer> {
        let Some(path) = module.path.to_str().filter(|path| !path.contains('\n')) else {
            return Ok(Answer::Reason("its name cannot be told to python".to_owned()));
        };
        self.questions.write_all(format!("{} {path}\n", module.modified).as_bytes())?;
        match self.line()?.parse() {
            Ok(0) => Ok(Answer::Reason(self.line()?)),
            Ok(length) if length <= LARGEST => {
                let mut code = vec![0; length];
                self.answers.read_exact(&mut code)?;
                Ok(Answer::Code(code))
            }
            _ => Err(invalid("not an answer")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.end();
    }
}
