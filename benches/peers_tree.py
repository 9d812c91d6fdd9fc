"""Describes a prefix in a file, so that two prefixes that were at the same path can be compared. The file has all paths
with their contents, modes, links and hard links, the records, the rows of each `RECORD`, the code in byte code, and the
functions that commands call."""

import ast
import collections
import csv
import hashlib
import importlib.util
import io
import json
import marshal
import os
import stat
import types

# Texts whose meaning is compared, and not only their bytes.
TEXTS = ("INSTALLER", "RECORD", "direct_url.json", "uv_cache.json", "entry_points.txt")


def tree(prefix, out):
    paths, inodes = {}, collections.defaultdict(list)
    for directory, below, files in os.walk(prefix):
        for name in below + files:
            path = os.path.join(directory, name)
            inner, state = os.path.relpath(path, prefix), os.lstat(path)
            mode = oct(state.st_mode & 0o7777)
            if stat.S_ISLNK(state.st_mode):
                paths[inner] = {"kind": "link", "to": os.readlink(path)}
            elif stat.S_ISDIR(state.st_mode):
                paths[inner] = {"kind": "directory", "mode": mode}
            elif stat.S_ISREG(state.st_mode):
                paths[inner] = {"kind": "file", "mode": mode, **file(prefix, inner, path)}
                inodes[state.st_ino].append(inner)
            else:
                paths[inner] = {"kind": f"special {stat.S_IFMT(state.st_mode):o}", "mode": mode}
    for same in inodes.values():
        if len(same) > 1:
            for inner in same:
                paths[inner]["with"] = sorted(same)
    records, meta = {}, os.path.join(prefix, "conda-meta")
    for name in sorted(os.listdir(meta)):
        if name.endswith((".json", ".pip")) and os.path.isfile(os.path.join(meta, name)):
            with open(os.path.join(meta, name)) as record:
                records[name] = json.load(record)
    with open(out, "w") as written:
        json.dump({"prefix": prefix, "paths": paths, "records": records}, written)


def file(prefix, inner, path):
    with open(path, "rb") as opened:
        content = opened.read()
    known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    if inner.endswith(".pyc"):
        known.update(byte_code(path, content))
    elif inner == "conda-meta/history" or ".dist-info/" in inner and inner.rsplit("/", 1)[-1] in TEXTS:
        known["text"] = content.decode(errors="replace")
    elif content.startswith(b"#!") and len(content) < 20000:
        known["text"] = content.decode(errors="replace")
        known["calls"] = calls(prefix, known["text"])
    return known


def byte_code(path, content):
    """The header of byte code, whether it matches the module beside it, and a digest of the code without names of
    files. Nothing for byte code of another python, of which only the bytes are compared."""
    flags = int.from_bytes(content[4:8], "little")
    if content[:4] != importlib.util.MAGIC_NUMBER or flags not in (0, 1, 3):
        return {}
    try:
        source = importlib.util.source_from_cache(path)
    except ValueError:
        source = path[:-1]
    holds = None
    if os.path.isfile(source):
        state = os.stat(source)
        expected = b"".join((int(part) & 0xFFFFFFFF).to_bytes(4, "little") for part in (state.st_mtime, state.st_size))
        if flags:
            with open(source, "rb") as module:
                expected = importlib.util.source_hash(module.read())
        holds = expected == content[8:16]
    names = set()
    digest = hashlib.sha256(repr(constant(marshal.loads(content[16:]), names)).encode(errors="surrogatepass"))
    kind = {0: "time", 1: "hash", 3: "checked hash"}[flags]
    return {"code": digest.hexdigest(), "checked by": kind, "holds": holds, "names": sorted(names)}


def constant(value, names):
    """A form of a constant that is different for different constants: `1`, `1.0` and `True` differ, and so do zeros."""
    if isinstance(value, types.CodeType):
        names.add(value.co_filename)
        fields = sorted(name for name in dir(value) if name.startswith("co_"))
        fields = [name for name in fields if name not in ("co_filename", "co_lines", "co_positions", "co_lnotab")]
        return "code", [(name, constant(getattr(value, name), names)) for name in fields]
    if isinstance(value, tuple):
        return "tuple", [constant(item, names) for item in value]
    if isinstance(value, frozenset):
        return "frozenset", sorted((constant(item, names) for item in value), key=repr)
    return type(value).__name__, repr(value)


def calls(prefix, text):
    """The interpreter, the import and the call of a command that does nothing but call a function; else `None`."""
    first, _, rest = text.partition("\n")
    words = first[2:].split()
    if rest.startswith("'''exec' "):
        # If a path is too long for the first line, it is in the second line.
        words, rest = rest.split()[1:2], rest.partition("\n")[2].removeprefix("' '''\n")
    try:
        parsed = ast.parse(rest).body
    except SyntaxError:
        return None
    imports = [ast.unparse(part) for part in parsed if isinstance(part, ast.ImportFrom)]
    ends = [part for part in parsed if isinstance(part, ast.If)]
    others = {ast.unparse(part) for part in parsed if not isinstance(part, (ast.If, ast.ImportFrom))}
    if [len(words), len(imports), len(ends)] != [1, 1, 1] or not others <= {"import re", "import sys"}:
        return None
    if ast.unparse(ends[0].test) != "__name__ == '__main__'" or ends[0].orelse:
        return None
    *before, last = map(ast.unparse, ends[0].body)
    if not all(text.startswith(("sys.argv[0] = ", "if sys.argv[0].endswith(")) for text in before):
        return None
    python = os.path.relpath(os.path.realpath(words[0]), os.path.realpath(prefix))
    return [python, imports[0], last]


def rows(text):
    """The rows of a `RECORD`: path to hash and size."""
    return {row[0]: row[1:] for row in csv.reader(io.StringIO(text)) if row}
