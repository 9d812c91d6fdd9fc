"""Packages and locks for `benches/wide.py`, made with the standard library and the program `zstd`."""

import hashlib
import io
import json
import os
import platform
import random
import subprocess
import tarfile
import zipfile

PLACEHOLDER = "/opt/placeholder" + "_placeholder" * 14
SUBDIR = "linux-aarch64" if platform.machine() == "aarch64" else "linux-64"
TIME = 1_700_000_000


def member(path, size=0, mode=0o644, link=None):
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size, mode, TIME
    if link is not None:
        info.type, info.linkname, info.size = tarfile.SYMTYPE, link, 0
    return info


def info_members(record, paths, noarch=None, entry_points=()):
    """The members of `info/`: the metadata of the package, and the list of its files."""
    listed = {"paths": paths, "paths_version": 1}
    texts = {"info/index.json": record, "info/paths.json": listed, "info/about.json": {}}
    if noarch == "python":
        points = {"type": "python", "entry_points": list(entry_points)}
        texts["info/link.json"] = {"noarch": points, "package_metadata_version": 1}
    return [(member(path, len(text)), text) for path, text in ((p, json.dumps(t).encode()) for p, t in texts.items())]


def tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for header, content in members:
            archive.addfile(header, io.BytesIO(content))
    return out.getvalue()


def zstd(content):
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


