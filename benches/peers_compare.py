"""The differences between two prefixes that `peers_tree` has described. Only the differences of `peers_reasons` are
accepted; any other is a fault of one of the tools."""

import base64
import collections
import fnmatch
import json
import os
import posixpath
import sys

import peers_faults
from peers_reasons import REASONS, check_reasons
from peers_tree import rows

NOTES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json")
INSTALLERS = {"pip": "pip", "uv": "uv"}


class Differences:
    def __init__(self):
        self.count, self.example = collections.Counter(), {}

    def add(self, kind, *example):
        self.count[kind] += 1
        self.example.setdefault(kind, " ".join(str(part) for part in example)[:300])

    def unexpected(self, reasons):
        return {kind: count for kind, count in self.count.items() if kind not in reasons}

    def show(self, reasons):
        unexpected = 0
        for kind, count in sorted(self.count.items()):
            reason = reasons.get(kind)
            unexpected += reason is None
            example = f"\n           {self.example[kind]}" if reason is None or os.environ.get("VERBOSE") else ""
            print(f"  {count:6} {kind}: {reason or 'UNEXPECTED'}{example}")
        return unexpected


class Side:
    """A prefix and its records."""

    def __init__(self, known):
        self.prefix, self.paths = known["prefix"], known["paths"]
        self.packages = {name: record for name, record in known["records"].items() if name.endswith(".json")}
        self.records = known["records"]
        self.holders = collections.Counter(
            path for record in self.records.values() for path in set(record["files"])
        )
        self.commands = {
            entry["_path"]
            for record in self.packages.values()
            for entry in record["paths_data"]["paths"]
            if entry["path_type"] == "unix_python_entry_point"
        }
        for path, entry in self.paths.items():
            if path.endswith(".dist-info/entry_points.txt") and "text" in entry:
                self.commands.update(f"bin/{name}" for name in command_names(entry["text"]))


def command_names(text):
    section = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif "=" in line and not line.startswith("#") and section in ("console_scripts", "gui_scripts"):
            yield line.split("=")[0].strip()


def kind_of(path, commands=()):
    """The kind of a path. Names are exact: a path without one of these names is an ordinary file."""
    if path.endswith(".pyc"):
        return "byte code"
    if path.endswith("__pycache__"):
        return "directory of byte code"
    if fnmatch.fnmatchcase(path, "lib/python*/site-packages/*.dist-info/*") and path.count("/") == 4:
        name = path.rsplit("/", 1)[-1]
        return name if name in NOTES else "file"
    if path.startswith("conda-meta/"):
        name = path[len("conda-meta/"):]
        return f"conda-meta/*{os.path.splitext(name)[1]}" if name.endswith((".json", ".pip")) else path
    if path.startswith("var/cache/fontconfig/"):
        return "var/cache/fontconfig/*"
    if path == "__clobbers__" or path.startswith("__clobbers__/"):
        return "__clobbers__"
    if path == "CACHEDIR.TAG":
        return path
    return "command" if path in commands else "file"


def compare(installer, ours, theirs):
    check_reasons()
    with open(ours) as one, open(theirs) as other:
        ours, theirs = json.load(one), json.load(other)
    found, same = differences(installer, Side(ours), Side(theirs))
    packages = len([name for name in ours["records"] if name.endswith(".json")])
    wheels = len(ours["records"]) - packages
    print(f"{installer}: {len(ours['paths'])} paths, {same} the same; {packages} packages, {wheels} wheels")
    unexpected = found.show(REASONS[installer])
    unseen = peers_faults.unseen(installer, ours, theirs)
    sys.exit(1 if unexpected or unseen else 0)


def differences(installer, ours, theirs):
    """The differences, and the number of paths that are the same."""
    found = Differences()
    check_records(ours, found)
    of_wheels = {path for name, record in ours.records.items() if name.endswith(".pip") for path in record["files"]}
    for who, side in (("ours", ours), ("theirs", theirs)):
        check_lists(who, side, of_wheels, found)
    same = compare_paths(installer, ours, theirs, found)
    compare_records(ours, theirs, found)
    return found, same


def check_records(ours, found):
    """Checks that each file is in a record of mlconda, and matches the record."""
    hashes = collections.defaultdict(set)
    for record in ours.records.values():
        for entry in record["paths_data"]["paths"]:
            if "sha256_in_prefix" in entry:
                hashes[entry["_path"]].add(entry["sha256_in_prefix"])
        listed = {entry["_path"] for entry in record["paths_data"]["paths"] if entry["path_type"] != "directory"}
        if listed != set(record["files"]):
            found.add("our record: `files` and `paths_data` differ", record["name"], listed ^ set(record["files"]))
    for path, entry in ours.paths.items():
        if entry["kind"] == "directory":
            continue
        if path not in ours.holders:
            if not path.startswith("conda-meta/"):
                found.add(f"{kind_of(path)}: in no record of ours", path)
        elif entry["kind"] == "file" and entry["sha256"] not in hashes[path]:
            found.add("our record: another hash", path, entry["sha256"], hashes[path])
    for path in ours.holders.keys() - ours.paths.keys():
        found.add("our record: no such path", path)


