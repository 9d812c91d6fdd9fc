"""The python part of `benches/power`. It runs in a directory that has only the directories `home`, `mnt` and `fuse`."""

import collections
import os
import random
import shutil
import subprocess
import sys
import time

import power_disk
import wide_packages
from wide import World, difference, fail, remove, tree

CUTS = int(os.environ.get("MLCONDA_BENCH_CUTS", "50"))
SEED = int(os.environ.get("MLCONDA_BENCH_SEED", "1"))
SYNC = os.environ.get("MLCONDA_BENCH_SYNC", "1") != "0"

# How to make a file system, how to mount it, and the size of its disk in bytes.
SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], [], 256 << 20),
    "xfs": (["mkfs.xfs", "-q", "-f"], [], 320 << 20),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], [], 320 << 20),
}

# The kinds of change: the lock that was installed before, the new one, and whether the prefix is a link, which cannot
# be swapped.
CHANGES = {
    "installation": (None, "b", False),
    "update, swapped": ("a", "b", False),
    "update, in place": ("a", "b", True),
    "removal": ("c", "d", False),
    "installation without scripts": (None, "b-plain", False),
    "update without scripts, swapped": ("a-plain", "b-plain", False),
    "update without scripts, in place": ("a-plain", "b-plain", True),
    "addition": ("a-plain", "c-plain", False),
}

# Scripts that run before and after the change, which edit a file of no package, and a script that sets a variable.
BEFORE = "#!/bin/sh\necho before {0} >>$PREFIX/mine\n"
AFTER = "#!/bin/sh\necho after {0} >>$PREFIX/mine\n"
ACTIVATE = "export SCRIPTED={0}\n"

# The stored activation, and the paths that may differ if scripts have run twice, or if a run that is up to date stores
# nothing.
ACTIVATION = ("conda-meta/activation.mlconda",)
REPEATED = ("conda-meta/history", "mine", *ACTIVATION)

# Without a wait for the disk, files are on the disk only when the kernel has written them.
LATER = 12


def run(*words):
    subprocess.run(words, check=True)


