//! Shows events: as progress bars if stderr is a terminal, else as single lines; for programs as one JSON object per
//! line.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressDrawTarget, ProgressState, ProgressStyle};
use mlconda::progress::{Event, Progress, Task};

use serde_json::{Value, json};

use crate::{
    escape,
    text::{ago, bytes, count, path_text},
    ui::Ui,
};

/// The shortest time between two `downloaded` events.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows events to people, or writes them for programs.
#[derive(Debug)]
pub(crate) enum Display<'a> {
    People(People<'a>),
    Program(Program<'a>),
}

impl<'a> Display<'a> {
    pub(crate) fn new(ui: &'a Ui) -> Self {
        if ui.wants_events() { Self::Program(Program::new(ui)) } else { Self::People(People::new(ui)) }
    }
}

impl Progress for Display<'_> {
    fn event(&self, event: Event) {
        match self {
            Self::People(people) => people.show(event),
            Self::Program(program) => program.tell(event),
        }
    }
}

/// Shows events to people.
#[derive(Debug)]
pub(crate) struct People<'a> {
    ui: &'a Ui,
    packages: AtomicU64,
    linked: AtomicU64,
}

impl<'a> People<'a> {
    fn new(ui: &'a Ui) -> Self {
        if ui.animated() {
            ui.bar().set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        Self { ui, packages: AtomicU64::new(0), linked: AtomicU64::new(0) }
    }

    /// Prints a line above the bar.
    fn say(&self, text: &str) {
        self.ui.say(text);
    }

    /// Prints a line above the bar, with `--verbose` only.
    fn detail(&self, text: &str) {
        if self.ui.is_verbose() {
            self.ui.say(text);
        }
    }

    /// The message of the bar.
    fn message(&self, text: &str) {
        self.ui.bar().set_message(escape::line(text).into_owned());
    }

    fn spin(&self, text: String) {
        if self.ui.animated() {
            self.ui.bar().set_style(ProgressStyle::default_spinner());
            self.ui.bar().enable_steady_tick(Duration::from_millis(100));
            self.message(&text);
        }
    }

    fn start(&self, packages: usize, size: Option<u64>) {
        self.packages.store(packages as u64, Ordering::Relaxed);
        self.linked.store(0, Ordering::Relaxed);
        self.ui.bar().set_position(0);
        match size {
            Some(size) => self.ui.bar().set_length(size),
            None => self.ui.bar().unset_length(),
        }
        // The name of a package comes last: a narrow terminal cuts it off.
        let template = match size {
            Some(_) => "{bar:16} {done}, {rate}{left}{wide_msg}",
            None => "{spinner} {done}, {rate}{wide_msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.ui.bar().set_style(style.with_key("done", done).with_key("rate", rate).with_key("left", left));
        self.ui.bar().reset();
    }

    fn start_reading(&self, number: usize, noun: &str, size: u64) {
        self.start(0, Some(size));
        self.message(&format!("of {}", count(number, noun)));
    }

    fn start_packing(&self, layers: usize, size: u64) {
        if layers > 0 {
            self.say(&format!("Compressing {} ({})", count(layers, "layer"), bytes(size)));
            self.start(0, Some(size));
        }
    }

    fn start_blobs(&self, doing: &str, blobs: usize, size: u64) {
        self.say(&format!("{doing} {} ({})", count(blobs, "blob"), bytes(size)));
        self.start(0, Some(size));
        self.message(&format!("of {}", count(blobs, "blob")));
    }

    fn linked(&self, package: &str) {
        let linked = self.linked.fetch_add(1, Ordering::Relaxed) + 1;
        let package = title(package);
        self.message(&format!("{linked}/{} packages, {package}", self.packages.load(Ordering::Relaxed)));
    }
}

/// The bytes so far, and the total.
fn done(state: &ProgressState, words: &mut dyn fmt::Write) {
    let _ = match state.len() {
        Some(size) => write!(words, "{} of {}", bytes(state.pos()), bytes(size)),
        None => words.write_str(&bytes(state.pos())),
    };
}

/// The bytes per second, once they are known.
fn rate(state: &ProgressState, words: &mut dyn fmt::Write) {
    if state.pos() > 0 && state.per_sec().is_finite() && state.per_sec() >= 1.0 {
        let _ = write!(words, "{}/s, ", bytes(state.per_sec() as u64));
    }
}

/// The remaining time, once it is known.
fn left(state: &ProgressState, words: &mut dyn fmt::Write) {
    let seconds = state.eta().as_secs();
    if state.pos() > 0 && seconds > 0 {
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let _ = match minutes {
            0 => write!(words, "{seconds} s left, "),
            _ => write!(words, "{minutes} min {seconds} s left, "),
        };
    }
}

impl Drop for People<'_> {
    fn drop(&mut self) {
        self.ui.bar().finish_and_clear();
    }
}

impl People<'_> {
    /// Prints a line about the start of a step with this number of packages, and starts its bar.
    fn start_packages(&self, verb: &str, packages: usize, size: Option<u64>, place: &str) {
        let download = size.map_or_else(String::new, |size| format!(" ({})", bytes(size)));
        self.say(&format!("{verb} {}{download}{place}", count(packages, "package")));
        self.start(packages, size);
        self.message(&format!("0/{packages} packages"));
    }

