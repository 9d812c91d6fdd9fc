//! Lists the code of dependencies that runs while the workspace is compiled: build scripts and procedural macros. Each
//! such crate is listed here with what it does, as found by reading it. A new one fails the test until it is read. None
//! of them may use a network: only code whose hash is in `Cargo.lock` is compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;

/// The crates with a build script, and what it does. If another version of a crate does something else, its line must
/// be changed.
const BUILD_SCRIPTS: &[(&str, &str)] = &[
    ("ahash", "asks for the version of the compiler"),
    ("anyhow", "compiles a probe of the compiler"),
    ("borsh", "sets a flag by its features"),
    ("crc32fast", "asks for the version of the compiler"),
    ("crossbeam-deque", "sets a flag"),
    ("crossbeam-epoch", "sets a flag"),
    ("crossbeam-utils", "reads a list of targets in the crate, and sets a flag"),
    ("encoding_rs", "sets a flag by its features"),
    ("fs-err", "asks for the version of the compiler"),
    ("generic-array", "asks for the version of the compiler"),
    ("getrandom", "sets a flag by the target"),
    ("httparse", "asks for the version of the compiler, and sets flags by the target"),
    ("indexmap", "asks for the version of the compiler"),
    ("libc", "asks for the version of the compiler, and on FreeBSD for that of the system"),
    ("libdbus-sys", "asks pkg-config for a library; tests only: no program of ours has it"),
    ("libm", "sets flags by its features"),
    ("nix", "sets flags by the target"),
    ("num-traits", "asks for the version of the compiler"),
    ("openssl", "sets flags by the version of a library; tests only: no program of ours has it"),
    ("openssl-sys", "looks for a library; tests only: no program of ours has it"),
    ("parking_lot_core", "sets a flag by the target"),
    ("portable-atomic", "asks for the version of the compiler"),
    ("proc-macro2", "compiles a probe of the compiler"),
    ("quote", "asks for the version of the compiler"),
    ("rayon-core", "says what the library is called to the linker"),
    ("ref-cast", "asks for the version of the compiler"),
    ("ring", "compiles the C and the assembler in the crate with the C compiler"),
    ("rustix", "compiles a probe of the compiler, and sets flags by the target"),
    ("rustls", "sets a flag by its features"),
    ("rustversion", "asks for the version of the compiler, and writes it to a file of the build"),
    ("serde", "asks for the version of the compiler, and writes a file of the build"),
    ("serde_core", "asks for the version of the compiler, and writes a file of the build"),
    ("serde_json", "sets a flag by the target"),
    ("signal-hook", "sets a flag by its features"),
    ("system-configuration-sys", "names a library of macOS to the linker"),
    ("thiserror", "compiles a probe of the compiler"),
    ("zerocopy", "asks for the version of the compiler"),
    ("zmij", "asks for the version of the compiler"),
    ("zstd-safe", "sets a flag by the target"),
    ("zstd-sys", "compiles the C in the crate with the C compiler"),
];

/// The crates with procedural macros. They generate code from the code that they are applied to, and read no other
/// file. `rattler_macros` reads no file either.
const MACROS: &[&str] = &[
    "async-trait",
    "borsh-derive",
    "clap_derive",
    "darling_macro",
    "enum-as-inner",
    "enum_dispatch",
    "futures-macro",
    "jiff-static",
    "lazy-regex-proc_macros",
    "multiversion_no_op",
    "openssl-macros",
    "pin-project-internal",
    "rattler_macros",
    "ref-cast-impl",
    "rustversion",
    "serde_derive",
    "serde_repr",
    "serde_with_macros",
    "strum_macros",
    "thiserror-impl",
    "time-macros",
    "tokio-macros",
    "tracing-attributes",
    "zerocopy-derive",
    "zeroize_derive",
];

/// Code that a build script would need to use a network, in Rust or through a program.
const OF_NETWORKS: &[&str] = &[
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::net",
    "reqwest",
    "ureq",
    "curl",
    "wget",
    "git2",
    "\"git\"",
    "\"sh\"",
    "\"bash\"",
    "\"python",
    "\"cargo\"",
    "\"npm\"",
];

/// Crates that use networks. None of them is compiled for a build script or a macro.
const NETWORKS: &[&str] = &[
    "attohttpc",
    "curl",
    "git2",
    "gix",
    "h2",
    "hyper",
    "isahc",
    "minreq",
    "native-tls",
    "reqwest",
    "rustls",
    "socket2",
    "ureq",
];