def attach(path):
    done = subprocess.run(["losetup", "--find", "--show", path], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def mount(system, path):
    device = attach(path)
    options = ["-o", ",".join(SYSTEMS[system][1])] if SYSTEMS[system][1] else []
    run("mount", "-t", system, *options, device, "mnt")
    return device


def unmount(device):
    run("umount", "mnt")
    run("losetup", "--detach", device)


def sparse(path, content, size):
    """Writes a disk; parts that are all zeros take no space."""
    with open(path, "wb") as file:
        file.truncate(size)
        for start in range(0, size, 1 << 16):
            piece = content[start : start + (1 << 16)]
            if piece.count(0) != len(piece):
                file.seek(start)
                file.write(piece)


def make_locks(world):
    """The locks of `benches/wide`, with a package that has all kinds of scripts; NAME-plain has no scripts."""
    world.make_varied()
    channel = wide_packages.Channel("scripted")
    for version in ("1", "2"):
        files = {
            "bin/.scripted-post-link.sh": AFTER,
            "bin/.scripted-pre-unlink.sh": BEFORE,
            "etc/conda/activate.d/scripted.sh": ACTIVATE,
        }
        files = [wide_packages.text(path, text.format(version), None, 0o755) for path, text in files.items()]
        channel.add("scripted", version, files)
    for name in wide_packages.LOCKS:
        with open(f"{name}.lock") as file:
            lines = file.read().splitlines()
        with open(f"{name}-plain.lock", "w") as file:
            file.write("\n".join(line for line in lines if "/after-" not in line) + "\n")
        version = "2" if name == "b" else "1"
        with open(f"{name}.lock", "w") as file:
            file.write("\n".join([*lines, channel.lines[f"scripted-{version}"]]) + "\n")


def look(prefix):
    """The content of a prefix, with its history and without the time of its directory, which is set last of all."""
    found = tree(prefix)
    found.pop("", None)
    found = {name: value for name, value in found.items() if not name.startswith(".mlconda-")}
    if os.path.isfile(f"{prefix}/conda-meta/history"):
        with open(f"{prefix}/conda-meta/history") as file:
            found["conda-meta/history"] = ("history", file.read())
    return found


class Case:
    """An installation on a separate disk: the content before, the content at the end, and a log of the disk."""

    def __init__(self, world, system, kind):
        self.world, self.system, self.kind = world, system, kind
        self.old, self.new, self.is_link = CHANGES[kind]
        make, _, self.size = SYSTEMS[system]
        with open("base", "wb") as file:
            file.truncate(self.size)
        run(*make, "base")
        device = mount(system, "base")
        os.mkdir("mnt/cache")
        if self.is_link:
            os.mkdir("mnt/real")
            os.symlink("real", "mnt/prefix")
        if self.old:
            self.install(self.old)
            with open("mnt/prefix/mine", "w") as file:
                file.write("of the user\n")
            os.utime("mnt/prefix/mine", (0, 0))
        self.before = look("mnt/prefix")
        unmount(device)
        with open("base", "rb") as file:
            self.base = file.read()
        self.record()
        self.log = list(power_disk.entries("log"))

    def install(self, lock, *options):
        self.world.must("install", f"{lock}.lock", "-p", "mnt/prefix", *self.world.options, *options, cache="mnt/cache")

    def record(self):
        """Installs on the disk that logs its writes and flushes."""
        words = [sys.executable, power_disk.__file__, "base", "log", "fuse"]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while not os.path.exists("fuse/disk"):
            if server.poll() is not None:
                fail("the disk cannot be served by FUSE")
            time.sleep(0.05)
        device = mount(self.system, "fuse/disk")
        began = os.path.getsize("log")
        self.install(self.new, *(["--sync"] if SYNC else []))
        if not SYNC:
            time.sleep(LATER)
        self.ended = os.path.getsize("log")
        self.after = look("mnt/prefix")
        self.began = began
        unmount(device)
        run("umount", "fuse")
        server.wait()

    def disk_at(self, end, chance):
        """The disk at a moment: all writes until the last flush before it, and a random part of the writes after it."""
        content, pending = bytearray(self.base), []

        def apply(entries):
            for offset, data in entries:
                content[offset : offset + len(data)] = data

        for kind, offset, data, place in self.log:
            if place > end:
                break
            if kind == power_disk.FLUSH:
                apply(pending)
                pending = []
            else:
                pending.append((offset, data))
        share = chance.random()
        apply(entry for entry in pending if chance.random() < share)
        sparse("cut", content, self.size)

    def cut(self, chance):
        """Cuts the power once, and returns a word for the state of the prefix after it."""
        is_done = not SYNC or chance.random() < 0.25
        moments = [place for *_, place in self.log if self.began <= place <= self.ended]
        end = self.ended if is_done else chance.choice(moments)
        self.disk_at(end, chance)
        device = mount(self.system, "cut")
        try:
            return self.look(is_done)
        finally:
            unmount(device)

    def look(self, is_done):
        found = look("mnt/prefix")
        is_environment = "conda-meta/history" in found
        # The times of directories in an environment may differ: they are set last. The variables of activation scripts
        # are stored after everything else: until then, the stored ones are out of date, and `run` detects this.
        trees = {"new": self.after, "old": self.before}
        plain = without_times if is_done else lambda found: without(ACTIVATION, without_times(found))
        same = [word for word, wanted in trees.items() if plain(found) == plain(wanted)]
        word = same[0] if same else "none"
        if is_environment and word == "none":
            return self.damaged(f"it is an environment, and neither:{difference(self.after, found)}")
        if is_done and word != "new":
            return self.damaged(f"mlconda had ended, and it is not the new one:{difference(self.after, found)}")
        return self.next_run() or word

    def holds(self):
        return self.world.run("verify", "-p", "mnt/prefix").returncode == 0

    def next_run(self):
        done = self.world.run(
            "install", f"{self.new}.lock", "-p", "mnt/prefix", *self.world.options, cache="mnt/cache"
        )
        if done.returncode:
            return self.damaged(f"the next run ended with {done.returncode}: {done.stderr}")
        found, wanted = (without(REPEATED, without_times(tree)) for tree in (look("mnt/prefix"), self.after))
        if found != wanted:
            return self.damaged(f"after the next run:{difference(wanted, found)}")
        if not os.path.getsize("mnt/prefix/conda-meta/history"):
            return self.damaged("after the next run, the history is empty")
        if not self.holds():
            return self.damaged("after the next run, `verify` finds something")
        left = [name for name in os.listdir("mnt") if "mlconda-" in name]
        if left:
            return self.damaged(f"the next run left {left}")
        # The cache is checked, too: a prefix is made from it.
        remove("mnt/other")
        done = self.world.run("install", f"{self.new}.lock", "-p", "mnt/other", *self.world.options, cache="mnt/cache")
        if done.returncode or self.world.run("verify", "-p", "mnt/other").returncode:
            return self.damaged(f"a prefix of the cache is damaged: {done.stderr}")
        shutil.rmtree("mnt/other")
        return None

    def damaged(self, words):
        if not SYNC:
            return "damaged"
        return fail(f"{self.system}, {self.kind}: {words}")


def without_times(found):
    """Directories without their times."""
    return {name: value[:2] if value[0] == "directory" else value for name, value in found.items()}


def without(names, found):
    return {name: value for name, value in found.items() if name not in names}


def main(program, *systems):
    world = World(program, None)
    make_locks(world)
    for system in systems or ["ext4", "xfs"]:
        for kind in CHANGES:
            case, counts = Case(world, system, kind), collections.Counter()
            chance = random.Random(f"{SEED} {system} {kind}")
            for _ in range(CUTS):
                counts[case.cut(chance)] += 1
            during = [kind for kind, *_, place in case.log if case.began <= place <= case.ended]
            writes, flushes = (during.count(kind) for kind in (power_disk.WRITE, power_disk.FLUSH))
            words = ", ".join(f"{number} {word}" for word, number in sorted(counts.items()))
            print(f"{system}, {kind}: {CUTS} cuts over {writes} writes and {flushes} flushes: {words}", flush=True)


main(*sys.argv[1:])