def check_lists(who, side, of_wheels, found):
    """Checks that each row of a wheel's `RECORD` is true, and that it lists the same files as mlconda's record."""
    site_of = {}
    for path, entry in side.paths.items():
        if path not in of_wheels or kind_of(path) != "RECORD" or "text" not in entry:
            continue
        site = site_of[path] = posixpath.dirname(posixpath.dirname(path))
        for name, (digest, size) in rows(entry["text"]).items():
            target = place(site, name, side.prefix)
            there = side.paths.get(target)
            if there is None:
                found.add(f"RECORD of {who}: {kind_of(target)} is not there", path, name)
            elif digest and (digest != f"sha256={urlsafe(there)}" or size != str(there.get("size"))):
                found.add(f"RECORD of {who}: {kind_of(target, side.commands)} is another", path, name, digest, size)
    for name, record in side.records.items():
        if name.endswith(".pip"):
            lists = [path for path in record["files"] if path in site_of]
            found_rows = ((path, row) for path in lists for row in rows(side.paths[path]["text"]))
            listed = {place(site_of[path], row, side.prefix) for path, row in found_rows}
            if len(lists) != 1 or listed != set(record["files"]):
                found.add("our record: not what RECORD has", name, lists, sorted(listed ^ set(record["files"]))[:3])


def place(site, name, prefix):
    path = name if name.startswith("/") else posixpath.join(prefix, site, name)
    return posixpath.relpath(posixpath.normpath(path), prefix)


def urlsafe(entry):
    digest = bytes.fromhex(entry["sha256"]) if "sha256" in entry else b""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def compare_paths(installer, ours, theirs, found):
    same, commands = 0, ours.commands | theirs.commands
    for path in sorted(ours.paths.keys() | theirs.paths.keys()):
        one, other = ours.paths.get(path), theirs.paths.get(path)
        what = kind_of(path, commands)
        before = sum(found.count.values())
        if one is None or other is None:
            found.add(f"{what}: only {'theirs' if one is None else 'ours'}", path)
            continue
        for field in ("kind", "to", "mode", "with"):
            if one.get(field) != other.get(field):
                found.add(f"{what}: {field}", path, one.get(field), other.get(field))
        if one["kind"] == other["kind"] == "file" and what != "conda-meta/*.json":
            compare_files(installer, path, what, (ours, theirs), found)
        same += before == sum(found.count.values())
    return same


def compare_files(installer, path, what, sides, found):
    ours, theirs = sides
    one, other = ours.paths[path], theirs.paths[path]
    if what == "byte code" and "code" in one and "code" in other:
        compare_code(path, sides, found)
    if one["sha256"] == other["sha256"]:
        return
    if what == "byte code" and "code" in one and "code" in other:
        return
    if what == "command" and one.get("calls") and one["calls"] == other.get("calls"):
        found.add("command: another text for the same call", path, repr(one["text"]), repr(other["text"]))
    elif what == "RECORD":
        compare_lists(path, sides, found)
    elif what == "INSTALLER" and (one["text"].strip(), other["text"].strip()) == ("mlconda", INSTALLERS.get(installer)):
        found.add("INSTALLER: each its own", path)
    elif what == "direct_url.json":
        compare_origins(path, one, other, found)
    elif what == "conda-meta/history":
        compare_history(one, other, found)
    else:
        found.add(f"{what}: content", path, repr(one.get("text", "")), repr(other.get("text", "")))


def compare_code(path, sides, found):
    ours, theirs = sides
    one, other = ours.paths[path], theirs.paths[path]
    for field in ("code", "checked by", "holds"):
        if one[field] != other[field]:
            found.add(f"byte code: {field}", path, one[field], other[field])
    if one["sha256"] != other["sha256"] and one["holds"] is False:
        found.add("byte code: not of the module that is there", path)
    if one["names"] != other["names"]:
        relative = [name.removeprefix(f"{ours.prefix}/") for name in one["names"]]
        known = "the path from the prefix on" if relative == other["names"] else "another path"
        found.add(f"byte code: names {known}", path, one["names"], other["names"])


