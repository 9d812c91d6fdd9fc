//! Errors of channels at the lines of the environment that name them.

use mlconda::{environment::Environment, repodata::RepodataError};

use crate::{error::CliError, hints::repodata::repodata_hint};

/// The error with the line of the environment that names the channel.
pub(super) fn at_its_line(error: RepodataError, environment: &Environment) -> CliError {
    let channel = match &error {
        RepodataError::NoSuchChannel { channel, .. } => channel,
        RepodataError::Denied { subdir, .. }
        | RepodataError::Unreachable { subdir, .. }
        | RepodataError::Broken { subdir, .. } => {
            let end = subdir.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1);
            &subdir[..end]
        }
        _ => return error.into(),
    };
    match (environment.channel_line(channel), repodata_hint(&error)) {
        (Some(line), Some(help)) => {
            CliError::World { message: line.diagnostic(error.to_string(), help).to_string(), hint: None }
        }
        _ => error.into(),
    }
}
