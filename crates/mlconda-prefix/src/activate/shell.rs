//! Writes an activation as statements of a shell.
//!
//! Values are quoted so that each byte of a path or a value is preserved. Only single quotes are used: between them,
//! shells interpret no byte except the quote itself (and fish the backslash).

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use super::{Activation, SearchPath};

/// A family of shells with the same statements and scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// sh, dash, bash, zsh; scripts end in `.sh`.
    Posix,
    /// fish; scripts end in `.fish`.
    Fish,
}

impl Dialect {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Posix => "sh",
            Self::Fish => "fish",
        }
    }

    /// Whether a script is for shells of this family.
    pub(super) fn reads(self, script: &Path) -> bool {
        script.extension() == Some(OsStr::new(self.extension()))
    }

    /// A string literal. The shell reads exactly the bytes of the value.
    pub fn quote(self, value: &OsStr) -> Vec<u8> {
        let mut quoted = vec![b'\''];
        for &byte in value.as_bytes() {
            match (self, byte) {
                (Self::Posix, b'\'') => quoted.extend_from_slice(br"'\''"),
                (Self::Fish, b'\'' | b'\\') => quoted.extend_from_slice(&[b'\\', byte]),
                _ => quoted.push(byte),
            }
        }
        quoted.push(b'\'');
        quoted
    }

    /// A statement that sets a variable of the shell, without exporting it.
    pub fn assign(self, name: &str, value: &OsStr) -> Vec<u8> {
        let (before, after) = if self == Self::Fish { ("set -g ", " ") } else { ("", "=") };
        [before.as_bytes(), name.as_bytes(), after.as_bytes(), &self.quote(value), b"\n"].concat()
    }

    fn unset(self, name: &OsStr) -> Vec<u8> {
        let before: &[u8] = if self == Self::Fish { b"set -e " } else { b"unset " };
        [before, name.as_bytes(), b"\n"].concat()
    }

    fn export(self, name: &OsStr, value: &[u8]) -> Vec<u8> {
        let (before, after): (&[u8], &[u8]) = match self {
            Self::Posix => (b"export ", b"="),
            Self::Fish => (b"set -gx ", b" "),
        };
        [before, name.as_bytes(), after, value, b"\n"].concat()
    }

    fn path(self, path: &SearchPath) -> Vec<u8> {
        let value = match (self, path) {
            (Self::Posix, SearchPath::Prepended { bin, .. }) => {
                [&self.quote(bin)[..], br#""${PATH:+:$PATH}""#].concat()
            }
            (Self::Posix, SearchPath::Replaced(value)) => self.quote(value),
            (Self::Fish, SearchPath::Prepended { bin, .. }) => [&self.quote(bin)[..], b" $PATH"].concat(),
            // Fish has a list here. Only newer versions split a value at colons.
            (Self::Fish, SearchPath::Replaced(value)) => {
                let entries = value.as_bytes().split(|byte| *byte == b':');
                entries.map(|entry| self.quote(OsStr::from_bytes(entry))).collect::<Vec<_>>().join(&b' ')
            }
        };
        self.export(OsStr::new("PATH"), &value)
    }

    fn source(self, script: &Path) -> Vec<u8> {
        let word: &[u8] = match self {
            // The previous script may have set these options.
            Self::Posix => b"set +o errexit +o nounset +o noclobber +o noglob\n. ",
            Self::Fish => b"source ",
        };
        let end: &[u8] = match self {
            // The exit status of a script has no meaning. `|| :` keeps error traps from seeing it.
            Self::Posix => b" || :\n",
            Self::Fish => b"\n",
        };
        [word, &self.quote(script.as_os_str()), end].concat()
    }
}

/// Saves the options of the shell, and turns off those that would stop scripts. Scripts of packages are not written for
/// a shell that exits at the first failing command or at a variable that is not set. In `$(…)`, some shells lose
/// `errexit`, but none of the other options.
const SAVE: &[u8] = br#"__mlconda_options=$(set +o)
case $- in *e*) __mlconda_options="-o errexit $__mlconda_options" ;; esac
case $__mlconda_options in *"-o pipefail"*) set +o pipefail ;; esac
"#;

/// Restores the options, whatever the scripts have set.
const RESTORE: &[u8] = br#"set +o errexit +o nounset +o noclobber +o noglob
for __mlconda_option in nounset noclobber noglob pipefail errexit; do
  case $__mlconda_options in
    *"-o $__mlconda_option"*) set -o "$__mlconda_option" ;;
    *"+o $__mlconda_option"*) set +o "$__mlconda_option" ;;
  esac
done
unset __mlconda_options __mlconda_option
"#;

impl Activation {
    /// The statements that activate the environment in a running shell, which evaluates or sources them.
    ///
    /// If nothing is removed from `PATH`, the statements extend the `PATH` of the shell that evaluates them, so that
    /// they can be written into an image. The shell keeps its options (`set -eu`), but scripts run without them.
    pub fn statements(&self, dialect: Dialect) -> Vec<u8> {
        let mut text = Vec::new();
        let spared = dialect == Dialect::Posix && self.needs_shell();
        text.extend_from_slice(if spared { SAVE } else { b"" });
        for script in &self.deactivate_scripts {
            text.extend(dialect.source(script));
        }
        text.extend(dialect.path(&self.path));
        for name in self.unset.iter().filter(|name| is_identifier(name)) {
            text.extend(dialect.unset(name));
        }
        for (name, value) in &self.variables {
            if is_identifier(name) {
                text.extend(dialect.export(name, &dialect.quote(value)));
            } else {
                text.extend(format!("# not set, as no shell can: {name:?}\n").into_bytes());
            }
        }
        for script in &self.activate_scripts {
            text.extend(dialect.source(script));
        }
        for script in &self.foreign_scripts {
            text.extend(format!("# not sourced, as it is for another shell: {script:?}\n").into_bytes());
        }
        text.extend_from_slice(if spared { RESTORE } else { b"" });
        text
    }

    /// A program for `sh -c` that activates the environment and then prints all variables.
    pub(super) fn print_variables_program(&self) -> OsString {
        let statements = self.statements(Dialect::Posix);
        let program = [
            &b"mlconda_activate() {\n"[..],
            &statements,
            b"}\nmlconda_activate >/dev/null 2>&1\nunset -f mlconda_activate\nexec env -0\n",
        ];
        OsString::from_vec(program.concat())
    }

    /// A program for `sh -c` that activates the environment and then becomes the command in its arguments. `last` is a
    /// command line that is put before the command: a program that finds the command, and reports an error if there is
    /// none. If that program does not exist, the shell runs the command itself.
    ///
    /// Scripts are sourced in a function, as in conda's own `activate`, so that they neither see nor change the
    /// command's arguments. As with conda, their exit status is ignored: many scripts end with a test that fails.
    pub fn program(&self, last: &[&OsStr]) -> OsString {
        let statements = self.statements(Dialect::Posix);
        let words: Vec<Vec<u8>> = last.iter().map(|word| Dialect::Posix.quote(word)).collect();
        let find = match words.first() {
            Some(program) => [b"[ -x ", &program[..], b" ] && exec ", &words.join(&b' '), b" \"$@\"\n"].concat(),
            None => Vec::new(),
        };
        let program = [
            &b"mlconda_activate() {\n"[..],
            &statements,
            b"}\nmlconda_activate\nunset -f mlconda_activate\n",
            &find,
            b"exec \"$@\"\n",
        ];
        OsString::from_vec(program.concat())
    }
}

/// Whether a name is possible for a shell variable.
fn is_identifier(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|first| !first.is_ascii_digit())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
