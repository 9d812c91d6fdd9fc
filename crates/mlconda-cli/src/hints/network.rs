//! Hints for failed transfers, one for each cause.

use mlconda::network::{Cause, Scheme};

/// What was transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Data of a channel.
    Repodata,
    /// A package, from the URL in a lock or an environment.yml.
    Package,
}

/// The hint for a cause.
pub(crate) fn of(cause: Cause, transfer: Transfer) -> &'static str {
    match cause {
        Cause::NoHost => {
            "check the spelling of the host, and whether this machine can resolve it (VPN, `/etc/resolv.conf`)"
        }
        Cause::NoHostForProxy => {
            "check the spelling of the host; with `socks5h://` in the place of `socks5://`, the proxy resolves the names of hosts"
        }
        Cause::NameServer => "check the network, and the name servers in `/etc/resolv.conf`",
        Cause::Refused => "no server listens there: check the address and its port, or try again when the server is up",
        Cause::NoRoute => "check the network; a firewall may ask for a proxy: `HTTPS_PROXY`",
        Cause::TimedOut => {
            "try again later; if only this machine gets no answer, a firewall may ask for a proxy: `HTTPS_PROXY`"
        }
        Cause::Slow => "try again later, or use a nearer mirror: `MLCONDA_MIRRORS`",
        Cause::BrokeOff => "try again; if it happens again, a proxy or the server closes the connection",
        Cause::TooLong => match transfer {
            Transfer::Repodata => {
                "the server sends another file: check the channel's URL, or report it to the owner of the channel"
            }
            Transfer::Package => {
                "the server has another file than the lock: if you know that it was replaced, lock again"
            }
        },
        Cause::UnknownIssuer => {
            "if a company proxy intercepts TLS, set `SSL_CERT_FILE` to the file of its certificate authority, or `SSL_CERT_DIR` to the \
             directory with `SSL_CERT_DIR`"
        }
        Cause::OutOfDate => {
            "check the clock of this machine (`date`); if it is right, the server needs a new certificate"
        }
        Cause::OtherHost => "the certificate is for another host: check the host, and the network in between",
        Cause::Tls => "check that the server uses `https`, and that no proxy in between breaks TLS",
        Cause::Proxy => {
            "check that the proxy runs, and its address in `HTTP_PROXY` or `HTTPS_PROXY`; `NO_PROXY` lists hosts that are reached directly"
        }
        Cause::ProxyLogin => {
            "give the proxy's login in its URL: `HTTPS_PROXY=http://USER:PASSWORD@host:port`, or `socks5h://` for a SOCKS proxy"
        }
        Cause::Redirect => "check the URL: the server redirects to a location that is not followed",
        Cause::RegistryLogin => {
            "log in with `docker login HOST` or `podman login HOST`: mlconda reads their logins, or the file that `REGISTRY_AUTH_FILE` \
             names; some registries also answer this if a file does not exist: check the URL"
        }
        Cause::LoginFile => "correct the file with the logins of registries, or name another one: `REGISTRY_AUTH_FILE`",
        Cause::Registry => {
            "check the channel's URL: a registry is a channel if it has `SUBDIR/repodata.json` and `SUBDIR/NAME:VERSION-BUILD` below \
             it, as conda-oci-mirror writes them"
        }
        Cause::Offline => {
            "the package has to be downloaded: run the command without `--offline`, and without `offline: true` in a `.condarc`"
        }
        Cause::Scheme(scheme) => of_scheme(scheme),
        Cause::Status(status) => of_status(status.as_u16(), transfer),
        _ => match transfer {
            Transfer::Repodata => "check the network, `HTTPS_PROXY` and `NO_PROXY`; `--offline` uses cached data",
            Transfer::Package => "the channel may have removed the package: lock again",
        },
    }
}

fn of_scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => {
            "give the bucket's address over HTTP: `MLCONDA_MIRRORS=s3://BUCKET=https://HOST`; or copy the channel into a directory with \
             `aws s3 sync`, and name that as the channel; or take a bundle along (`mlconda bundle`)"
        }
        Scheme::Other => "write a URL with `https://`, or the path of a directory",
    }
}

fn of_status(status: u16, transfer: Transfer) -> &'static str {
    match (status, transfer) {
        (401, _) => {
            "the server needs a login: in `~/.netrc`, from `pixi auth login`, or as a variable in the channel's URL"
        }
        (403, _) => "the server refuses this login, or this machine: ask the owner of the server for access",
        (404 | 410, Transfer::Package) => "the server does not have the package any more: lock again",
        (404 | 410, Transfer::Repodata) => "check the channel's URL",
        (429, Transfer::Repodata) => {
            "too many requests came from here: wait some minutes, or use a mirror: `MLCONDA_MIRRORS`"
        }
        (429, Transfer::Package) => "too many requests came from here: wait some minutes, and reduce `--downloads`",
        (500.., _) => "the server has an error: try again later, or use a mirror: `MLCONDA_MIRRORS`",
        (300..=399, _) => "check the URL: the server redirects to a location that is not followed",
        _ => "check the URL",
    }
}
