"""What `benches/peers` does in python: locks of a whole channel, installing by py-rattler, trees and their differences.

    peers.py locks CHANNEL DIRECTORY        explicit lists that hold every archive of a channel, no name twice in a list
    peers.py rattler CHANNEL LIST PREFIX CACHE   installs a list with py-rattler
    peers.py tree PREFIX FILE               writes down a prefix: paths, contents, modes, links, records
    peers.py compare KIND OURS THEIRS       what differs between two of these, by kind; KIND is the other installer
    peers.py wheels BASE WHEELS DIRECTORY   a lock and a list of requirements for a directory of wheels
"""

import asyncio
import collections
import csv
import hashlib
import io
import json
import os
import re
import stat
import sys

# conda 26 and py-rattler 0.28 fail on directories in `paths.json`.
REFUSED = {"var-empty-directories"}


def repodata(channel):
    for subdir in ("linux-64", "noarch"):
        with open(f"{channel}/{subdir}/repodata.json") as file:
            known = json.load(file)
        for kind in ("packages.conda", "packages"):
            for name, record in known.get(kind, {}).items():
                yield subdir, name, record


def rank(entry):
    _, name, record = entry
    numbers = [int(part) for part in re.findall(r"\d+", record["version"])]
    return numbers, record["build_number"], name.endswith(".conda")


def locks(channel, directory):
    """The newest archive of each name in the first list, the second newest in the next; each list has a python."""
    by_name = collections.defaultdict(list)
    for entry in repodata(channel):
        by_name[entry[2]["name"]].append(entry)
    refused = [name for name in by_name if name in REFUSED]
    for name in refused:
        del by_name[name]
    for entries in by_name.values():
        entries.sort(key=rank, reverse=True)
    archives = 0
    for turn in range(max(map(len, by_name.values()))):
        with open(f"{directory}/all-{turn}.txt", "w") as file:
            file.write("@EXPLICIT\n")
            for name, entries in sorted(by_name.items()):
                if len(entries) > turn or name == "python":
                    subdir, archive, record = entries[min(turn, len(entries) - 1)]
                    file.write(f"file://{channel}/{subdir}/{archive}#{record['md5']}\n")
                    archives += len(entries) > turn
    print(f"{len(by_name)} packages in {archives} archives; left out: {', '.join(refused) or 'none'}")


def rattler(channel, listed, prefix, cache):
    from rattler import Channel, RepoDataRecord, SparseRepoData, install
    from rattler.repo_data import PackageFormatSelection

    known = {}
    for subdir in ("linux-64", "noarch"):
        sparse = SparseRepoData(Channel(f"file://{channel}"), subdir, f"{channel}/{subdir}/repodata.json")
        for record in sparse.load_all_records(PackageFormatSelection.BOTH):
            known[str(record.url)] = record
    with open(listed) as file:
        urls = [line.split("#")[0].strip() for line in file if line.startswith("file:")]
    asyncio.run(
        install(
            [known[url] for url in urls],
            target_prefix=prefix,
            cache_dir=cache,
            execute_link_scripts=True,
            show_progress=False,
        )
    )


def tree(prefix, out):
    paths, inodes = {}, collections.defaultdict(list)
    for directory, below, files in os.walk(prefix):
        for name in below + files:
            path = os.path.join(directory, name)
            inner = os.path.relpath(path, prefix)
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                paths[inner] = {"kind": "link", "to": os.readlink(path)}
            elif stat.S_ISDIR(state.st_mode):
                paths[inner] = {"kind": "directory", "mode": oct(state.st_mode & 0o7777)}
            else:
                with open(path, "rb") as file:
                    content = file.read()
                paths[inner] = {
                    "kind": "file",
                    "mode": oct(state.st_mode & 0o7777),
                    "runs": bool(state.st_mode & 0o100),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                }
                small = len(content) < 20000 and content.startswith(b"#!") or inner.endswith("/RECORD")
                if small or inner == "conda-meta/history":
                    paths[inner]["text"] = content.decode(errors="replace")
                inodes[state.st_ino].append(inner)
    for same in inodes.values():
        if len(same) > 1:
            for inner in same:
                paths[inner]["with"] = sorted(same)
    records = {}
    meta = os.path.join(prefix, "conda-meta")
    for name in sorted(os.listdir(meta)):
        if name.endswith(".json") and os.path.isfile(os.path.join(meta, name)):
            with open(os.path.join(meta, name)) as file:
                records[name] = json.load(file)
    with open(out, "w") as file:
        json.dump({"paths": paths, "records": records}, file)


class Differences:
    def __init__(self):
        self.count, self.example = collections.Counter(), {}

    def add(self, kind, *example):
        self.count[kind] += 1
        self.example.setdefault(kind, " ".join(str(part) for part in example)[:220])

    def show(self, allowed):
        unexpected = 0
        for kind, count in sorted(self.count.items()):
            row = next((row for pattern, row in allowed if re.fullmatch(pattern, kind)), None)
            unexpected += row is None
            example = f"  e.g. {self.example[kind]}" if row is None or os.environ.get("VERBOSE") else ""
            print(f"  {count:6} {kind}: {row or 'UNEXPECTED'}{example}")
        return unexpected


