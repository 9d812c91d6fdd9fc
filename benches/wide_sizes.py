"""The parts of `benches/wide` that measure: `many`, `large` and `prefixes`."""

import hashlib
import json
import os
import resource
import subprocess
import tarfile
import threading
import time

from wide import fail, packages_of, remove, tree
from wide_packages import PLACEHOLDER, Channel, conda, info_members, member, tar, text, zstd

FILES = 300  # of each package of `many`
OPEN_FILES = 256
# The allowed growth in `many` from the smallest size to the largest. The peak may grow by so much for each file,
# because of the tables of paths, and by the difference between two runs of one size. The number of open files may only
# grow by the difference between two runs. Fewer packages than this do not fill the queues between the threads, so a
# comparison with them means nothing.
GROWTH_KB, DIFFERENCE_MB = 0.6, 8
GROWTH_OPEN, DIFFERENCE_OPEN = 1.25, 8
FEWEST = 100
ZEROS = bytes(1 << 20)
MOST_ROOM = 4 << 20  # of a file of zeros on the disk: the parts that are not zeros are written in pieces


class Measured:
    """The cost of a command: seconds of processor, peak in MB, the most open files seen, and the size of its output."""

    def __init__(self, world, *arguments, cache=None, stdout=subprocess.DEVNULL):
        command = world.command(*arguments, cache=cache)
        command["args"] = ["/usr/bin/time", "-o", "measured", "-f", "%U %S %M %e", *command["args"]]
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        with open("errors", "w+") as errors:
            process = subprocess.Popen(**command, stdout=stdout, stderr=errors, preexec_fn=limit)
            self.files = 0
            watcher = threading.Thread(target=self.watch, args=(process,))
            watcher.start()
            self.bytes = 0
            while stdout == subprocess.PIPE and (piece := process.stdout.read(1 << 20)):
                self.bytes += len(piece)
            code = process.wait()
            watcher.join()
            errors.seek(0)
            self.words = errors.read()
        if code:
            fail(f"`{' '.join(arguments)}` ended with {code}:\n{self.words}")
        with open("measured") as file:
            user, system, peak, self.wall = (float(word) for word in file.read().split())
        self.processor, self.peak = user + system, peak / 1000

    def watch(self, process):
        child = None
        while process.poll() is None:
            try:
                if child is None:
                    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
                        child = (file.read().split() or [None])[0]
                else:
                    self.files = max(self.files, len(os.listdir(f"/proc/{child}/fd")))
            except OSError:
                pass
            time.sleep(0.003)


def many(world):
    """Runs the same commands for each size, with one channel."""
    sizes = sorted(int(word) for word in os.environ.get("MLCONDA_BENCH_SIZES", "100 300 1000").split())
    channel = Channel("channel")
    for number in range(max(sizes)):
        name = f"wide{number:04}"
        for version in ("1", "2") if number == 0 else ("1",):
            files = [text(f"lib/{name}/{n % 15}/{n}.txt", f"{version} of {name}, {n}\n" * (1 + (n * 7 + number) % 40))
                     for n in range(FILES)]
            channel.add(name, version, files, archive=".tar.bz2" if number % 10 == 9 else ".conda")
    channel.write_repodata()
    rows = {}
    for size in sizes:
        for what, measured in of_size(world, channel, size):
            rows.setdefault(what, []).append((size * FILES, measured))
    print(f"of {', '.join(f'{size} packages with {size * FILES:,} files' for size in sizes)}:\n")
    print("| command | seconds of processor | ms for each 1,000 files | peak MB | open files |\n|---|---|---|---|---|")
    for what, found in rows.items():
        columns = [[f"{m.processor:.2f}" for _, m in found], [f"{m.processor * 1e6 / n:.1f}" for n, m in found]]
        columns += [[f"{m.peak:.0f}" for _, m in found], [str(m.files) for _, m in found]]
        print(f"| {what} | " + " | ".join(", ".join(column) for column in columns) + " |", flush=True)
    first = next((place for place, size in enumerate(sizes) if size >= FEWEST), -1)
    if grown := [line for what, found in rows.items() for line in growth(what, found[first], found[-1])]:
        fail("\n".join(grown))


