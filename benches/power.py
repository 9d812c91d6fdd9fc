"""What `benches/power` does in python, in an empty directory with the directories `home`, `mnt` and `fuse`."""

import collections
import os
import random
import shutil
import subprocess
import sys
import time

import power_disk
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

# The kinds of change: the lock that is there before, the new one, and whether the prefix is a link, which cannot be
# swapped.
CHANGES = {
    "installation": (None, "b", False),
    "update, swapped": ("a", "b", False),
    "update, in place": ("a", "b", True),
    "addition": ("d", "a", False),
}

# What does not wait for the disk is there only when the kernel has written it.
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
    """Writes a disk; what is zero everywhere takes no room."""
    with open(path, "wb") as file:
        file.truncate(size)
        for start in range(0, size, 1 << 16):
            piece = content[start : start + (1 << 16)]
            if piece.count(0) != len(piece):
                file.seek(start)
                file.write(piece)


class Case:
    """An installation on a disk of its own: what was there before, what is there in the end, and what the disk got when."""

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
        self.before = tree("mnt/prefix")
        unmount(device)
        with open("base", "rb") as file:
            self.base = file.read()
        self.record()
        self.log = list(power_disk.entries("log"))

    def install(self, lock, *options):
        self.world.must("install", f"{lock}.lock", "-p", "mnt/prefix", *self.world.options, *options, cache="mnt/cache")

    def record(self):
        """Installs on the disk that writes down what it gets."""
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
        self.after = tree("mnt/prefix")
        self.began = began
        unmount(device)
        run("umount", "fuse")
        server.wait()

    def disk_at(self, end, chance):
        """The disk at a moment: all until the last flush before it, and of what came behind, what chance takes."""
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
        """Cuts the power once, and gives a word for what was there then."""
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
        found = tree("mnt/prefix")
        is_environment = os.path.isfile("mnt/prefix/conda-meta/history")
        # A killed process leaves that, and the next run sees to it.
        found.pop("", None)
        plain = [{name: value for name, value in one.items() if name} for one in (self.before, self.after)]
        plain_found = {name: value for name, value in found.items() if not name.startswith(".mlconda-")}
        word = "none"
        if plain_found == plain[1]:
            word = "new"
        elif plain_found == plain[0]:
            word = "old"
        elif is_environment and self.holds():
            # Times of directories alone differ: those that are set last.
            word = "new" if without_times(plain_found) == without_times(plain[1]) else "old"
        if is_environment and word == "none":
            return self.damaged(f"it is an environment, and neither:{difference(plain[1], plain_found)}")
        if is_done and word != "new":
            return self.damaged(f"mlconda had ended, and it is not the new one:{difference(plain[1], plain_found)}")
        return self.next_run() or word

    def holds(self):
        return self.world.run("verify", "-p", "mnt/prefix").returncode == 0

    def next_run(self):
        done = self.world.run(
            "install", f"{self.new}.lock", "-p", "mnt/prefix", *self.world.options, cache="mnt/cache"
        )
        if done.returncode:
            return self.damaged(f"the next run ended with {done.returncode}: {done.stderr}")
        found = without_times(tree("mnt/prefix"))
        if found != without_times(self.after):
            return self.damaged(f"after the next run:{difference(without_times(self.after), found)}")
        if not self.holds():
            return self.damaged("after the next run, `verify` finds something")
        left = [name for name in os.listdir("mnt") if "mlconda-" in name]
        if left:
            return self.damaged(f"the next run left {left}")
        # All of the cache, too: a prefix of what it has.
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
    return {name: value if value[0] == "link" else (*value[:2], *value[3:]) for name, value in found.items()}


def main(program, *systems):
    world = World(program, None)
    world.make_varied()
    for system in systems or ["ext4", "xfs"]:
        for kind in CHANGES:
            case, counts = Case(world, system, kind), collections.Counter()
            chance = random.Random(f"{SEED} {system} {kind}")
            for _ in range(CUTS):
                counts[case.cut(chance)] += 1
            flushes = sum(entry[0] == power_disk.FLUSH and case.began <= entry[3] <= case.ended for entry in case.log)
            words = ", ".join(f"{number} {word}" for word, number in sorted(counts.items()))
            print(f"{system}, {kind}: {CUTS} cuts over {len(case.log)} writes and {flushes} flushes: {words}", flush=True)


main(*sys.argv[1:])
