//! What to do about a transfer that failed: each cause has its own remedy.

use mlconda::network::Cause;

/// What was to be transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Data of a channel.
    Repodata,
    /// A package, from the place that a lock or an environment.yml names.
    Package,
}

/// The remedy for a cause.
pub(crate) fn of(cause: Cause, transfer: Transfer) -> &'static str {
    match cause {
        Cause::NoHost => {
            "check the spelling of the host, and whether this machine can look it up (VPN, `/etc/resolv.conf`)"
        }
        Cause::NameServer => "check the network, and the name servers in `/etc/resolv.conf`",
        Cause::Refused => "no server listens there: check the address and its port, or try again when the server is up",
        Cause::NoRoute => "check the network; a firewall may ask for a proxy: `HTTPS_PROXY`",
        Cause::TimedOut => {
            "try again later; if only this machine gets no answer, a firewall may ask for a proxy: `HTTPS_PROXY`"
        }
        Cause::Slow => "try again later, or take a mirror that is nearer: `MLCONDA_MIRRORS`",
        Cause::BrokeOff => "try again; if it breaks off again, a proxy or the server cuts the connection",
        Cause::TooLong => match transfer {
            Transfer::Repodata => {
                "the server sends something else: check the channel's URL, or tell who keeps the channel"
            }
            Transfer::Package => {
                "the server has another file than the lock: if it was replaced and that is as it should be, lock anew"
            }
        },
        Cause::UnknownIssuer => {
            "if a company's proxy opens TLS, name the file of its certificate authority with `SSL_CERT_FILE`, or the \
             directory with `SSL_CERT_DIR`"
        }
        Cause::OutOfDate => {
            "check the clock of this machine (`date`); if it is right, the server needs a new certificate"
        }
        Cause::OtherHost => "the server is not the one that the URL names: check the host, and the network in between",
        Cause::Tls => "check that the URL is to be `https`, and that no proxy in between breaks TLS",
        Cause::Proxy => {
            "check that the proxy is up and spelt right: `HTTP_PROXY`, `HTTPS_PROXY`; `NO_PROXY` names hosts to be asked directly"
        }
        Cause::ProxyLogin => "give the proxy's login in its URL: `HTTPS_PROXY=http://USER:PASSWORD@host:port`",
        Cause::Redirect => "check the URL: the server sends to a place that is not followed",
        Cause::Status(status) => of_status(status.as_u16(), transfer),
        _ => match transfer {
            Transfer::Repodata => "check the network, `HTTPS_PROXY` and `NO_PROXY`; `--offline` uses what is cached",
            Transfer::Package => "a channel may have removed the package: then lock anew",
        },
    }
}

fn of_status(status: u16, transfer: Transfer) -> &'static str {
    match (status, transfer) {
        (401, _) => {
            "the server wants a login: in `~/.netrc`, or with `pixi auth login`, or in the channel's URL, by a variable"
        }
        (403, _) => "the server refuses this login, or this machine: ask who keeps the server for access",
        (404 | 410, Transfer::Package) => "the server does not have the package any more: lock anew",
        (404 | 410, Transfer::Repodata) => "check the channel's URL",
        (429, Transfer::Repodata) => {
            "too many requests came from here: wait some minutes, or take a mirror: `MLCONDA_MIRRORS`"
        }
        (429, Transfer::Package) => "too many requests came from here: wait some minutes, and give fewer `--downloads`",
        (500.., _) => "the server has trouble: try again later, or take a mirror: `MLCONDA_MIRRORS`",
        (300..=399, _) => "check the URL: the server sends to a place that is not followed",
        _ => "check the URL",
    }
}