    fn show(&self, event: Event) {
        match event {
            Event::RepodataStarted { subdir } => self.spin(format!("Loading {subdir}")),
            Event::RepodataFinished { subdir, records } => {
                self.detail(&format!("Loaded `{}`: {}", short(&subdir), count(records, "record")));
            }
            Event::RepodataFromCache { subdir, age } => {
                self.say(&format!("Offline: `{}` as of {}", short(&subdir), ago(age)));
            }
            // With no records, the solve takes no time.
            Event::SolveStarted { records: 0 } => self.ui.bar().finish_and_clear(),
            Event::SolveStarted { records } => self.spin(format!("Solving with {}", count(records, "record"))),
            Event::PipStarted { requirements } => {
                self.spin(format!("Resolving {} of pip", count(requirements, "requirement")));
            }
            Event::SolveFinished { .. } | Event::PipFinished { .. } => self.ui.bar().finish_and_clear(),
            Event::InstallStarted { packages: 0, .. } | Event::StagingStarted { packages: 0, .. } => {}
            Event::InstallStarted { prefix, packages, bytes: size } => {
                let into = format!(" into `{}`", prefix.display());
                self.start_packages("Installing", packages, size, &into);
            }
            Event::StagingStarted { prefix, packages, bytes: size } => {
                let together = format!(" together for `{}`", prefix.display());
                self.start_packages("Putting", packages, size, &together);
            }
            Event::BundleStarted { packages, bytes } => self.start_reading(packages, "archive", bytes),
            Event::FetchStarted { packages, bytes } => {
                self.start_packages("Fetching", packages, bytes, " into the cache");
            }
            Event::ImageStarted { layers, bytes } => self.start_reading(layers, "layer", bytes),
            Event::VerifyStarted { files, bytes } => self.start_reading(files, "file", bytes),
            Event::PushStarted { blobs, bytes } => self.start_blobs("Pushing", blobs, bytes),
            Event::ImageWriteStarted { blobs, bytes } => self.start_blobs("Writing", blobs, bytes),
            Event::Downloaded { bytes }
            | Event::Local { bytes }
            | Event::Verified { bytes }
            | Event::Packed { bytes }
            | Event::ImageWritten { bytes }
            | Event::Uploaded { bytes }
            | Event::AlreadyThere { bytes } => self.ui.bar().inc(bytes),
            Event::DownloadedAgain { bytes } | Event::UploadedAgain { bytes } => self.ui.bar().dec(bytes),
            Event::Retrying { package, reason } => self.say(&format!("`{package}` again: {reason}")),
            Event::Waiting { url, waited, reason } => {
                self.say(&format!("Waiting for `{url}` ({} s so far): {reason}", waited.as_secs()));
            }
            Event::PackageInstalled { package } | Event::PackageFetched { package } => self.linked(&package),
            Event::LayersStarted { layers, bytes: size } => self.start_packing(layers, size),
            Event::LayerStarted { number, layers, name } => {
                self.message(&format!("layer {number} of {layers}: {name}"))
            }
            Event::BytecodeStarted { modules } => self.spin(format!("Compiling {}", count(modules, "module"))),
            Event::Building { package } => self.say(&format!("Building `{package}` with the environment's pip")),
            Event::StillRunning { task, package, elapsed, limit } => self.still(task, &package, elapsed, limit),
            Event::LinkScript { package } => self.say(&format!("Running the post-link script of `{package}`")),
            Event::Warning(text) => self.ui.warn(&text),
            other => self.of_the_disk(other),
        }
    }
}

