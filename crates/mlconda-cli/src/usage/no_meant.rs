//! Replaces `meant` in a program that has none of the commands that the hints name.

/// Returns no hint.
pub(super) fn by_command(_word: &str, _program: &clap::Command) -> Option<String> {
    None
}

/// Returns no hint.
pub(super) fn by_option(_name: &str, _program: &clap::Command) -> Option<String> {
    None
}
