//! Hints for environments that have no solution, or whose `pip:` list has none.

use mlconda::{
    network::Cause,
    pip::PipError,
    solve::{SolveError, VirtualDemand},
};

use super::{
    hint,
    network::{self, Transfer},
};

pub(super) fn pip_hint(error: &PipError) -> Option<String> {
    let hint = match error {
        PipError::NoPython { .. } => "add `python` to the dependencies, with its version: `- python=3.12`",
        PipError::Conflict(_) => {
            "conda packages are solved first: change one of the two lines, or move the line of pip to the conda dependencies"
        }
        PipError::NoUv { .. } => {
            "install uv so that it is on `PATH`, or set `MLCONDA_UV` to its path, or add a channel that has it, such as conda-forge"
        }
        PipError::NoInterpreter => "install a python, or add a channel that has `uv` and `python` for this machine",
        PipError::OldUv { .. } => {
            "set `MLCONDA_UV` to the path of a newer uv; if there is no uv on `PATH`, mlconda installs it from the channels"
        }
        PipError::Tools(error) => return hint(error.downcast_ref()?),
        PipError::Unsolvable { message, .. } if message.contains("404 Not Found") => {
            "correct the URL: its server has no such file"
        }
        PipError::Unsolvable { message, .. } if ["401 Un", "403 Forb"].iter().any(|code| message.contains(code)) => {
            "the index needs a login: in its URL, as `https://${USER}:${PASSWORD}@host/simple`, or in `~/.netrc`"
        }
        PipError::Unsolvable { message, .. } if message.contains("UnknownIssuer") => {
            network::of(Cause::UnknownIssuer, Transfer::Package)
        }
        PipError::Unsolvable { message, .. } if message.contains("407 Proxy") => {
            network::of(Cause::ProxyLogin, Transfer::Package)
        }
        PipError::Unsolvable { message, .. } if message.contains("Git operation failed") => {
            "check the URL, the branch or tag, the network, and whether git has a login for it"
        }
        PipError::Unsolvable { message, .. } if message.contains("Failed to fetch") || message.contains("Connect") => {
            "check the network, the index (`PIP_INDEX_URL`, `pip.conf`, `--index-url` in the list), `HTTPS_PROXY` and \
             `NO_PROXY`; `--offline` uses cached data"
        }
        PipError::Unsolvable { message, lines, .. } if names_unknown_project(message, lines) => {
            "correct the name: a project can have another name than its module or its conda package. A package that only conda has belongs above `pip:`"
        }
        PipError::UntrustedLocation { .. } => {
            "an index can refer to its own scheme or to https, never to files of this machine. If you trust the location, name it: \
             `NAME @ URL` in the list, or its directory with `--find-links`"
        }
        PipError::Python { .. } => {
            "ask for CPython: `- python=3.12=*_cpython`, or move the packages of pip to the conda dependencies"
        }
        PipError::Platform { .. } => "move the packages of pip to the conda dependencies",
        PipError::NoFittingFile { why, .. } if why.contains("hash") => {
            "if you know that the index replaced the file, correct the hash; otherwise somebody has changed the file"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether the unknown project is itself in the list, and not only a dependency.
fn names_unknown_project(message: &str, lines: &str) -> bool {
    let before: Vec<&str> = message.split(" was not found in the").collect();
    let names = before.iter().rev().skip(1).filter_map(|text| text.rsplit(' ').next());
    let mut names = names.map(|name| format!("asked for: `{}", name.trim()));
    names.any(|start| lines.to_lowercase().replace(['_', '.'], "-").contains(&start))
}

pub(super) fn solve_hint(error: &SolveError) -> Option<String> {
    match error {
        SolveError::Unsolvable { virtual_packages, platform, .. } => {
            let lines: Vec<String> =
                virtual_packages.iter().filter_map(|demand| demand_hint(demand, platform.as_str())).collect();
            (!lines.is_empty()).then(|| lines.join("\n      "))
        }
        _ => None,
    }
}

/// The hint for a virtual package. Virtual packages of another system cannot be declared.
fn demand_hint(demand: &VirtualDemand, platform: &str) -> Option<String> {
    let VirtualDemand { name, wanted, assumed } = demand;
    let version = wanted.trim_start_matches(|first: char| !first.is_ascii_digit());
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    let version = match (version.trim_matches('.'), name.as_str()) {
        ("", "__cuda") => "12.4",
        ("", _) => return None,
        (version, _) => version,
    };
    let what = match assumed {
        Some(assumed) => format!("the lock assumes `{name}={assumed}` for {platform}; if the machine has a newer one"),
        None => format!("the lock assumes no `{name}` for {platform}; if the machine has it"),
    };
    Some(format!("{what}, declare it: `--virtual-package {name}={version}`"))
}