def conda(path, stem, info, package):
    """A `.conda`; `info` and `package` are compressed tars. `package` is bytes or the path of a file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("metadata.json", b'{"conda_pkg_format_version": 2}'), (f"info-{stem}.tar.zst", info)):
            archive.writestr(zipfile.ZipInfo(name), content)
        if isinstance(package, bytes):
            archive.writestr(zipfile.ZipInfo(f"pkg-{stem}.tar.zst"), package)
        else:
            archive.write(package, f"pkg-{stem}.tar.zst")


def digest(path):
    """The sha256 of a file, in hex. (`hashlib.file_digest` needs python 3.11.)"""
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()


class Channel:
    """A channel in a directory, and the lines of its packages in a lock."""

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.records = {SUBDIR: {}, "noarch": {}}
        self.lines = {}
        for subdir in self.records:
            os.makedirs(f"{self.directory}/{subdir}", exist_ok=True)

    def record(self, name, version, noarch=None, depends=()):
        subdir = "noarch" if noarch else SUBDIR
        record = {"name": name, "version": version, "build": "h0_0", "build_number": 0, "depends": list(depends)}
        record |= {"subdir": subdir, "timestamp": TIME * 1000, "license": "MIT"}
        return record | ({"noarch": noarch} if noarch else {})

    def add(self, name, version, files=(), links=(), *, noarch=None, depends=(), archive=".conda", entry_points=()):
        """A package: `files` are (path, content, kind, mode). A file with a kind has the placeholder in its content."""
        record = self.record(name, version, noarch, depends)
        paths, members = [], []
        for path, content, kind, mode in files:
            sha256 = hashlib.sha256(content).hexdigest()
            listed = {"_path": path, "path_type": "hardlink", "sha256": sha256, "size_in_bytes": len(content)}
            if kind:
                listed |= {"prefix_placeholder": PLACEHOLDER, "file_mode": kind}
            paths.append(listed)
            members.append((member(path, len(content), mode), content))
        for path, to in links:
            sha256 = hashlib.sha256(b"").hexdigest()
            paths.append({"_path": path, "path_type": "softlink", "sha256": sha256, "size_in_bytes": 0})
            members.append((member(path, link=to), b""))
        info = info_members(record, paths, noarch, entry_points)
        place, stem = self.place(record, archive)
        if archive == ".conda":
            conda(place, stem, zstd(tar(info)), zstd(tar(members)))
        else:
            with tarfile.open(place, "w:bz2", format=tarfile.GNU_FORMAT, compresslevel=1) as out:
                for header, content in info + members:
                    out.addfile(header, io.BytesIO(content))
        self.enter(record, place)

    def place(self, record, archive):
        stem = f"{record['name']}-{record['version']}-h0_0"
        return f"{self.directory}/{record['subdir']}/{stem}{archive}", stem

    def enter(self, record, place):
        """Adds a package whose archive exists to the repodata and the lines."""
        sha256, name = digest(place), os.path.basename(place)
        self.records[record["subdir"]][name] = record | {"sha256": sha256, "size": os.path.getsize(place)}
        self.lines[f"{record['name']}-{record['version']}"] = f"file://{place}#sha256:{sha256}"

    def write_repodata(self):
        for subdir, records in self.records.items():
            new = {name: record for name, record in records.items() if name.endswith(".conda")}
            old = {name: record for name, record in records.items() if not name.endswith(".conda")}
            repodata = {"info": {"subdir": subdir}, "packages": old, "packages.conda": new, "repodata_version": 1}
            with open(f"{self.directory}/{subdir}/repodata.json", "w") as file:
                json.dump(repodata, file)

    def lock(self, path, packages, before=()):
        """Writes a lock with the lines `before`, and then these packages."""
        with open(path, "w") as file:
            lines = [*before, *(self.lines[package] for package in packages)]
            file.write(f"# platform: {SUBDIR}\n@EXPLICIT\n" + "\n".join(lines) + "\n")


def text(path, content, kind=None, mode=0o644):
    return (path, content.encode(), kind, mode)


PREFIX_TEXT = f"#!/bin/sh\nexec {PLACEHOLDER}/bin/none\n"
SCRIPT = "#!/bin/sh\nmkdir -p $PREFIX/share/after\necho made >$PREFIX/share/after/made\n"


def varied(channel, *, python):
    """Packages with clashes, links, shared files, the prefix in files, and a script; most small, one of middle size."""
    if python:
        versioned = [text("bin/python3.11", PREFIX_TEXT, "text", 0o755), text("lib/python3.11/os.py", "\n")]
        channel.add("python", "3.11.0", versioned, [("bin/python", "python3.11")])
    channel.add("zone", "1", [text(f"share/zone/{n}", f"zone {n}\n" * 20) for n in range(40)], noarch="generic")
    for version in ("1", "2"):
        modules = [text(f"site-packages/greet/m{n}.py", f"VALUE = '{version}.{n}'\n") for n in range(30)]
        modules.append(text("site-packages/greet/__init__.py", "def main():\n    print('hello')\n"))
        channel.add("greet", version, modules, noarch="python", depends=["python"], entry_points=["greet = greet:main"])
        binary = b"\x7fnot ELF\0" + PLACEHOLDER.encode() + b"/lib\0" + bytes(range(256)) * int(version) * 50
        channel.add("words", version, [
            text("bin/words", PREFIX_TEXT + version, "text", 0o755),
            ("lib/libwords.so", binary, "binary", 0o755),
            text("etc/words.conf", f"at = {PLACEHOLDER}/share\nversion = {version}\n", "text"),
        ], archive=".tar.bz2")
        shared = [text("share/shared/both", f"of left {version}\n"), text(f"share/left/{version}", "left\n")]
        channel.add("left", version, shared, [("share/left/link", "../shared/both"), ("share/way", "left")])
        after = [text("bin/.after-post-link.sh", SCRIPT, None, 0o755), text("share/after/own", version)]
        channel.add("after", version, after)
        big = random.Random(f"big {version}").randbytes(6_000_000)
        files = [text(f"lib/middle/{n % 20}/{n}.dat", f"{version if n % 3 else ''} {n}\n" * (n % 40)) for n in range(900)]
        channel.add("middle", version, [*files, ("lib/middle/big.bin", big, None, 0o755)],
                    [("lib/middle/first", "0/0.dat"), ("lib/middle/directory", "1")])
    channel.add("right", "1", [text("share/shared/both", "of right\n"), text("share/way/right", "through a link\n")])
    channel.add("goes", "1", [text(f"share/goes/{n}/file", f"{n}\n") for n in range(50)])
    channel.add("comes", "1", [text(f"share/comes/{n}/file", f"{n}\n") for n in range(50)], archive=".tar.bz2")
    channel.add("more", "1", [text(f"lib/more/{n}", f"{n}\n") for n in range(200)])
    channel.write_repodata()


LOCKS = {
    "a": "zone-1 greet-1 words-1 left-1 after-1 middle-1 goes-1",
    "b": "zone-1 greet-2 words-2 left-2 right-1 after-2 middle-2 comes-1",
    "c": "zone-1 greet-1 words-1 left-1 after-1 middle-1 goes-1 comes-1 more-1",
    "d": "zone-1 words-1 after-1 goes-1",
}
