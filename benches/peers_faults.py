"""Checks that the comparison finds faults: they are planted in mlconda's result one by one, and each must be found."""

import hashlib
import json

import peers_compare
from peers_reasons import REASONS


def paths(known, is_meant):
    return [path for path, entry in sorted(known["paths"].items()) if is_meant(path, entry)]


def change(is_meant, edit):
    """A fault that edits the first path that fits."""

    def plant(known):
        path = paths(known, is_meant)[0]
        known["paths"][path] = dict(known["paths"][path])
        edit(known["paths"][path])
        return path

    return plant


def rewrite(name, edit):
    """A fault that edits the text of a wheel's file with this name."""

    def put(entry):
        text = edit(entry["text"])
        assert text != entry["text"]
        entry.update(text=text, sha256=hashlib.sha256(text.encode()).hexdigest(), size=len(text.encode()))

    return change(lambda path, entry: path.endswith(f".dist-info/{name}") and path.count("/") == 4, put)


def lose(is_meant):
    def plant(known):
        path = paths(known, is_meant)[0]
        del known["paths"][path]
        return path

    return plant


def add(path, entry):
    return lambda known: known["paths"].setdefault(path, entry) and path


def edit_record(end, edit):
    def plant(known):
        name = next(name for name, record in known["records"].items() if name.endswith(end) and record["files"])
        known["records"][name] = json.loads(json.dumps(known["records"][name]))
        edit(known["records"][name])
        return name

    return plant


def is_module(path, entry):
    return path.endswith(".py") and "/site-packages/" in path and entry["kind"] == "file"


def is_code(path, entry):
    return path.endswith(".pyc") and "code" in entry and "/site-packages/" in path


def is_command(path, entry):
    return path.startswith("bin/") and entry.get("calls")


def is_link(path, entry):
    return entry["kind"] == "link"


def without_row(text):
    return "".join(text.splitlines(keepends=True)[1:])


def other_hash(text):
    head, _, rest = text.partition(",sha256=")
    return f"{head},sha256={'b' if rest[0] == 'a' else 'a'}{rest[1:]}"


EMPTY = {"kind": "file", "mode": "0o644", "sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
SITE = "lib/python3.11/site-packages"
ANY = {
    "another module": change(is_module, lambda entry: entry.update(sha256="0" * 64)),
    "another mode": change(is_module, lambda entry: entry.update(mode="0o600")),
    "a module that lacks": lose(is_module),
    "a file of nobody beside modules": add(f"{SITE}/stray.py", EMPTY),
    "a file of nobody among commands": add("bin/stray", EMPTY),
    "a directory of nobody": add("share/stray", {"kind": "directory", "mode": "0o755"}),
    "a link to elsewhere": change(is_link, lambda entry: entry.update(to="elsewhere")),
    "a command that lacks": lose(is_command),
    "a command that calls another function": change(
        is_command, lambda entry: entry.update(sha256="0" * 64, calls=[*entry["calls"][:2], "sys.exit(other())"])
    ),
    "a hash in a record": edit_record(
        ".json", lambda record: next(
            entry for entry in record["paths_data"]["paths"] if "sha256_in_prefix" in entry
        ).update(sha256_in_prefix="0" * 64)
    ),
    "a path that a record lacks": edit_record(".json", lambda record: record["files"].pop()),
    "another version in a record": edit_record(".json", lambda record: record.update(version="0")),
}
COMPILED = {
    "other byte code": change(is_code, lambda entry: entry.update(sha256="0" * 64, code="0" * 64)),
    "byte code that holds for another module": change(is_code, lambda entry: entry.update(holds=False)),
    "byte code that is checked otherwise": change(is_code, lambda entry: entry.update({"checked by": "nothing"})),
    "byte code that names another file": change(is_code, lambda entry: entry.update(names=["elsewhere.py"])),
    "byte code that lacks": lose(is_code),
}
LISTED = {
    "a row that RECORD lacks": rewrite("RECORD", without_row),
    "another hash in RECORD": rewrite("RECORD", other_hash),
    "INSTALLER of another": rewrite("INSTALLER", lambda text: "other\n"),
    "another URL": rewrite("direct_url.json", lambda text: text.replace("file://", "file:///elsewhere")),
    "no mark of what was asked for": lose(lambda path, entry: path.endswith(".dist-info/REQUESTED")),
    "a path that the record of a wheel lacks": edit_record(".pip", lambda record: record["files"].pop()),
}


def unseen(installer, ours, theirs):
    """The number of faults that are not found. py-rattler compiles nothing, and only wheels have lists by mlconda."""
    faults = {**ANY, **({} if installer == "rattler" else COMPILED), **(LISTED if installer in ("pip", "uv") else {})}
    reasons, theirs = REASONS[installer], peers_compare.Side(theirs)
    before = peers_compare.differences(installer, peers_compare.Side(ours), theirs)[0].unexpected(reasons)
    missed = []
    for name, plant in faults.items():
        known = {**ours, "paths": dict(ours["paths"]), "records": dict(ours["records"])}
        where = plant(known)
        after = peers_compare.differences(installer, peers_compare.Side(known), theirs)[0].unexpected(reasons)
        if after == before:
            missed.append(f"{name} ({where})")
    print(f"  of {len(faults)} faults that were planted, {len(faults) - len(missed)} were seen")
    for fault in missed:
        print(f"  UNSEEN: {fault}")
    return len(missed)