def kind_of(path, commands, tracked):
    if is_code(path) or path.endswith("__pycache__"):
        return "byte code"
    name = path.rsplit("/", 1)[-1]
    if ".dist-info/" in path and name in ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json"):
        return name
    if path.startswith("conda-meta/"):
        return "conda-meta"
    if path.startswith("__clobbers__") or path == "CACHEDIR.TAG":
        return path.split("/")[0]
    if path in commands:
        return "entry point"
    return "file" if path in tracked else "path of no package"


def is_code(path):
    return path.endswith(".pyc")


def compare_history(one, other, found):
    sides = [side.get("text", "").splitlines() for side in (one, other)]
    packages = [sorted(line.split("#")[0] for line in side if line[:1] in "+-") for side in sides]
    if packages[0] != packages[1]:
        found.add("history: packages", packages[0][:2], packages[1][:2])
    elif sides[0] != sides[1]:
        found.add("history: heading", sides[0][:3], sides[1][:3])


def compare_paths(ours, theirs, found, records):
    same = 0
    entries = [entry for record in records.values() for entry in record["paths_data"]["paths"]]
    commands = {entry["_path"] for entry in entries if entry["path_type"] == "unix_python_entry_point"}
    tracked = {path for record in records.values() for path in record["files"]}
    for path in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(path), theirs.get(path)
        what = kind_of(path, commands, tracked)
        if one is None or other is None:
            kind = (one or other)["kind"]
            found.add(f"{what}, {kind}: only {'theirs' if one is None else 'ours'}", path)
            continue
        if what == "conda-meta" and path.endswith(".json"):
            continue  # field by field, below
        if path == "conda-meta/history":
            compare_history(one, other, found)
            continue
        if what == "byte code" and one["kind"] == "file":
            same += 1
            continue
        before = sum(found.count.values())
        for field in ("kind", "to", "mode", "runs", "sha256", "with"):
            if one.get(field) != other.get(field):
                if field == "sha256" and what == "RECORD":
                    compare_record(path, one, other, found)
                else:
                    detail = one.get("text", ""), other.get("text", "")
                    kind = f" {one['kind']}" if field == "mode" else ""
                    found.add(f"{what}:{kind} {field}", path, one.get(field), other.get(field),
                              *(map(repr, detail) if field == "sha256" else ()))
        same += before == sum(found.count.values())
    return same


def compare_record(path, one, other, found):
    rows = [{row[0]: row[1:] for row in csv.reader(io.StringIO(side["text"])) if row} for side in (one, other)]
    before = sum(found.count.values())
    for name in sorted(rows[0].keys() | rows[1].keys()):
        a, b = rows[0].get(name), rows[1].get(name)
        kind = "byte code" if is_code(name) else name.rsplit("/", 1)[-1]
        kind = kind if kind in ("byte code", "INSTALLER", "RECORD", "REQUESTED", "direct_url.json") else "file"
        if a is None or b is None:
            found.add(f"RECORD, {kind}: only {'theirs' if a is None else 'ours'}", path, name, a or b)
        elif a != b:
            found.add(f"RECORD, {kind}: hash or size", path, name, a, b)
    if before == sum(found.count.values()):
        found.add("RECORD: form only", path, repr(one["text"][:80]), repr(other["text"][:80]))


def place(record, path):
    """Where a path of a noarch python package is in the prefix."""
    if record.get("noarch") == "python":
        if path.startswith("site-packages/"):
            return "lib/python3.11/" + path
        if path.startswith("python-scripts/"):
            return "bin/" + path[len("python-scripts/"):]
    return path


def compare_records(ours, theirs, found):
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.add(f"record of a package: only {'theirs' if name not in ours else 'ours'}", name)
            continue
        one, other = ours[name], theirs[name]
        for field in sorted(one.keys() | other.keys()):
            if field in ("paths_data", "files", "mlconda"):
                continue
            if field not in one or field not in other:
                found.add(f"field {field}: only {'theirs' if field not in one else 'ours'}", name)
            elif one[field] != other[field]:
                found.add(f"field {field}: differs", name, one[field], other[field])
        a, b = ([path for path in side["files"] if not is_code(path)] for side in (one, other))
        if sorted(a) != sorted(b):
            found.add("field files: paths differ", name, sorted(set(a) - set(b))[:3], sorted(set(b) - set(a))[:3])
        elif a != b:
            found.add("field files: order differs", name)
        code = {path for path in one["files"] if is_code(path)} ^ {path for path in other["files"] if is_code(path)}
        for path in sorted(code):
            found.add(f"field files: byte code only {'ours' if path in one['files'] else 'theirs'}", name, path)
        entries = [side["paths_data"]["paths"] for side in (one, other)]
        sides = [{place(other, entry["_path"]): entry for entry in side} for side in entries]
        for path in sorted(sides[0].keys() | sides[1].keys()):
            a, b = sides[0].get(path), sides[1].get(path)
            if a is None or b is None:
                kind = "byte code" if is_code(path) else (a or b)["path_type"]
                found.add(f"paths_data, {kind}: only {'theirs' if a is None else 'ours'}", name, path)
                continue
            kind = "byte code" if is_code(path) else b["path_type"]
            for field in sorted(a.keys() | b.keys()):
                if a.get(field) != b.get(field):
                    how = "only theirs" if field not in a else "only ours" if field not in b else "differs"
                    found.add(f"paths_data, {kind}, {field}: {how}", name, path, a.get(field), b.get(field))