impl People<'_> {
    fn still(&self, task: Task, package: &str, elapsed: Duration, limit: Option<Duration>) {
        let (name, seconds) = (task.name(), elapsed.as_secs());
        let end = limit.map_or_else(String::new, |limit| format!("; it will be stopped after {} s", limit.as_secs()));
        let what = match task {
            Task::Bytecode => format!("{name} has not answered for {seconds} s"),
            _ => format!("{name} of `{package}` has been running for {seconds} s"),
        };
        self.say(&format!("Waiting: {what}{end}"));
    }

    fn of_the_disk(&self, event: Event) {
        let text = match event {
            Event::WaitingForDisk { waited } => {
                let seconds = waited.as_secs();
                return self.say(&format!("Waiting for the disk ({seconds} s so far): it does not have all files yet"));
            }
            Event::CacheDamaged { package, reason } => {
                format!("`{package}` was damaged in the cache and is downloaded again: {reason}")
            }
            Event::CacheNotWritten { reason } => format!("packages could not be put into the cache: {reason}"),
            _ => return,
        };
        self.ui.warn(&text);
    }
}

/// A package's file name as people read it: `numpy 1.26.4`.
fn title(file: &str) -> String {
    let parts: Vec<&str> = file.rsplitn(3, '-').collect();
    match parts.as_slice() {
        [_, version, name] => format!("{name} {version}"),
        _ => file.to_owned(),
    }
}

/// The short name of a subdir, without the default host of channels.
fn short(subdir: &str) -> &str {
    subdir.strip_prefix("https://conda.anaconda.org/").unwrap_or(subdir).trim_end_matches('/')
}

/// Writes events for programs.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    ui: &'a Ui,
    downloads: Mutex<Downloads>,
}

/// The downloaded bytes.
#[derive(Debug)]
struct Downloads {
    bytes: u64,
    told: u64,
    at: Option<Instant>,
}

/// An event about an image as JSON; `None` for all other events.
fn of_an_image(event: Event) -> Option<Value> {
    Some(match event {
        Event::LayersStarted { layers, bytes } => {
            json!({"event": "layers-started", "layers": layers, "bytes": bytes})
        }
        Event::LayerStarted { number, layers, name } => {
            json!({"event": "layer-started", "number": number, "layers": layers, "name": name})
        }
        Event::LayerWritten { bytes } => json!({"event": "layer-written", "bytes": bytes}),
        Event::ImageWriteStarted { blobs, bytes } => {
            json!({"event": "image-write-started", "blobs": blobs, "bytes": bytes})
        }
        Event::PushStarted { blobs, bytes } => json!({"event": "push-started", "blobs": blobs, "bytes": bytes}),
        Event::ImageStarted { layers, bytes } => {
            json!({"event": "image-started", "layers": layers, "bytes": bytes})
        }
        _ => return None,
    })
}

impl<'a> Program<'a> {
    fn new(ui: &'a Ui) -> Self {
        Self { ui, downloads: Mutex::new(Downloads { bytes: 0, told: 0, at: None }) }
    }

