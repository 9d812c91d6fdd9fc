//! The first line of a script, which names the program that runs it (shebang).
//!
//! A kernel takes one word as the program and the rest of the line as one argument, and reads at most 127 bytes (Linux
//! before 5.1) or 512 bytes (macOS). The prefix may contain a space, or make the line longer than that. Then python's
//! scripts begin with a line that is valid in both shell and python, as conda writes it. Other scripts use `env -S`
//! (coreutils 8.30 or newer): with the whole path if it is short enough, else with the program's name, and then the
//! environment must be active. `env` without `-S` would look for a program with the name of the whole line.

use rattler_conda_types::Subdir;

/// The longest line that all versions of Linux read, in bytes.
pub(super) const LINUX: usize = 127;

/// The longest line that macOS reads, in bytes.
const MACOS: usize = 512;

/// The longest line that a platform reads, in bytes.
pub(super) fn longest(platform: Subdir) -> usize {
    if platform.is_osx() || platform.is_ios() { MACOS } else { LINUX }
}

/// The first line of a script, without its line break, after the placeholder was replaced by the prefix.
pub(super) fn rewrite(line: &str, placeholder: &str, prefix: &str, platform: Subdir) -> String {
    let plain = line.replace(placeholder, prefix);
    let is_contained = !prefix.contains([' ', '\t']) && plain.trim_end().len() <= longest(platform);
    let Some(rest) = line.strip_prefix("#!").map(str::trim).filter(|_| !is_contained) else { return plain };
    // `env` with a path runs the program at that path.
    let env = rest.strip_prefix("/usr/bin/env ").map(str::trim_start);
    let rest = env.map_or(rest, |rest| rest.strip_prefix("-S ").unwrap_or(rest).trim_start());
    let Some(behind) = rest.strip_prefix(placeholder).filter(|behind| behind.starts_with('/')) else { return plain };
    let (inner, options) = behind.split_once([' ', '\t']).unwrap_or((behind, ""));
    let options = options.replace(placeholder, prefix);
    let end = if line.ends_with('\r') { "\r" } else { "" };
    run(&format!("{prefix}{inner}"), &options, longest(platform)) + end
}

/// The first line (or the first two) of a script, so that `program` runs it with `options`.
pub(super) fn run(program: &str, options: &str, longest: usize) -> String {
    let options = options.trim();
    let space = if options.is_empty() { "" } else { " " };
    let plain = format!("#!{program}{space}{options}");
    if plain.len() <= longest && !program.contains([' ', '\t']) {
        return plain;
    }
    let name = program.rsplit('/').next().unwrap_or(program);
    if is_python(name) {
        // Options with unusual characters are quoted, so that they stay one word.
        let is_usual = |each: char| each.is_ascii_alphanumeric() || "-_=,.:+/ ".contains(each);
        let (quote, options) = match options.chars().all(is_usual) {
            true => ("", options.to_owned()),
            false => ("\"", escaped(options, "\\\"$`")),
        };
        let program = escaped(program, "\\\"$`");
        return format!("#!/bin/sh\n'''exec' \"{program}\"{space}{quote}{options}{quote} \"$0\" \"$@\" #'''");
    }
    let options = escaped(options, "\\\"'$#");
    let whole = format!("#!/usr/bin/env -S \"{}\"{space}{options}", escaped(program, "\\\"$"));
    match (whole.len() <= longest, options.is_empty()) {
        (true, _) => whole,
        (false, true) => format!("#!/usr/bin/env {name}"),
        (false, false) => format!("#!/usr/bin/env -S {name} {options}"),
    }
}

/// Whether a program is a python, by its name: `python`, `python3.11`, `pypy3`.
fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || b".t".contains(&byte)))
}

/// Puts a backslash before each of these characters.
fn escaped(text: &str, special: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for each in text.chars() {
        if special.contains(each) {
            escaped.push('\\');
        }
        escaped.push(each);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "/old/placehold";

    fn rewritten(line: &str, prefix: &str) -> String {
        rewrite(line, OLD, prefix, Subdir::Linux64)
    }

    #[test]
    fn a_line_that_works_stays_as_it_is() {
        assert_eq!(rewritten("#!/old/placehold/bin/perl -w", "/opt/env"), "#!/opt/env/bin/perl -w");
        assert_eq!(rewritten("#! /old/placehold/bin/python", "/opt/env"), "#! /opt/env/bin/python");
        // The program is not in the prefix, and takes the rest of the line as one word.
        assert_eq!(rewritten("#!/bin/sh /old/placehold/x", "/my env"), "#!/bin/sh /my env/x");
    }

    #[test]
    fn a_prefix_with_a_space_is_named_through_env() {
        for (line, expected) in [
            ("#!/old/placehold/bin/perl", "#!/usr/bin/env -S \"/my env/bin/perl\""),
            ("#!/old/placehold/bin/perl -w", "#!/usr/bin/env -S \"/my env/bin/perl\" -w"),
            ("#! /old/placehold/bin/Rscript --vanilla\r", "#!/usr/bin/env -S \"/my env/bin/Rscript\" --vanilla\r"),
            ("#!/usr/bin/env /old/placehold/bin/node -r x", "#!/usr/bin/env -S \"/my env/bin/node\" -r x"),
            ("#!/old/placehold/bin/lua -e '$x'", "#!/usr/bin/env -S \"/my env/bin/lua\" -e \\'\\$x\\'"),
            ("#!/old/placehold/bin/python", "#!/bin/sh\n'''exec' \"/my env/bin/python\" \"$0\" \"$@\" #'''"),
            (
                "#!/old/placehold/bin/python3.11 -E",
                "#!/bin/sh\n'''exec' \"/my env/bin/python3.11\" -E \"$0\" \"$@\" #'''",
            ),
        ] {
            assert_eq!(rewritten(line, "/my env"), expected);
        }
    }

    #[test]
    fn a_long_prefix_leaves_the_name() {
        let long = format!("/{}", "long".repeat(40));
        assert_eq!(rewritten("#!/old/placehold/bin/perl -w", &long), "#!/usr/bin/env -S perl -w");
        assert_eq!(rewritten("#!/old/placehold/bin/ruby", &long), "#!/usr/bin/env ruby");
        let python = format!("#!/bin/sh\n'''exec' \"{long}/bin/python3\" -s \"$0\" \"$@\" #'''");
        assert_eq!(rewritten("#!/old/placehold/bin/python3 -s", &long), python);
        let mac = rewrite("#!/old/placehold/bin/perl -w", OLD, &long, Subdir::OsxArm64);
        assert_eq!(mac, format!("#!{long}/bin/perl -w"));
    }
}