# Differences with a reason, which docs/DESIGN.md gives; a kind that is in no row is a fault.
EVERY = [
    (r"field (link|extracted_package_dir|package_tarball_full_path): .*", "tells of the builder"),
    (r"field requested_specs?: .*", "only where somebody asked"),
    (r"field files: order differs", "sorted by path"),
    (r"field files: byte code only theirs|paths_data, byte code: only theirs", "of a module that two packages hold"),
    (r"conda-meta, file: only .*", "notes of one tool"),
    (r"path of no package: sha256", "written by a package's script"),
    (r"history: heading", "time and command"),
]
WHEELS = [
    (r"INSTALLER: sha256|RECORD, INSTALLER: hash or size", "who installed it"),
    (r"(RECORD, )?(REQUESTED|direct_url.json).*: only theirs", "the lock's lines are not what somebody asked for"),
    (r"path of no package: sha256|RECORD, file: hash or size", "the text of commands"),
    (r"RECORD: (file mode|runs)", "written anew"),
]
ALLOWED = {
    "conda": [
        (r"paths_data, (byte code|unix_python_entry_point), sha256(_in_prefix)?: only ours", "it has no hash of these"),
        (r"paths_data, byte code, size_in_bytes: differs", "conda's byte code names a relative path"),
        (r"paths_data, \w+, _path: differs", "the path in the prefix"),
    ],
    "pip": WHEELS,
    "uv": [
        (r"path of no package, file: only theirs", "`uv_cache.json`"),
        (r"RECORD, file: only theirs", "`uv_cache.json`"),
        *WHEELS,
    ],
    "rattler": [
        (r"byte code, .*: only ours|field files: byte code only ours|paths_data, byte code: only ours", "not compiled"),
        (r"field (arch|platform|package_type|constrains): only ours", "as the package has them, as conda does"),
        (r"field channel: differs", "with the subdir, as conda does"),
        (r"(__clobbers__|CACHEDIR.TAG).*: only theirs", "files of its own"),
        (r"field files: paths differ|paths_data, hardlink: only (ours|theirs)", "a path of two packages"),
        (r"entry point: .*|paths_data, unix_python_entry_point, .*", "another text; ours is conda's"),
        (r"paths_data, (byte code|hardlink), sha256_in_prefix: only ours", "conda has it, too"),
        (r"paths_data, hardlink, size_in_bytes: differs", "of the archive, as conda does"),
        (r"paths_data, softlink, sha256_in_prefix: only theirs", "conda compares it with what it leads to"),
        (r"history: packages", "it writes none"),
    ],
}


def compare(kind, ours, theirs):
    found = Differences()
    with open(ours) as one, open(theirs) as other:
        ours, theirs = json.load(one), json.load(other)
    same = compare_paths(ours["paths"], theirs["paths"], found, ours["records"])
    compare_records(ours["records"], theirs["records"], found)
    print(f"{kind}: {len(ours['paths'])} paths, {same} the same; {len(ours['records'])} records")
    sys.exit(1 if found.show(ALLOWED.get(kind, []) + EVERY) else 0)


def wheels(base, directory, out):
    pinned, listed = "", ""
    for name in sorted(os.listdir(directory)):
        if name.endswith(".whl"):
            with open(f"{directory}/{name}", "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            distribution = re.sub(r"[-_.]+", "-", name.split("-")[0]).lower()
            line = f"{distribution} @ file://{directory}/{name} --hash=sha256:{digest}\n"
            pinned, listed = f"{pinned}# pip {line}", listed + line
    with open(base) as file:
        text = file.read()
    with open(f"{out}/wheels.lock", "w") as file:
        file.write(text.replace("@EXPLICIT\n", f"{pinned}@EXPLICIT\n"))
    with open(f"{out}/requirements.txt", "w") as file:
        file.write(listed)
    print(f"{len(listed.splitlines())} wheels")


if __name__ == "__main__":
    commands = {"locks": locks, "rattler": rattler, "tree": tree, "compare": compare, "wheels": wheels}
    commands[sys.argv[1]](*sys.argv[2:])
