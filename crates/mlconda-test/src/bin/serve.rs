//! `serve [DIRECTORY]`: serves a channel on loopback until it is killed, and prints its URL. Without a directory, it
//! serves the small channel.
//!
//! For the Docker test, which is a script, and for manual tests.

#![allow(clippy::print_stdout, reason = "the URL is what this program is for")]

use std::{
    io::{self, Write},
    path::PathBuf,
};

use mlconda_test::{server::Server, small};

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| small::shared().main.path().to_path_buf());
    let server = Server::serve(directory)?;
    println!("{}", server.url("").trim_end_matches('/'));
    io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
