//! Measures reading, selecting and writing a lock in each format: `cargo bench-formats [FILE…]`.
//!
//! Without a file, the lock has 600 packages like those of a scientific environment. The results are medians of eleven
//! runs, in memory, so that mlconda is measured and not the disk.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own command line")]

use std::{
    fmt::Write,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use mlconda::lock::{Expansion, LockFile, LockFormat, Selection};

/// How often each step is run.
const RUNS: usize = 11;

/// The number of packages in the generated lock.
const PACKAGES: usize = 600;

fn main() -> ExitCode {
    let mut files = Vec::new();
    for path in std::env::args().skip(1) {
        match fs_err::read_to_string(&path) {
            Ok(text) => files.push((path, text)),
            Err(error) => {
                say(&format!("{error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    if files.is_empty() {
        files.push(("made up".to_owned(), made_up()));
    }
    say(
        "| lock | kind | kB | packages | read | chosen | written: explicit | conda-lock | pixi |\n|---|---|---|---|---|---|---|---|---|",
    );
    for (name, text) in files {
        match row(&name, &text) {
            Ok(again) if name == "made up" => {
                say(&again.0);
                for text in &again.1 {
                    say(&row(&name, text).map_or_else(|error| error.to_string(), |row| row.0));
                }
            }
            Ok(row) => say(&row.0),
            Err(error) => say(&error.to_string()),
        }
    }
    ExitCode::SUCCESS
}

/// A row of the table, and the same lock in the other formats.
fn row(name: &str, text: &str) -> Result<(String, Vec<String>), mlconda::lock::LockError> {
    let path = Path::new("/project/some.lock");
    let file = LockFile::parse(text, path, &Expansion::default())?;
    let selection = Selection {
        platform: file.platforms().first().copied(),
        environment: file.environments().first().map(|name| (*name).to_owned()),
        ..Selection::default()
    };
    let lock = file.select(&selection)?;
    let read = median(|| LockFile::parse(text, path, &Expansion::default()).is_ok());
    let chosen = median(|| file.select(&selection).is_ok());
    let mut cells =
        format!("| {name} | {:?} | {} | {} | {read} | {chosen} |", file.kind, text.len() / 1000, lock.packages.len());
    let mut others = Vec::new();
    for format in [LockFormat::Explicit, LockFormat::CondaLock, LockFormat::Pixi] {
        // Writing to a string cannot fail.
        let _ = write!(cells, " {} |", median(|| file.render(format, &selection, None).is_ok()));
        others.push(file.render(format, &selection, None)?.text);
    }
    others.pop();
    Ok((cells, others))
}

/// A generated pixi.lock, the format with the most facts about a package.
fn made_up() -> String {
    let (mut listed, mut packages) = (String::new(), String::new());
    for number in 0..PACKAGES {
        let place =
            format!("https://conda.example.org/lab/linux-64/package-{number}-1.{number}-py311h{number:07x}_0.conda");
        let _ = writeln!(listed, "      - conda: {place}");
        let _ = write!(packages, "- conda: {place}\n  sha256: {number:063x}a\n  md5: {number:031x}a\n  depends:\n");
        for back in 1..=8.min(number) {
            let _ = writeln!(packages, "  - package-{} >=1.0,<2.0a0", number - back);
        }
        let _ = write!(
            packages,
            "  constrains:\n  - package-{number} <9\n  license: BSD-3-Clause\n  license_family: BSD\n  purls:\n  \
             - pkg:pypi/package-{number}?source=hash-mapping\n  size: {number}\n  timestamp: 1708000000000\n"
        );
    }
    format!(
        "version: 6\nenvironments:\n  default:\n    channels:\n    - url: https://conda.example.org/lab/\n    packages:\n      \
         linux-64:\n{listed}packages:\n{packages}"
    )
}

fn median(mut run: impl FnMut() -> bool) -> String {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            assert!(run(), "what was done once can be done again");
            start.elapsed()
        })
        .collect();
    times.sort();
    format!("{:.1} ms", times[RUNS / 2].as_secs_f64() * 1000.0)
}

fn say(line: &str) {
    println!("{line}");
}