def growth(what, small, large):
    """The values that have grown more than allowed between two sizes; each size is (files, measured)."""
    (fewer, small), (more, large) = small, large
    peak = small.peak + DIFFERENCE_MB + (more - fewer) * GROWTH_KB / 1000
    if large.peak > peak:
        yield f"{what}: a peak of {large.peak:.0f} MB with {more:,} files; {small.peak:.0f} MB with {fewer:,} allow {peak:.0f}"
    most = small.files * GROWTH_OPEN + DIFFERENCE_OPEN
    if large.files > most:
        yield f"{what}: {large.files} open files with {more:,} files; {small.files} with {fewer:,} allow {most:.0f}"


def of_size(world, channel, size):
    names = [f"wide{number:04}" for number in range(size)]
    first, rest = ["wide0000-2"], [f"{name}-1" for name in names]
    channel.lock("all.lock", rest)
    channel.lock("updated.lock", first + rest[1:])
    channel.lock("half.lock", (first + rest[1:])[: size // 2])
    with open("environment.yml", "w") as file:
        listed = "\n".join(f"  - {name}=1" for name in names)
        file.write(f'name: wide\nchannels: ["file://{channel.directory}"]\ndependencies:\n{listed}\n')
    yield "lock", Measured(world, "lock", "environment.yml", "-o", "solved.lock")
    yield "install, no cache", Measured(world, "install", "all.lock", "-p", "prefix")
    yield "verify", Measured(world, "verify", "prefix", "all.lock")
    yield "nothing to do", Measured(world, "install", "all.lock", "-p", "prefix")
    yield "update of one, swapped", Measured(world, "install", "updated.lock", "-p", "prefix")
    os.mkdir("prefix/envs")
    yield "update of one, in place", Measured(world, "install", "all.lock", "-p", "prefix")
    world.must("install", "updated.lock", "-p", "prefix")
    yield "removal of half, in place", Measured(world, "install", "half.lock", "-p", "prefix")
    os.rmdir("prefix/envs")
    world.must("install", "updated.lock", "-p", "prefix")
    yield "removal of half, swapped", Measured(world, "install", "half.lock", "-p", "prefix")
    world.must("verify", "prefix", "half.lock")
    remove("prefix")
    yield "fetch", Measured(world, "fetch", "all.lock", cache="cache")
    yield "install, from the cache", Measured(world, "install", "all.lock", "-p", "prefix", cache="cache")
    remove("prefix")
    make_old("cache")
    yield "cache prune", Measured(world, "cache", "prune", "--older-than", "0s", cache="cache")
    if left := packages_in("cache"):
        fail(f"`cache prune` left {len(left)} of {size} packages")
    remove("cache")
    image = ["image", "all.lock", "-p", "/opt/env", "--base", "scratch", "--tag", "wide", "--output", "-"]
    yield "image", Measured(world, *image)
    yield "bundle", Measured(world, "bundle", "all.lock", "-o", "wide.bundle")
    yield "install, from the bundle", Measured(world, "install", "wide.bundle", "-p", "prefix")
    remove("prefix")
    remove("wide.bundle")


def packages_in(cache):
    packages = os.path.join(cache, packages_of(cache))
    return [f"{packages}/{name}" for name in os.listdir(packages)]


def make_old(cache):
    """Sets the times of use back by an hour, because `cache prune` keeps packages that were used in the last second."""
    then = time.time() - 3600
    for package in packages_in(cache):
        os.utime(package, (then, then))


def large(world):
    size = int(os.environ.get("MLCONDA_BENCH_BYTES", str(10_000_000_000)))
    channel = Channel("channel")
    print(f"a file of {size:,} zeros:\n")
    print("| archive | its bytes | command | seconds of processor | peak MB | MB on the disk |\n|---|---|---|---|---|---|")
    for name, make in (("conda", zeros_conda), ("bzip2", zeros_bzip2), ("sparse", zeros_sparse), ("prefix", zeros_prefix)):
        place = make(channel, name, size)
        channel.lock("large.lock", [f"{name}-1"])
        row = f"| {os.path.basename(place)} | {os.path.getsize(place):,}"
        for what, measured, room in of_zeros(world, size):
            print(f"{row} | {what} | {measured.processor:.1f} | {measured.peak:.0f} | {room / 1e6:.1f} |", flush=True)
            row = "| |"
        remove(place)


def of_zeros(world, size):
    measured = Measured(world, "install", "large.lock", "-p", "prefix")
    status = os.stat("prefix/share/zeros")
    if status.st_size != size:
        fail(f"the file has {status.st_size} bytes")
    if has_holes() and status.st_blocks * 512 > MOST_ROOM:
        fail(f"the file takes {status.st_blocks * 512:,} bytes on the disk")
    yield "install, no cache", measured, status.st_blocks * 512
    yield "verify", Measured(world, "verify", "prefix", "large.lock"), status.st_blocks * 512
    remove("prefix")
    yield "fetch", Measured(world, "fetch", "large.lock", cache="cache"), used("cache")
    yield "install, from the cache", Measured(world, "install", "large.lock", "-p", "prefix", cache="cache"), used("cache")
    remove("prefix")
    remove("cache")
    image = ["image", "large.lock", "-p", "/opt/env", "--base", "scratch", "--tag", "wide", "--output", "-"]
    measured = Measured(world, *image, stdout=subprocess.PIPE)
    yield "image", measured, measured.bytes


def has_holes():
    """Whether the file system supports files with holes."""
    with open("hole", "wb") as file:
        file.truncate(MOST_ROOM)
    return os.stat("hole").st_blocks * 512 < MOST_ROOM


def used(*paths):
    """The space that directories take together, in bytes."""
    told = subprocess.run(["du", "-s", "-c", "-B1", *paths], stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(told.splitlines()[-1].split()[0])


def zeros_listed(channel, name, size, begin=b""):
    sha256, left = hashlib.sha256(begin), size - len(begin)
    while left:
        piece = min(left, len(ZEROS))
        sha256.update(ZEROS[:piece])
        left -= piece
    listed = {"_path": "share/zeros", "path_type": "hardlink", "sha256": sha256.hexdigest(), "size_in_bytes": size}
    return channel.record(name, "1"), [listed]


def pour(header, size, out):
    """Writes a tar with one member. `header` may include the start of its content; `size` is the size of the rest."""
    out.write(header)
    left = size
    while left:
        piece = min(left, len(ZEROS))
        out.write(ZEROS[:piece])
        left -= piece
    out.write(bytes(-(len(header) + size) % 512 + 1024))


def compressed(header, size, command, path, mode="wb"):
    with open(path, mode) as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
        pour(header, size, process.stdin)
        process.stdin.close()
        if process.wait():
            fail(f"{command} failed")


def zeros_conda(channel, name, size):
    record, listed = zeros_listed(channel, name, size)
    header = member("share/zeros", size).tobuf(tarfile.GNU_FORMAT)
    compressed(header, size, ["zstd", "-q", "-1", "-c"], "zeros")
    return finish(channel, record, listed, "zeros")


def zeros_prefix(channel, name, size):
    """A `.conda` whose file begins with the prefix."""
    record, (listed,) = zeros_listed(channel, name, size, PLACEHOLDER.encode())
    listed |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "binary"}
    header = member("share/zeros", size).tobuf(tarfile.GNU_FORMAT) + PLACEHOLDER.encode()
    compressed(header, size - len(PLACEHOLDER), ["zstd", "-q", "-1", "-c"], "zeros")
    return finish(channel, record, [listed], "zeros")


def finish(channel, record, listed, package):
    place, stem = channel.place(record, ".conda")
    conda(place, stem, zstd(tar(info_members(record, listed))), package)
    channel.enter(record, place)
    return place


def zeros_bzip2(channel, name, size):
    """A `.tar.bz2` with `info/` and the file in a separate stream each."""
    record, listed = zeros_listed(channel, name, size)
    place, _ = channel.place(record, ".tar.bz2")
    info = b"".join(h.tobuf(tarfile.GNU_FORMAT) + t + bytes(-len(t) % 512) for h, t in info_members(record, listed))
    compressed(info + member("share/zeros", size).tobuf(tarfile.GNU_FORMAT), size, ["bzip2", "-9", "-c"], place)
    channel.enter(record, place)
    return place


def zeros_sparse(channel, name, size):
    """A `.conda` whose file is a member with holes (GNU): one block of 512 bytes at its end, the rest a hole."""
    record, listed = zeros_listed(channel, name, size)
    header = bytearray(member("share/zeros", 512).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    number = lambda value: b"\x80" + value.to_bytes(11, "big")
    header[386:410] = number(size - 512) + number(512)
    header[483:495] = number(size)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return finish(channel, record, listed, zstd(bytes(header) + bytes(512 + 1024)))


def prefixes(world):
    """200 prefixes in one root: each has the same packages, and one package of its own."""
    number = 200
    channel = Channel("channel")
    for n in range(20):
        files = [text(f"lib/common{n}/{m}.txt", f"{n} {m}\n" * 400) for m in range(100)]
        channel.add(f"common{n}", "1", files)
    for n in range(number):
        channel.add(f"own{n}", "1", [text("share/own", f"{n}\n")])
    channel.add("own0", "2", [text("share/own", "changed\n")])
    channel.write_repodata()
    common = [f"common{n}-1" for n in range(20)]
    for n in range(number):
        channel.lock(f"{n}.lock", [*common, f"own{n}-1"])
    channel.lock("changed.lock", [*common, "own0-2"])
    world.must("fetch", "0.lock", cache="cache")
    cached = used("cache")
    seconds = [Measured(world, "install", f"{n}.lock", "-n", f"e{n}", cache="cache").processor for n in range(number)]
    envs = [f"root/envs/e{n}" for n in range(number)]
    print(f"{number} prefixes: seconds of processor for the first ten {sum(seconds[:10]):.2f}, the last ten {sum(seconds[-10:]):.2f}")
    one, both = used(envs[1]), used("cache", "root")
    print(f"MB on the disk: one by itself {one / 1e6:.2f}, all of them and the cache {both / 1e6:.2f}; "
          f"for each one more {(both - cached) / number / 1e6:.2f}")
    listed = Measured(world, "conda", "env", "list")
    names = json.loads(world.must("conda", "env", "list", "--json").stdout)["envs"]
    if len([name for name in names if "/envs/e" in name]) != number:
        fail(f"`env list` has {len(names)} environments")
    print(f"`env list`: all {number}, in {listed.processor:.2f} s, {listed.peak:.0f} MB")
    before = [places(prefix) for prefix in envs]
    world.must("install", "changed.lock", "-n", "e0", cache="cache")
    changed = [prefix for prefix, was in zip(envs, before) if places(prefix) != was]
    if changed != [envs[0]]:
        fail(f"the update of one changed {changed}")
    print("the update of one: the others have the same files, at the same inodes, with the same times")
    os.mkdir("images")
    image = ["-p", "/opt/env", "--base", "scratch", "--tag"]
    seconds = [Measured(world, "image", f"{n}.lock", *image, f"e{n}", "--oci-layout", "images", cache="cache").processor
               for n in range(number)]
    print(f"images of all in one layout: {used('images') / 1e6:.1f} MB; seconds of processor for the first {seconds[0]:.2f}, "
          f"the ten after it {sum(seconds[1:11]):.2f}, the last ten {sum(seconds[-10:]):.2f}")
    trees = [tree(prefix) for prefix in envs]
    world.must("cache", "prune", "--older-than", "0s", cache="cache")
    if [tree(prefix) for prefix in envs] != trees:
        fail("`cache prune` changed a prefix")
    for n, prefix in enumerate(envs):
        world.must("verify", prefix, "changed.lock" if n == 0 else f"{n}.lock")
    print(f"`cache prune`: the cache has {used('cache') / 1e6:.2f} MB, was {cached / 1e6:.2f}; all prefixes are intact")


def places(prefix):
    """All paths of a prefix with their inodes and times."""
    found = {}
    for directory, below, files in os.walk(prefix):
        for name in below + files:
            status = os.lstat(f"{directory}/{name}")
            found[f"{directory}/{name}"] = (status.st_ino, status.st_mtime_ns, status.st_mode, status.st_size)
    return found


PARTS = {"many": many, "large": large, "prefixes": prefixes}
