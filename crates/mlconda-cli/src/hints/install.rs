//! Hints for installations that failed.

use std::io::ErrorKind;

use mlconda::{
    install::InstallError,
    network::{Cause, NetworkError},
};

use super::{
    MANY_OPEN, MORE_OPEN, io_hint,
    network::{self, Transfer},
};

#[allow(clippy::too_many_lines, reason = "a table: an arm for each error")]
pub(super) fn install_hint(error: &InstallError) -> Option<String> {
    let hint = match error {
        InstallError::File(error) => return io_hint(error),
        InstallError::Parent { source, .. } => return io_hint(source),
        InstallError::Changed { .. } => "run the command again: it reads the prefix as it is now",
        InstallError::Replaced { .. } => {
            "somebody else can rename directories there: find out who, before you install into it again"
        }
        InstallError::PartlyChanged { .. } => "remove the cause, and run the command again: it completes the prefix",
        InstallError::Busy { .. } => "wait until it has finished, and try again",
        InstallError::Occupied { .. } => "choose a directory that does not exist yet, or an empty one",
        InstallError::Download { source, .. } if source.to_string().contains(MANY_OPEN) => MORE_OPEN,
        InstallError::Download { source, .. } => {
            let error = source.downcast_ref::<NetworkError>();
            let help = network::of(error.map_or(Cause::Other, NetworkError::cause), Transfer::Package);
            return Some(format!("the prefix is unchanged; {help}"));
        }
        InstallError::Digest { .. } => {
            "the archive was not used. If you know that the server replaced the package, lock again; \
             otherwise somebody between you and the server has changed it"
        }
        InstallError::Packed { .. } => {
            "nothing was installed. Copy the file again; if that does not help, somebody has changed it: make it again from the lock"
        }
        InstallError::Damaged { .. } => {
            "run the command once without `--offline`: the package is then downloaded again"
        }
        InstallError::Unusable { .. } => "choose another directory, with `-p DIR`",
        InstallError::Package { source, .. } if source.kind() == ErrorKind::InvalidFilename => {
            "the prefix is unchanged. Choose a shorter prefix; if that does not help, report it to the maintainers of the package"
        }
        InstallError::Expired { .. } => {
            "the prefix is unchanged. `--script-timeout SECONDS` waits longer (0: without a limit); `--no-scripts` installs \
             without running packages' scripts"
        }
        InstallError::Package { .. } => {
            "the prefix is unchanged. This is an error of the package: report it to its maintainers"
        }
        InstallError::ForeignLink { .. } => {
            "the files behind the link do not belong to the prefix: replace the link with a directory, or move it away, and run the command again"
        }
        InstallError::Untrusted { .. } => {
            "if you do not know who wrote it, check the prefix before you use it. Remove it (a journal with its directory \
             `.mlconda-old`): the next installation then links every package again"
        }
        InstallError::RecordName { .. } => {
            "no tool writes such a record: check the prefix before you use it, and remove the record"
        }
        InstallError::FileInTheWay { .. } => "move your file away, and run the command again",
        InstallError::DirectoryInTheWay { .. } => "move your files out of the directory, and run the command again",
        InstallError::PathTypeClash { .. } => {
            "the two cannot be in one environment: remove one of the packages, or use another version of it"
        }
        InstallError::ReplacedLink { .. } => {
            "make the link again with `mlconda verify --repair`; if something of yours is there, move it away first"
        }
        InstallError::OutwardLink { .. } => "if you trust the package, allow the link with `--allow-outward-links`",
        InstallError::PrefixTooLong { .. } => "choose a shorter prefix",
        InstallError::SameDistribution { .. } => {
            "lock again: a package of a channel is not installed by pip as well. Or remove it from one of the two lists"
        }
        InstallError::WrongTags { .. } => "lock again, for this python and platform",
        InstallError::NoPip { .. } => {
            "add `pip` and the packages that the build needs to the environment.yml, and lock it again"
        }
        InstallError::BuildSkipped { .. } => "install without `--no-scripts`, or use a version that has a wheel",
        InstallError::GitOffline { .. } => "install without `--offline`",
        InstallError::Build { .. } => {
            "the prefix is unchanged. What the build needs, such as `setuptools`, must be a package of the environment"
        }
        InstallError::NoPython { .. } => "add `python` to the environment.yml and lock it again",
        InstallError::Script { .. } | InstallError::NoShell { .. } => {
            "`--no-scripts` installs without running packages' scripts"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
