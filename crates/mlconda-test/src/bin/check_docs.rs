//! Checks the documentation: `check_docs DIR` checks the links and the line lengths of the Markdown files of a
//! repository, `check_docs --site DIR` the links of a site that mdBook has built. It prints each error with its file
//! and line.

#![allow(clippy::print_stderr, reason = "it is a program")]

use std::{path::PathBuf, process::ExitCode};

use mlconda_test::docs;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (errors, checked) = match (arguments.next(), arguments.next()) {
        (Some(option), Some(site)) if option == "--site" => docs::check_site(&PathBuf::from(site)),
        (Some(root), None) => docs::check_markdown(&PathBuf::from(root)),
        _ => {
            eprintln!("usage: check_docs [--site] DIR");
            return ExitCode::from(2);
        }
    };
    errors.iter().for_each(|error| eprintln!("{error}"));
    if errors.is_empty() && checked > 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("{} errors in {checked} files", errors.len());
    ExitCode::from(1)
}
