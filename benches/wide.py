"""The python part of `benches/wide`: the parts `kills` and `processes`; the others are in `wide_sizes.py`."""

import collections
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time

import wide_packages
from wide_packages import LOCKS, Channel, digest

REFUSALS = ("another mlconda is installing", "was changed by another process in the meantime")
SEED = int(os.environ.get("MLCONDA_BENCH_SEED", "1"))


class World:
    """The program, the channel and the locks of a part, in the working directory."""

    def __init__(self, program, true_channel):
        self.program, self.true_channel = program, true_channel
        self.here = os.getcwd()
        self.variables = {"PATH": "/usr/bin:/bin", "HOME": f"{self.here}/home", "TMPDIR": f"{self.here}/home"}
        self.variables |= {"MLCONDA_ROOT": f"{self.here}/root", "LC_ALL": "C.UTF-8"}

    def command(self, *arguments, cache=None):
        """A command and its variables; without `cache`, the cache directory does not exist."""
        variables = self.variables | {"MLCONDA_CACHE_DIR": f"{self.here}/{cache or 'none'}"}
        return {"args": [self.program, *arguments], "env": variables, "stdin": subprocess.DEVNULL}

    def run(self, *arguments, cache=None):
        return subprocess.run(**self.command(*arguments, cache=cache), capture_output=True, text=True, errors="replace")

    def must(self, *arguments, cache=None):
        done = self.run(*arguments, cache=cache)
        if done.returncode:
            fail(f"`{' '.join(arguments)}` ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return done

    def make_varied(self):
        """The channel of small packages, and its locks; with a real python, if a channel with it was given."""
        before, self.options = (), ["--no-compile-bytecode"]
        if self.true_channel:
            with open("environment.yml", "w") as file:
                file.write(f'channels: ["file://{self.true_channel}"]\ndependencies: [python=3.11]\n')
            self.must("lock", "environment.yml", "-o", "python.lock")
            with open("python.lock") as file:
                before = [line.strip() for line in file if line.startswith("file:")]
            self.options = []
        channel = Channel("channel")
        wide_packages.varied(channel, python=not before)
        for name, packages in LOCKS.items():
            packages = packages.split() if before else ["python-3.11.0", *packages.split()]
            channel.lock(f"{name}.lock", packages, before)


def fail(words):
    print(f"FAILED: {words}", flush=True)
    sys.exit(1)


def tree(root, *, times=True):
    """Everything below a directory: types, modes, times, contents and links. The history is left out, because it
    depends on the earlier changes of the environment."""
    found = {}

    def look(path, name):
        status = os.lstat(path)
        time = status.st_mtime_ns if times else 0
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("directory", status.st_mode, time)
            for entry in os.listdir(path):
                look(f"{path}/{entry}", f"{name}/{entry}" if name else entry)
        elif name != "conda-meta/history":
            found[name] = ("file", status.st_mode, time, digest(path))

    if os.path.lexists(root):
        look(os.path.realpath(root), "")
    return found


def difference(one, other):
    """A short text with the differences between two trees."""
    names = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return "".join(f"\n  {name or '.'}: {one.get(name)} is not {other.get(name)}" for name in names[:8]) or "nothing"


def remove(path):
    if os.path.islink(path) or os.path.isfile(path):
        os.remove(path)
    elif os.path.exists(path):
        shutil.rmtree(path)


def copy(source, target):
    subprocess.run(["cp", "-a", source, target], check=True)


class Case:
    """A command that is killed: the state before it, and the result of an undisturbed run."""

    def __init__(self, world, kind, old, new, place, cache):
        self.world, self.kind, self.old, self.new, self.place, self.cache = world, kind, old, new, place, cache
        self.is_image = kind == "image"
        self.saved = f"saved/{kind}-{old}-{place}-{cache}"
        if self.is_image:
            where = ["--oci-layout", "run/prefix"] if place == "layout" else ["--output", "run/prefix"]
            rest = [*where, "-p", "/opt/env", "--base", "scratch", "--tag", "wide", "--skip-scripts", "--no-compile-bytecode"]
            self.arguments = ["image", f"{new}.lock", *rest]
        else:
            self.arguments = ["install", f"{new}.lock", "-p", "run/prefix", *world.options]
        self.prepare_first()
        self.before, began = self.look(), time.monotonic()
        world.must(*self.arguments, cache="run/cache")
        self.length = time.monotonic() - began
        self.after, self.beside = self.look(), self.look_beside()

    def prepare_first(self):
        """Makes the state before the command, and saves it."""
        remove("run")
        os.makedirs("run/cache")
        if self.place == "link" and not self.is_image:
            os.mkdir("run/real")
            os.symlink("real", "run/prefix")
        if self.old and self.is_image:
            arguments = [f"{self.old}.lock" if word == f"{self.new}.lock" else word for word in self.arguments]
            self.world.must(*arguments)
        elif self.old:
            self.world.must("install", f"{self.old}.lock", "-p", "run/prefix", *self.world.options)
            if self.place == "root":
                os.mkdir("run/prefix/envs")
        if self.cache == "none":
            os.rmdir("run/cache")
        elif self.cache == "cold":
            os.mkdir(f"run/cache/{self.world.packages}")
        else:
            self.world.must("fetch", f"{self.new}.lock", cache="run/cache")
        os.makedirs("saved", exist_ok=True)
        copy("run", self.saved)

    def prepare(self):
        remove("run")
        copy(self.saved, "run")

    def look(self):
        if self.is_image and os.path.isfile("run/prefix"):
            return {"": ("file", digest("run/prefix"))}
        found = tree("run/prefix", times=not self.is_image)
        return {name: what for name, what in found.items() if not name.startswith(".mlconda-")}

    def look_beside(self):
        """Names beside the prefix, at its top, and in the cache."""
        found = set(os.listdir("run"))
        if os.path.isdir("run/prefix"):
            found |= {f"prefix/{name}" for name in os.listdir("run/prefix") if name.startswith(".")}
        for directory, below, files in os.walk("run/cache"):
            depth = directory.count("/")
            found |= {f"{directory}/{name}" for name in below + files} if depth < 3 else set()
        return found

    def left(self, found):
        """A word for the state that a kill has left; `None` for any state that is not allowed."""
        marked = not self.is_image and found and not os.path.exists("run/prefix/conda-meta/history")
        # A stage in the prefix has changed the time of its directory, which the next run sets again.
        if without_times(found) == without_times(self.after):
            return "new"
        if without_times(found) == without_times(self.before):
            return "old"
        if marked:
            return "marked"
        if self.is_image and self.place == "layout" and layout_holds(found):
            return "old"
        return None


def without_times(found):
    return {name: what[:2] if what[0] == "directory" else what for name, what in found.items()}


def layout_holds(found):
    """Whether the content of each blob of a layout matches its name."""
    blobs = [(name, what) for name, what in found.items() if "/sha256/" in name and what[0] == "file"]
    return all(what[3] == name.rsplit("/", 1)[1] for name, what in blobs)


def cases(world):
    """The commands that are killed, in turns."""
    fetched = world.must("fetch", "a.lock", cache="first")
    world.packages = next((name for name in os.listdir("first") if name.startswith("packages-")), None)
    assert world.packages, fetched.stderr
    kinds = [("install", None, "b"), ("update", "a", "b"), ("addition", "a", "c"), ("removal", "a", "d")]
    # A real python needs a C library, which an image without a base does not have.
    images = [] if world.true_channel else [("image", None, "b"), ("image", "a", "b")]
    places = {"install": ("plain", "link"), "image": ("file", "layout")}
    for cache in ("none", "cold", "warm"):
        for kind, old, new in [*kinds, *images]:
            for place in places.get(kind, ("plain", "link", "root")):
                yield Case(world, kind, old, new, place, cache)


def kills(world):
    world.make_varied()
    moments = random.Random(SEED)
    number = int(os.environ.get("MLCONDA_BENCH_KILLS", "1000"))
    all_cases = list(cases(world))
    by_kind = collections.defaultdict(list)
    for case in all_cases:
        by_kind[case.kind].append(case)
    saw = collections.defaultdict(collections.Counter)
    for count in range(number):
        kind = list(by_kind)[count % len(by_kind)]
        case = by_kind[kind][count // len(by_kind) % len(by_kind[kind])]
        saw[kind, "in place" if case.place in ("link", "root") else case.place][kill(world, case, moments, count)] += 1
        if count % 100 == 99:
            print(f"{count + 1} kills", file=sys.stderr, flush=True)
    print(f"| {number} kills of | where | the old | the new | marked | over before |\n|---|---|---|---|---|---|")
    for (kind, place), counts in sorted(saw.items()):
        print(f"| {kind} | {place} | " + " | ".join(str(counts[key]) for key in ("old", "new", "marked", "over")) + " |")
    print("after each of them, the next run gave what an undisturbed one gives, and left nothing beside it")


def kill(world, case, moments, count):
    case.prepare()
    command = world.command(*case.arguments, cache="run/cache")
    process = subprocess.Popen(**command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    delay = moments.uniform(0, case.length)
    time.sleep(delay)
    process.kill()
    code = process.wait()
    found = case.left(case.look())
    words = f"kill {count}, {case.kind} from {case.old} to {case.new}, {case.place}, cache {case.cache}, after {delay:.4f} s"
    if found is None:
        fail(f"{words}: neither old nor new:{difference(case.look(), case.after)}")
    world.must(*case.arguments, cache="run/cache")
    now, beside = case.look(), case.look_beside()
    if now != case.after:
        fail(f"{words}, which left the {found} one: the next run gave another tree:{difference(now, case.after)}")
    if beside != case.beside:
        fail(f"{words}, which left the {found} one: beside it are {sorted(beside ^ case.beside)}")
    if not case.is_image:
        world.must("verify", "run/prefix", f"{case.new}.lock")
    return "over" if code == 0 else found


class Failures(list):
    """The errors of threads."""

    def add(self, words):
        self.append(words)
        print(f"FAILED: {words}", flush=True)


def expected(world, prefix):
    """The tree of each lock at a prefix, as an undisturbed installation makes it."""
    trees = {}
    for name in LOCKS:
        world.must("install", f"{name}.lock", "-p", prefix, *world.options)
        trees[name] = tree(prefix)
        remove(prefix)
    return trees


def processes(world):
    world.make_varied()
    seconds = float(os.environ.get("MLCONDA_BENCH_SECONDS", "600"))
    failures, counts = Failures(), collections.Counter()
    world.must("fetch", "a.lock", cache="cache")
    print("| eight processes | runs |\n|---|---|")
    many_prefixes(world, seconds, failures, counts)
    for what, count in sorted(counts.items()):
        print(f"| {what} | {count} |")
    counts.clear()
    one_prefix(world, seconds / 4, failures, counts)
    for what, count in sorted(counts.items()):
        print(f"| on one prefix: {what} | {count} |")
    if failures:
        fail(f"{len(failures)} runs were wrong")
    print("no wrong tree, and no error but these two of several at one prefix")


def together(jobs):
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def many_prefixes(world, seconds, failures, counts):
    """Eight workers with one prefix each, and two more processes that fetch and prune."""
    all_trees = [expected(world, f"prefixes/e{number}") for number in range(8)]
    end, lock = time.monotonic() + seconds, threading.Lock()

    def done(what, result, is_right=True):
        with lock:
            counts[what] += 1
            if result.returncode or not is_right:
                failures.add(f"{what}: {result.returncode}: {result.stderr}")

    def worker(number):
        chance, prefix, now = random.Random(SEED * 100 + number), f"prefixes/e{number}", None
        trees = all_trees[number]
        while time.monotonic() < end and not failures:
            if now and chance.random() < 0.2:
                remove(prefix)
                now = None
            new = chance.choice(list(LOCKS))
            what = {None: "install", new: "nothing to do"}.get(now, "update or removal")
            result = world.run("install", f"{new}.lock", "-p", prefix, *world.options, cache="cache")
            there = tree(prefix)
            done(what, result, there == trees[new])
            if there != trees[new]:
                failures.add(f"{prefix} is not what {new}.lock says:{difference(there, trees[new])}")
            now = new
            done("verify", world.run("verify", prefix, f"{new}.lock"))

    def keeper(what):
        chance = random.Random(f"{SEED} {what}")
        while time.monotonic() < end and not failures:
            name = chance.choice(list(LOCKS))
            arguments = {
                "fetch": ["fetch", f"{name}.lock", *chance.choice([[], ["--verify-cache"]])],
                "cache prune": ["cache", "prune", *chance.choice([["--older-than", "0s"], ["--keep-locks", f"{name}.lock"]])],
            }[what]
            done(what, world.run(*arguments, cache="cache"))
            time.sleep(chance.uniform(0, 0.2))

    jobs = [lambda number=number: worker(number) for number in range(8)]
    together([*jobs, lambda: keeper("fetch"), lambda: keeper("cache prune")])
    left = [name for name in os.listdir("prefixes") if name.startswith(".")]
    left += [name for name in os.listdir(f"cache/{packages_of('cache')}") if name.startswith(".")]
    if left:
        failures.add(f"left: {left}")


def packages_of(cache):
    return next(name for name in os.listdir(cache) if name.startswith("packages-"))


def one_prefix(world, seconds, failures, counts):
    """Rounds of eight processes on one prefix. The result must match the lock of one process that succeeded."""
    prefix, before = "prefixes/one", set()
    trees = expected(world, prefix)
    end, chance, lock = time.monotonic() + seconds, random.Random(SEED), threading.Lock()
    while time.monotonic() < end and not failures:
        if chance.random() < 0.3:
            remove(prefix)
            before = set()
        succeeded = set()

        def worker(name):
            result = world.run("install", f"{name}.lock", "-p", prefix, *world.options, cache="cache")
            with lock:
                if result.returncode == 0:
                    succeeded.add(name)
                    counts["installed"] += 1
                elif reason := next((words for words in REFUSALS if words in result.stderr), None):
                    counts[f"refused, {reason}"] += 1
                else:
                    failures.add(f"{name}.lock on one prefix: {result.returncode}: {result.stderr}")

        together([lambda name=chance.choice(list(LOCKS)): worker(name) for _ in range(8)])
        there = tree(prefix)
        before = {name for name in succeeded or before if trees[name] == there}
        counts["rounds"] += 1
        if not before:
            which = min(succeeded or LOCKS, key=lambda name: len(there.items() ^ trees[name].items()))
            failures.add(f"{prefix} is none of {succeeded}; of {which}:{difference(there, trees[which])}")
        for name in before:
            checked = world.run("verify", prefix, f"{name}.lock")
            if checked.returncode:
                failures.add(f"verify: {checked.stdout}{checked.stderr}")


if __name__ == "__main__":
    sys.modules["wide"] = sys.modules["__main__"]
    import wide_sizes

    parts = {"kills": kills, "processes": processes} | wide_sizes.PARTS
    if sys.argv[1] not in parts:
        sys.exit(f"{sys.argv[1]} is no part; there are {', '.join(parts)}")
    parts[sys.argv[1]](World(*sys.argv[2:]))
