"""The intended differences, by their exact kinds. Each has a row in "What is in a record?" in docs/DESIGN.md, with the
reason. A missing row is an error, and so is any other difference."""

import os
import re
import sys

DESIGN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "DESIGN.md")

BUILDER = "no `extracted_package_dir` and `package_tarball_full_path`; `link` has an empty `source` and type 3"
ASKED = "`requested_specs` only where somebody asked, as written; `[]` else"
HASHES = "byte code and commands have hashes"
WHOLE_PATH = "byte code names the whole path of its module"
LISTED_ONCE = "byte code of a module that two packages hold is listed once, by the one whose module is there"
PATH_IN_PREFIX = "`_path` of a noarch python package is the path in the prefix"
SORTED = "`files` sorted by path"
SCRIPTS = "what a package's script writes is in no record"
MARK = "`conda-meta/activation.mlconda`"
CONDA = {
    "field extracted_package_dir: only theirs": BUILDER,
    "field package_tarball_full_path: only theirs": BUILDER,
    "field link: differs": BUILDER,
    "field requested_spec: only theirs": ASKED,
    "field requested_specs: differs": ASKED,
    "field mlconda: only ours": "`mlconda`",
    "field files: order": SORTED,
    "field files: byte code of two packages, only theirs": LISTED_ONCE,
    "paths_data, byte code of two packages: only theirs": LISTED_ONCE,
    "paths_data, byte code, sha256: only ours": HASHES,
    "paths_data, byte code, sha256_in_prefix: only ours": HASHES,
    "paths_data, unix_python_entry_point, sha256: only ours": HASHES,
    "paths_data, unix_python_entry_point, sha256_in_prefix: only ours": HASHES,
    "paths_data, hardlink, _path: differs": PATH_IN_PREFIX,
    "byte code: names the path from the prefix on": WHOLE_PATH,
    "paths_data, byte code, size_in_bytes: differs": WHOLE_PATH,
    "conda-meta/activation.mlconda: only ours": MARK,
    "conda-meta/created_at: only theirs": MARK,
    "history: heading": "the history has the time of all, and the verb alone of its command",
    "var/cache/fontconfig/*: content": SCRIPTS,
    "var/cache/fontconfig/*: in no record of ours": SCRIPTS,
}

COMPILED = "noarch modules are compiled"
COMMANDS = "commands of noarch python packages are conda's"
LAST_WINS = "of a path that two packages hold, the last file wins, and both records list it"
AS_PACKAGE = (
    "`channel` with the subdir; `arch`, `platform` and `package_type` as the package has them; empty `constrains`"
)
IN_PREFIX = "`sha256_in_prefix` of each file, none of a soft link; `size_in_bytes` as the package says it"
RATTLER = {
    "field extracted_package_dir: only theirs": BUILDER,
    "field link: differs": BUILDER,
    "field mlconda: only ours": "`mlconda`",
    "field files: order": SORTED,
    "conda-meta/activation.mlconda: only ours": MARK,
    "var/cache/fontconfig/*: content": SCRIPTS,
    "var/cache/fontconfig/*: in no record of ours": SCRIPTS,
    "byte code: only ours": COMPILED,
    "directory of byte code: only ours": COMPILED,
    "field files: byte code, only ours": COMPILED,
    "field files: byte code of two packages, only ours": COMPILED,
    "paths_data, byte code: only ours": COMPILED,
    "paths_data, byte code of two packages: only ours": COMPILED,
    "command: another text for the same call": COMMANDS,
    "command: mode": COMMANDS,
    "paths_data, unix_python_entry_point, sha256: differs": COMMANDS,
    "paths_data, unix_python_entry_point, size_in_bytes: differs": COMMANDS,
    "__clobbers__: only theirs": LAST_WINS,
    "field files: __clobbers__, only theirs": LAST_WINS,
    "field files: path of two packages, only ours": LAST_WINS,
    "paths_data, __clobbers__: only theirs": LAST_WINS,
    "paths_data, hardlink of two packages: only ours": LAST_WINS,
    "field arch: only ours": AS_PACKAGE,
    "field channel: differs": AS_PACKAGE,
    "field constrains: only ours": AS_PACKAGE,
    "field package_type: only ours": AS_PACKAGE,
    "field platform: only ours": AS_PACKAGE,
    "paths_data, byte code, sha256_in_prefix: only ours": IN_PREFIX,
    "paths_data, hardlink, sha256_in_prefix: only ours": IN_PREFIX,
    "paths_data, unix_python_entry_point, sha256_in_prefix: only ours": IN_PREFIX,
    "paths_data, hardlink, size_in_bytes: differs": IN_PREFIX,
    "paths_data, softlink, sha256_in_prefix: only theirs": IN_PREFIX,
    "conda-meta/*.json: mode": "records have mode 644",
    "history: packages, none of theirs": "a history",
    "CACHEDIR.TAG: only theirs": "nothing beside the packages",
}

INSTALLER = "`INSTALLER` says mlconda"
CALLS = "commands are those of conda"
ORIGIN = "`direct_url.json` has the archive's hash, and no spaces"
CACHE = "no `uv_cache.json`"
WHEELS = {
    "INSTALLER: each its own": INSTALLER,
    "RECORD, row of INSTALLER: differs": INSTALLER,
    "command: another text for the same call": CALLS,
    "RECORD, row of command: differs": CALLS,
    "RECORD, row of direct_url.json: differs": ORIGIN,
    "conda-meta/*.pip: only ours": "a record of each wheel",
}
PIP = {**WHEELS, "direct_url.json: the same in another form": ORIGIN}
UV = {
    **WHEELS,
    "direct_url.json: hash only ours": ORIGIN,
    "RECORD, row of byte code: only ours": "byte code stands in `RECORD`",
    "RECORD: mode": "`RECORD` has mode 644",
    "RECORD, row of uv_cache.json: only theirs": CACHE,
    "uv_cache.json: only theirs": CACHE,
}
REASONS = {"conda": CONDA, "rattler": RATTLER, "pip": PIP, "uv": UV}


def check_reasons():
    with open(DESIGN) as file:
        section = re.search(r"\n### What is in a record\?\n(.*?)\n### ", file.read(), re.DOTALL)[1]
    rows = {" ".join(row.split()) for row in re.findall(r"^- \*\*(.*?)\*\*", section, re.DOTALL | re.MULTILINE)}
    missing = {reason for reasons in REASONS.values() for reason in reasons.values()} - rows
    if missing:
        sys.exit(f"docs/DESIGN.md has no row for: {'; '.join(sorted(missing))}")