    fn tell(&self, event: Event) {
        let event = match event {
            Event::RepodataStarted { subdir } => json!({"event": "repodata-started", "subdir": subdir}),
            Event::RepodataFinished { subdir, records } => {
                json!({"event": "repodata-finished", "subdir": subdir, "records": records})
            }
            Event::RepodataFromCache { subdir, age } => {
                json!({"event": "repodata-from-cache", "subdir": subdir, "age": age.map(|age| age.as_secs())})
            }
            Event::SolveStarted { records } => json!({"event": "solve-started", "records": records}),
            Event::SolveFinished { packages } => json!({"event": "solve-finished", "packages": packages}),
            Event::PipStarted { requirements } => json!({"event": "pip-started", "requirements": requirements}),
            Event::PipFinished { packages } => json!({"event": "pip-finished", "packages": packages}),
            Event::InstallStarted { prefix, packages, bytes } | Event::StagingStarted { prefix, packages, bytes } => {
                self.start(prefix, packages, bytes)
            }
            Event::Downloaded { bytes } | Event::Local { bytes } => {
                return self.count(|arrived| arrived.saturating_add(bytes));
            }
            Event::DownloadedAgain { bytes } => return self.count(|arrived| arrived.saturating_sub(bytes)),
            Event::Retrying { package, reason } => json!({"event": "retrying", "package": package, "reason": reason}),
            Event::Waiting { url, waited, reason } => {
                json!({"event": "waiting", "url": url, "seconds": waited.as_secs(), "reason": reason})
            }
            Event::CacheDamaged { package, reason } => {
                json!({"event": "cache-damaged", "package": package, "reason": reason})
            }
            Event::CacheNotWritten { reason } => json!({"event": "cache-not-written", "reason": reason}),
            Event::PackageInstalled { package } => json!({"event": "package-installed", "package": package}),
            Event::BundleStarted { packages, bytes } => {
                json!({"event": "bundle-started", "packages": packages, "bytes": bytes})
            }
            Event::FetchStarted { packages, bytes } => {
                json!({"event": "fetch-started", "packages": packages, "bytes": bytes})
            }
            Event::PackageFetched { package } => json!({"event": "package-fetched", "package": package}),
            Event::BytecodeStarted { modules } => json!({"event": "bytecode-started", "modules": modules}),
            Event::Building { package } => json!({"event": "building", "package": package}),
            Event::StillRunning { task, package, elapsed, limit } => json!({
                "event": "still-running", "task": task.name(), "package": package, "seconds": elapsed.as_secs(),
                "limit": limit.map(|limit| limit.as_secs()),
            }),
            Event::WaitingForDisk { waited } => json!({"event": "waiting-for-disk", "seconds": waited.as_secs()}),
            Event::Committing => json!({"event": "committing"}),
            Event::LinkScript { package } => json!({"event": "script", "package": package}),
            Event::VerifyStarted { files, bytes } => json!({"event": "verify-started", "files": files, "bytes": bytes}),
            Event::Warning(text) => return self.ui.warn(&text),
            other => match of_an_image(other) {
                Some(event) => event,
                None => return,
            },
        };
        self.ui.event(&event);
    }

    fn start(&self, prefix: PathBuf, packages: usize, bytes: Option<u64>) -> Value {
        *self.downloads.lock().unwrap_or_else(PoisonError::into_inner) = Downloads { bytes: 0, told: 0, at: None };
        json!({"event": "install-started", "prefix": path_text(&prefix), "packages": packages, "bytes": bytes})
    }

    /// Counts bytes, and writes a `downloaded` event from time to time.
    fn count(&self, change: impl FnOnce(u64) -> u64) {
        let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        downloads.bytes = change(downloads.bytes);
        if downloads.at.is_none_or(|at| at.elapsed() >= PAUSE) {
            downloads.at = Some(Instant::now());
            self.tell_bytes(&mut downloads);
        }
    }

    fn tell_bytes(&self, downloads: &mut Downloads) {
        if downloads.bytes != downloads.told {
            downloads.told = downloads.bytes;
            self.ui.event(&json!({"event": "downloaded", "bytes": downloads.bytes}));
        }
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        let mut downloads = std::mem::replace(
            self.downloads.get_mut().unwrap_or_else(PoisonError::into_inner),
            Downloads { bytes: 0, told: 0, at: None },
        );
        self.tell_bytes(&mut downloads);
    }
}
