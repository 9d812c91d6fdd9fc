//! A service that solves: the body of `POST /lock` is an environment.yml, and the answer is its lock for linux-64.
//!
//! ```sh
//! cargo run --example solve_service -- 127.0.0.1:8080 /var/cache/solve
//! curl --data-binary @environment.yml 127.0.0.1:8080/lock
//! ```
//!
//! A request has limits: 64 kB of environment, twenty seconds and ten million steps of solving. Only two solves run at
//! a time, so memory is limited, too. If a client disconnects, its solve is stopped. Clients are trusted in one
//! respect: the service reads any channel that they name.

#![allow(clippy::print_stderr, reason = "it is a program")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use mlconda::{
    Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
    lock::Lock,
    network::{Client, NetworkOptions},
    repodata::{self, Access, RepodataOptions},
    solve::{SolveError, SolveLimits, SolveOptions, SolveStop, solve_within},
};
use tokio::sync::Semaphore;

const LARGEST_ENVIRONMENT: usize = 64 << 10;
const LONGEST: Duration = Duration::from_secs(20);
const MOST_STEPS: u64 = 10_000_000;
const SOLVES_AT_ONCE: usize = 2;

/// The state that all requests share.
pub(crate) struct Service {
    client: Client,
    cache: PathBuf,
    solves: Arc<Semaphore>,
}

/// The routes of the service, with its cache in a directory.
pub(crate) fn routes(cache: &Path) -> mlconda::Result<Router> {
    let client = Client::new(&NetworkOptions::default())?;
    let service = Service { client, cache: cache.to_owned(), solves: Arc::new(Semaphore::new(SOLVES_AT_ONCE)) };
    Ok(Router::new()
        .route("/lock", post(lock))
        .layer(DefaultBodyLimit::max(LARGEST_ENVIRONMENT))
        .with_state(Arc::new(service)))
}

/// Stops a solve when it is dropped. When a client disconnects, the future of its request is dropped, and this with it.
struct StopWhenDropped(SolveStop);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.request();
    }
}

async fn lock(State(service): State<Arc<Service>>, text: String) -> Result<String, (StatusCode, String)> {
    match tokio::time::timeout(LONGEST, service.lock(text)).await {
        Ok(answer) => answer,
        Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, format!("no answer within {} seconds\n", LONGEST.as_secs()))),
    }
}

impl Service {
    async fn lock(&self, text: String) -> Result<String, (StatusCode, String)> {
        let Ok(permit) = Arc::clone(&self.solves).acquire_owned().await else {
            return Err(unavailable("the service ends"));
        };
        let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
        let environment = Environment::parse(&text, Path::new("environment.yml"), &options).map_err(bad)?;
        let environment = environment.for_platform(Subdir::Linux64);
        let host = Host::baseline(Subdir::Linux64);
        let options =
            RepodataOptions { cache_directory: self.cache.clone(), access: Access::Online, now: SystemTime::now() };
        let repodata = repodata::load(&self.client, &environment, &host, &options, &()).await.map_err(unavailable)?;
        let stop = SolveStop::default();
        let _stop = StopWhenDropped(stop.clone());
        let mut limits = SolveLimits::until(stop);
        limits.steps = Some(MOST_STEPS);
        let solved = tokio::task::spawn_blocking(move || {
            // The permit is held until the solve has really ended.
            let _permit = permit;
            let (solution, host) =
                solve_within(&environment, &repodata, &host, &[], &SolveOptions::default(), &limits).map_err(answer)?;
            let lock = Lock::new(&environment, &host, &solution).map_err(bad)?;
            Ok(lock.to_text())
        });
        solved.await.unwrap_or_else(|_| Err(unavailable("the solve has ended without an answer")))
    }
}

/// The response for a failed solve.
fn answer(error: SolveError) -> (StatusCode, String) {
    match error {
        SolveError::Stopped | SolveError::TooManySteps(_) => (StatusCode::GATEWAY_TIMEOUT, format!("{error}\n")),
        error => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")),
    }
}

fn bad(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
}

fn unavailable(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, format!("{error}\n"))
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(cache)) = (arguments.next(), arguments.next()) else {
        return Err("usage: solve_service ADDRESS CACHE".into());
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    eprintln!("http://{}/lock", listener.local_addr()?);
    axum::serve(listener, routes(Path::new(&cache))?).await?;
    Ok(())
}