def compare_lists(path, sides, found):
    ours, theirs = sides
    texts = [side.paths[path]["text"] for side in sides]
    lists = [rows(text) for text in texts]
    before = sum(found.count.values())
    for text, rows_of in zip(texts, lists):
        if len(rows_of) != len([line for line in text.splitlines() if line.strip()]):
            found.add("RECORD: a row twice", path)
    for name in sorted(lists[0].keys() | lists[1].keys()):
        a, b = lists[0].get(name), lists[1].get(name)
        what = kind_of(place(posixpath.dirname(posixpath.dirname(path)), name, ours.prefix), ours.commands)
        if a is None or b is None:
            found.add(f"RECORD, row of {what}: only {'theirs' if a is None else 'ours'}", path, name, a or b)
        elif a != b:
            found.add(f"RECORD, row of {what}: differs", path, name, a, b)
    if before == sum(found.count.values()):
        found.add("RECORD: the same rows in another form", path, repr(texts[0][:80]), repr(texts[1][:80]))


def compare_origins(path, one, other, found):
    a, b = json.loads(one["text"]), json.loads(other["text"])
    if a == b:
        found.add("direct_url.json: the same in another form", path, one["text"], other["text"])
    elif {**a, "archive_info": None} == {**b, "archive_info": None} and b["archive_info"] == {}:
        found.add("direct_url.json: hash only ours", path, one["text"], other["text"])
    else:
        found.add("direct_url.json: content", path, one["text"], other["text"])


def compare_history(one, other, found):
    sides = [side["text"].splitlines() for side in (one, other)]
    packages = [sorted(line.split("#")[0] for line in side if line[:1] in "+-") for side in sides]
    if packages[0] != packages[1]:
        none = "none of theirs" if not packages[1] else "differ"
        found.add(f"history: packages, {none}", packages[0][:2], packages[1][:2])
    else:
        found.add("history: heading", sides[0][:3], sides[1][:3])


def in_prefix(record, path):
    """The path in the prefix of a path of a noarch python package."""
    if record.get("noarch") == "python":
        if path.startswith("site-packages/"):
            return "lib/python3.11/" + path
        if path.startswith("python-scripts/"):
            return "bin/" + path[len("python-scripts/"):]
    return path


def compare_records(ours, theirs, found):
    for name in sorted(ours.packages.keys() | theirs.packages.keys()):
        if name not in ours.packages or name not in theirs.packages:
            found.add(f"record of a package: only {'theirs' if name not in ours.packages else 'ours'}", name)
            continue
        one, other = ours.packages[name], theirs.packages[name]
        for field in sorted((one.keys() | other.keys()) - {"paths_data", "files"}):
            if field not in one or field not in other:
                found.add(f"field {field}: only {'theirs' if field not in one else 'ours'}", name)
            elif one[field] != other[field]:
                found.add(f"field {field}: differs", name, one[field], other[field])
        compare_file_lists(name, one, other, ours, found)
        compare_entries(name, one, other, ours, found)


def shared(path, ours):
    """Whether two packages have this path, or the module of this byte code."""
    directory, name = posixpath.split(path)
    module = posixpath.join(posixpath.dirname(directory), f"{name.split('.')[0]}.py")
    return ours.holders[path] > 1 or path.endswith(".pyc") and ours.holders[module] > 1


def compare_file_lists(name, one, other, ours, found):
    a, b = one["files"], other["files"]
    for path in sorted(set(a) ^ set(b)):
        who, of = "ours" if path in a else "theirs", " of two packages" if shared(path, ours) else ""
        what = "byte code" if path.endswith(".pyc") else "__clobbers__" if path.startswith("__clobbers__/") else "path"
        found.add(f"field files: {what}{of}, only {who}", name, path)
    if sorted(a) == sorted(b) != b:
        found.add("field files: order", name)


def compare_entries(name, one, other, ours, found):
    entries = [side["paths_data"]["paths"] for side in (one, other)]
    sides = [{in_prefix(other, entry["_path"]): entry for entry in side} for side in entries]
    for path in sorted(sides[0].keys() | sides[1].keys()):
        a, b = sides[0].get(path), sides[1].get(path)
        kind = "byte code" if path.endswith(".pyc") else (b or a)["path_type"]
        of = " of two packages" if shared(path, ours) else ""
        if a is None or b is None:
            kind = "__clobbers__" if path.startswith("__clobbers__/") else kind
            found.add(f"paths_data, {kind}{of}: only {'theirs' if a is None else 'ours'}", name, path)
            continue
        for field in sorted(a.keys() | b.keys()):
            if a.get(field) != b.get(field):
                how = "only theirs" if field not in a else "only ours" if field not in b else "differs"
                found.add(f"paths_data, {kind}, {field}: {how}", name, path, a.get(field), b.get(field))