/// cargo's metadata of all packages of the workspace on one platform.
struct Graph {
    packages: BTreeMap<String, Value>,
    nodes: BTreeMap<String, Value>,
}

impl Graph {
    /// Works offline if all packages are in cargo's cache; otherwise cargo downloads them, as for any build.
    fn new() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let host = Command::new("rustc").arg("-vV").output().unwrap();
        let host = String::from_utf8(host.stdout).unwrap();
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let ask = |more: &[&str]| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", host]);
            cargo.args(more).current_dir(workspace).output().unwrap()
        };
        let mut said = ask(&["--offline"]);
        if !said.status.success() {
            said = ask(&[]);
        }
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let by_id = |list: &Value| {
            let each = |value: &Value| (value["id"].as_str().unwrap().to_owned(), value.clone());
            list.as_array().unwrap().iter().map(each).collect::<BTreeMap<_, _>>()
        };
        Self { packages: by_id(&said["packages"]), nodes: by_id(&said["resolve"]["nodes"]) }
    }

    /// The dependencies from outside the workspace on this platform.
    fn of_others(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.packages.iter().filter(|(id, package)| self.nodes.contains_key(*id) && !package["source"].is_null())
    }

    /// Collects a package and everything that it is compiled from.
    fn below(&self, id: &str, found: &mut BTreeSet<String>) {
        if found.insert(id.to_owned()) {
            for dependency in self.nodes[id]["deps"].as_array().unwrap() {
                if kinds(dependency).any(|kind| kind.is_null()) {
                    self.below(dependency["pkg"].as_str().unwrap(), found);
                }
            }
        }
    }

    fn name(&self, id: &str) -> &str {
        self.packages[id]["name"].as_str().unwrap()
    }
}

/// The kinds of a dependency: `null` (normal), `"build"` or `"dev"`.
fn kinds(dependency: &Value) -> impl Iterator<Item = &Value> {
    dependency["dep_kinds"].as_array().unwrap().iter().map(|kind| &kind["kind"])
}

/// The source of a package's target of this kind.
fn target<'a>(package: &'a Value, kind: &str) -> Option<&'a str> {
    let has = |target: &&Value| target["kind"].as_array().unwrap().iter().any(|other| other == kind);
    package["targets"].as_array().unwrap().iter().find(has)?["src_path"].as_str()
}

#[test]
fn all_code_that_runs_at_compile_time_was_read() {
    let graph = Graph::new();
    let mut unread = Vec::new();
    for (_, package) in graph.of_others() {
        let name = package["name"].as_str().unwrap();
        if target(package, "custom-build").is_some() && !BUILD_SCRIPTS.iter().any(|(known, _)| *known == name) {
            unread.push(format!("the build script of {name}"));
        }
        if target(package, "proc-macro").is_some() && !MACROS.contains(&name) {
            unread.push(format!("the macros of {name}"));
        }
    }
    assert!(unread.is_empty(), "read these, and say in this file what they do: {unread:?}");
}

#[test]
fn no_build_script_asks_a_network() {
    let graph = Graph::new();
    let mut found = Vec::new();
    for (_, package) in graph.of_others() {
        let Some(script) = target(package, "custom-build") else { continue };
        let text = fs_err::read_to_string(script).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let words = OF_NETWORKS.iter().filter(|word| code.iter().any(|line| line.contains(*word)));
        found.extend(words.map(|word| format!("{script}: {word}")));
    }
    assert!(found.is_empty(), "{found:?}");
}

/// Build scripts and macros are compiled without any crate that uses a network. So even a network call that the test
/// above does not recognize is not possible.
#[test]
fn nothing_that_asks_a_network_is_compiled_into_what_compiles() {
    let (graph, mut of_builds) = (Graph::new(), BTreeSet::new());
    for (id, package) in &graph.packages {
        let Some(node) = graph.nodes.get(id) else { continue };
        if target(package, "proc-macro").is_some() {
            graph.below(id, &mut of_builds);
        }
        for dependency in node["deps"].as_array().unwrap() {
            if kinds(dependency).any(|kind| kind == "build") {
                graph.below(dependency["pkg"].as_str().unwrap(), &mut of_builds);
            }
        }
    }
    assert!(of_builds.iter().any(|id| graph.name(id) == "cc"), "the graph was not understood");
    let found: Vec<_> = of_builds.iter().filter(|id| NETWORKS.contains(&graph.name(id))).collect();
    assert!(found.is_empty(), "{found:?}");
}
