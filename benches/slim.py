"""The python part of `benches/slim`: names of packages, modules of an environment, imports, a notebook.

    slim.py names CHANNEL           the names of all packages of a channel
    slim.py modules FULL SLIM       the modules of the full environment, without those that the slim one leaves out
    slim.py import LIST             imports these modules, and prints the result of each
    slim.py notebook                a notebook
    slim.py compare ONE OTHER       the differences between two environments, without records and byte code
"""

import hashlib
import importlib
import itertools
import json
import os
import signal
import sys
import tempfile
import warnings

LIMIT = 60  # seconds, for each module
SKIPPED = {"antigravity", "this", "__main__"}
WRITTEN = "var/cache/fontconfig/"  # by a script of the package; names are hashes of paths in the prefix


def names(channel):
    found = set()
    for subdir in ("linux-64", "noarch"):
        with open(f"{channel}/{subdir}/repodata.json") as file:
            repodata = json.load(file)
        for kind in ("packages", "packages.conda"):
            found |= {record["name"] for record in repodata[kind].values()}
    print("\n".join(sorted(found - {"python"})))


def modules(full, slim):
    found = set()
    library = "lib/python3.11"
    for root in (f"{library}/site-packages", library):
        for directory, below, files in os.walk(f"{full}/{root}"):
            below[:] = [name for name in below if name.isidentifier() and name != "__pycache__"]
            inner = os.path.relpath(directory, f"{full}/{root}")
            for file in files:
                stem, _, end = file.partition(".")
                if not stem.isidentifier() or not (end == "py" or end.endswith("so")):
                    continue
                if not os.path.lexists(os.path.join(slim, root, inner, file)):
                    continue
                parts = [] if inner == "." else inner.split("/")
                parts += [] if stem == "__init__" else [stem]
                if parts:
                    found.add(".".join(parts))
    print("\n".join(sorted(found)))


def give_up(*_):
    raise TimeoutError


def run(group, out):
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    sys.argv = ["imports"]
    signal.signal(signal.SIGALRM, give_up)
    for module in group:
        signal.alarm(LIMIT)
        try:
            importlib.import_module(module)
            outcome = "ok"
        except BaseException as error:  # also SystemExit
            outcome = type(error).__name__
        signal.alarm(0)
        os.write(out, f"{module} {outcome}\n".encode())


def import_all(listed):
    """Each top-level package is imported in a separate process, because an import may end its process."""
    with open(listed) as file:
        asked = [line.strip() for line in file]
    os.environ.update(MPLBACKEND="Agg", HOME=tempfile.mkdtemp(), PYTHONDONTWRITEBYTECODE="1")
    os.chdir(os.environ["HOME"])
    sys.path = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    out = os.dup(1)
    for _, group in itertools.groupby(asked, lambda module: module.split(".")[0]):
        group = [module for module in group if module.rsplit(".", 1)[-1] not in SKIPPED]
        child = os.fork()
        if child == 0:
            try:
                run(group, out)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


def notebook():
    source = """import numpy, pandas, scipy.stats, matplotlib.pyplot as plt
from sklearn.linear_model import Ridge
x = numpy.arange(30.0)[:, None]
plt.plot(Ridge().fit(x, x[:, 0]).predict(x))
print(pandas.DataFrame(x).describe(), scipy.stats.norm.cdf(0))"""
    cell = {"id": "a", "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
    kernel = {"name": "python3", "display_name": "python3"}
    json.dump({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": [cell]}, sys.stdout)


def contents(root):
    """The content of each file, by its path; the path of the environment is replaced in it."""
    found = {}
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if name not in ("__pycache__", "conda-meta")]
        for name in files + below:
            path = os.path.join(directory, name)
            inner = os.path.relpath(path, root)
            if inner.startswith(WRITTEN):
                continue
            if os.path.islink(path):
                found[inner] = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read().replace(os.path.abspath(root).encode(), b"PREFIX")
                found[inner] = hashlib.sha256(content).digest(), os.stat(path).st_mode
            else:
                found[inner] = "directory"
    return found


def compare(one, other):
    one, other = contents(one), contents(other)
    differing = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    for path in differing[:10]:
        print(f"differs: {path}")
    print(f"compared {len(one)} files and directories: {len(differing)} differ")


{"compare": compare, "names": names, "modules": modules, "import": import_all, "notebook": notebook}[sys.argv[1]](*sys.argv[2:])
