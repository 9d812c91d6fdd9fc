//! In the place of `meant`, in a program that has none of the commands that it would name.

/// Nothing is known.
pub(super) fn by_command(_word: &str, _program: &clap::Command) -> Option<String> {
    None
}

/// Nothing is known.
pub(super) fn by_option(_name: &str, _program: &clap::Command) -> Option<String> {
    None
}
