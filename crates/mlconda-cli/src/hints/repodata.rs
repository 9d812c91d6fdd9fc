//! Hints for channels whose repodata could not be loaded.

use mlconda::{network::Cause, repodata::RepodataError};

use super::network::{self, Transfer};

pub(crate) fn repodata_hint(error: &RepodataError) -> Option<String> {
    let hint = match error {
        RepodataError::NoChannels(_) => "name one under `channels:`, or with `-c conda-forge`",
        RepodataError::NoSuchChannel { near, .. } if !near.is_empty() => {
            let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
            return Some(format!("did you mean {}?", near.join(" or ")));
        }
        RepodataError::NoSuchChannel { .. } => {
            "check the spelling; a private channel can answer like this if there is no login"
        }
        RepodataError::NoPlatform { .. } => {
            "lock for a platform that the channel has (`--platform`), or add a channel that has packages for this one"
        }
        RepodataError::Denied { .. } => {
            "put the login into the channel's URL as a variable: `https://host/t/$TOKEN/channel` or \
             `https://$USER:$PASSWORD@host/channel`; or store it in `~/.netrc` or with `pixi auth login`"
        }
        RepodataError::Unreachable { cause, .. } => {
            let help = network::of(*cause, Transfer::Repodata);
            let no_answer = matches!(
                cause,
                Cause::NoHost
                    | Cause::NoHostForProxy
                    | Cause::NameServer
                    | Cause::Refused
                    | Cause::NoRoute
                    | Cause::TimedOut
            );
            let offline = if no_answer { "; `--offline` uses cached data" } else { "" };
            return Some(format!("{help}{offline}"));
        }
        RepodataError::Package { cause: Some(cause), .. } => network::of(*cause, Transfer::Package),
        RepodataError::Broken { .. } => {
            "the channel may be in the middle of an update: try again with `--refresh`, or index it again"
        }
        RepodataError::NotCached { .. } | RepodataError::PackageNotCached { .. } => {
            "lock once without `--offline`: what it loads is then cached"
        }
        RepodataError::Cache { .. } => "set `MLCONDA_CACHE_DIR` to another directory",
        _ => return None,
    };
    Some(hint.to_owned())
}
