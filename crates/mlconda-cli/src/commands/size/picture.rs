//! The sizes of a lock, a prefix or an image as one value, from which the tables, the JSON and the page are made.

use std::{collections::HashMap, ops::Range};

use mlconda::{
    graph::{Graph, PackageKind},
    prefix::Prefix,
    size::{FileKind, SizedFile, SizedPackage, Sizes, Total},
};
use serde_json::{Value, json};

use super::image::Layered;
use crate::{context::Context, error::CliError, lock_or_prefix::LockOrPrefix, tree_drawing};

/// Sizes, and the requests that they are for.
pub(super) struct Picture {
    /// The name of the lock, prefix or image.
    pub(super) name: String,
    pub(super) subject: Subject,
    pub(super) sizes: Sizes,
    /// The requested specs, and the bytes of all packages that only they need.
    pub(super) asked: Vec<(String, u64)>,
    /// For each package, the index in `asked` of the only request that needs it.
    pub(super) only_asked: Vec<Option<usize>>,
    /// The facts about an image.
    pub(super) image: Option<Layered>,
}

/// The kind of sizes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Installed files, on the disk or in an image.
    Installed,
    /// Archives: each is one file without a kind.
    Archives,
}

impl Picture {
    pub(super) fn new(view: &LockOrPrefix, context: &Context) -> Result<Self, CliError> {
        let graph = view.graph(&[], context)?;
        let (subject, sizes) = match view.is_prefix() {
            true => (Subject::Installed, Sizes::of_prefix(&Prefix::open(view.root())?)?),
            false => (Subject::Archives, of_archives(&graph)),
        };
        let mut picture = Self {
            name: view.name(),
            subject,
            only_asked: vec![None; sizes.packages.len()],
            sizes,
            asked: Vec::new(),
            image: None,
        };
        let packages = 0..picture.sizes.packages.len();
        picture.ask(&graph, packages, &|spec| spec);
        Ok(picture)
    }

    /// Adds the requests of one environment, whose packages are `packages`.
    pub(super) fn ask(&mut self, graph: &Graph, packages: Range<usize>, named: &dyn Fn(String) -> String) {
        let totals = self.sizes.by_package();
        let numbers: HashMap<(bool, &str), usize> = graph
            .packages
            .iter()
            .enumerate()
            .map(|(at, each)| ((each.kind == PackageKind::Pip, each.name.as_str()), at))
            .collect();
        let (only_root, before) = (graph.only_root(), self.asked.len());
        self.asked.extend(graph.roots.iter().map(|root| (named(title(graph, root)), 0)));
        for place in packages {
            let package = &self.sizes.packages[place];
            let number = numbers.get(&(package.is_pip, package.name.as_str()));
            let Some(root) = number.and_then(|number| only_root[*number]) else { continue };
            self.only_asked[place] = Some(before + root);
            self.asked[before + root].1 += totals[place].bytes;
        }
    }

    /// The packages with their sizes, the largest first.
    pub(super) fn packages(&self) -> Vec<(&SizedPackage, Total)> {
        let mut packages: Vec<_> = self.sizes.packages.iter().zip(self.sizes.by_package()).collect();
        packages
            .sort_by(|(one, size), (other, than)| than.bytes.cmp(&size.bytes).then_with(|| one.name.cmp(&other.name)));
        packages
    }

    /// The kinds of files, the largest first.
    pub(super) fn kinds(&self) -> Vec<(FileKind, Total)> {
        let kinds = FileKind::ALL.into_iter().zip(self.sizes.by_kind());
        let mut kinds: Vec<_> = kinds.filter(|(_, total)| total.files > 0).collect();
        kinds.sort_by_key(|(_, total)| std::cmp::Reverse(total.bytes));
        if self.subject == Subject::Archives { Vec::new() } else { kinds }
    }

    /// The size of files that no record lists.
    pub(super) fn untracked(&self) -> Total {
        self.sizes.by_package().pop().unwrap_or_default()
    }

    /// The size of a package in bytes, if it is known.
    pub(super) fn known(&self, total: Total) -> Option<u64> {
        (self.subject == Subject::Installed || total.files > 0).then_some(total.bytes)
    }

    /// How many packages have an unknown size.
    pub(super) fn unknown(&self) -> usize {
        self.packages().into_iter().filter(|(_, total)| self.known(*total).is_none()).count()
    }

    /// The requests, each with the bytes of all packages that only it needs. None if one of their sizes is unknown.
    pub(super) fn requests(&self) -> Vec<(&str, Option<u64>)> {
        let mut requests: Vec<_> = self.asked.iter().map(|(spec, bytes)| (spec.as_str(), Some(*bytes))).collect();
        for (total, asked) in self.sizes.by_package().into_iter().zip(&self.only_asked) {
            if let (Some(asked), None) = (asked, self.known(total)) {
                requests[*asked].1 = None;
            }
        }
        requests
    }

    pub(super) fn to_json(&self) -> Value {
        let total = self.sizes.total();
        let packages = self.sizes.packages.iter().zip(self.sizes.by_package()).zip(&self.only_asked);
        let packages = packages.map(|((package, size), asked)| {
            json!({
                "name": package.name,
                "version": package.version,
                "kind": if package.is_pip { "pip" } else { "conda" },
                "bytes": self.known(size),
                "files": size.files,
                "asked": asked.map(|asked| &self.asked[asked].0),
            })
        });
        let kinds = self
            .kinds()
            .into_iter()
            .map(|(kind, size)| json!({"name": kind.name(), "bytes": size.bytes, "files": size.files}));
        let asked = self.requests().into_iter().map(|(spec, bytes)| json!({"spec": spec, "bytes": bytes}));
        let untracked = self.untracked();
        let mut value = json!({
            "name": self.name,
            "bytes": (self.unknown() == 0).then_some(total.bytes),
            "files": total.files,
            "packages": packages.collect::<Vec<_>>(),
            "untracked": {"bytes": untracked.bytes, "files": untracked.files},
            "kinds": kinds.collect::<Vec<_>>(),
            "asked": asked.collect::<Vec<_>>(),
        });
        if let Some(image) = &self.image {
            image.add_to_json(&mut value, self);
        }
        value
    }
}

/// The requests for a root, or its name if it was not requested.
fn title(graph: &Graph, root: &mlconda::graph::GraphRoot) -> String {
    let name = || {
        let reason = tree_drawing::unasked(graph, root.package).map(|reason| format!(" ({reason})"));
        format!("{}{}", graph.packages[root.package].name, reason.unwrap_or_default())
    };
    root.asked.first().map_or_else(name, |asked| asked.spec.clone())
}

/// The archives of a lock. A package whose archive has an unknown size has no file.
fn of_archives(graph: &Graph) -> Sizes {
    let mut sizes = Sizes::default();
    for (number, package) in graph.packages.iter().enumerate() {
        sizes.packages.push(SizedPackage {
            name: package.name.clone(),
            version: package.version.clone().unwrap_or_default(),
            is_pip: package.kind == PackageKind::Pip,
        });
        let file = |bytes| SizedFile { path: "".into(), bytes, kind: FileKind::Data, package: Some(number) };
        sizes.files.extend(package.size.map(file));
    }
    sizes
}
