"""The python part of `benches/peers`: locks of a whole channel, installing by py-rattler, trees and their differences.

    peers.py locks CHANNEL DIRECTORY        explicit lists with every archive of a channel, no name twice in a list
    peers.py rattler CHANNEL LIST PREFIX CACHE   installs a list with py-rattler
    peers.py by_names PREFIX                conda's order of linking for a prefix if it ignored versions
    peers.py orders OURS CONDA NAMED        checks that lists of one prefix have the same packages in the same order
    peers.py tree PREFIX FILE               describes a prefix in a file: paths, contents, modes, links, records
    peers.py compare KIND OURS THEIRS       the differences between two such files, by kind; KIND is the other installer
    peers.py wheels BASE WHEELS DIRECTORY   a lock and a list of requirements for a directory of wheels
"""

import asyncio
import collections
import hashlib
import json
import os
import re
import sys

from peers_compare import compare
from peers_tree import tree

# conda 26 and py-rattler 0.28 fail on directories in `paths.json`.
REFUSED = {"var-empty-directories"}


def repodata(channel):
    for subdir in ("linux-64", "noarch"):
        with open(f"{channel}/{subdir}/repodata.json") as file:
            known = json.load(file)
        for kind in ("packages.conda", "packages"):
            for name, record in known.get(kind, {}).items():
                yield subdir, name, record


def rank(entry):
    _, name, record = entry
    numbers = [int(part) for part in re.findall(r"\d+", record["version"])]
    return numbers, record["build_number"], name.endswith(".conda")


def locks(channel, directory):
    """The first list has the newest archive of each name, the next one the second newest; each list has a python."""
    by_name = collections.defaultdict(list)
    for entry in repodata(channel):
        by_name[entry[2]["name"]].append(entry)
    refused = [name for name in by_name if name in REFUSED]
    for name in refused:
        del by_name[name]
    for entries in by_name.values():
        entries.sort(key=rank, reverse=True)
    archives = 0
    for turn in range(max(map(len, by_name.values()))):
        with open(f"{directory}/all-{turn}.txt", "w") as file:
            file.write("@EXPLICIT\n")
            for name, entries in sorted(by_name.items()):
                if len(entries) > turn or name == "python":
                    subdir, archive, record = entries[min(turn, len(entries) - 1)]
                    file.write(f"file://{channel}/{subdir}/{archive}#{record['md5']}\n")
                    archives += len(entries) > turn
    print(f"{len(by_name)} packages in {archives} archives; left out: {', '.join(refused) or 'none'}")


def rattler(channel, listed, prefix, cache):
    from rattler import Channel, RepoDataRecord, SparseRepoData, install
    from rattler.repo_data import PackageFormatSelection

    known = {}
    for subdir in ("linux-64", "noarch"):
        sparse = SparseRepoData(Channel(f"file://{channel}"), subdir, f"{channel}/{subdir}/repodata.json")
        for record in sparse.load_all_records(PackageFormatSelection.BOTH):
            known[str(record.url)] = record
    with open(listed) as file:
        urls = [line.split("#")[0].strip() for line in file if line.startswith("file:")]
    asyncio.run(
        install(
            [known[url] for url in urls],
            target_prefix=prefix,
            cache_dir=cache,
            execute_link_scripts=True,
            show_progress=False,
        )
    )


def by_names(prefix):
    """conda's order of linking for the packages of a prefix if dependencies had no versions; runs in conda's python."""
    from conda.core.prefix_data import PrefixData
    from conda.models.prefix_graph import PrefixGraph

    records = PrefixData(prefix).iter_records()
    named = [type(each).from_objects(each, depends=[spec.split()[0] for spec in each.depends]) for each in records]
    for record in PrefixGraph(named).graph:
        print(record.url)


def orders(ours, conda, named):
    """mlconda finds dependencies by name, conda also by version. It differs if a required version is not installed."""
    lists = []
    for listed in (ours, conda, named):
        with open(listed) as file:
            lists.append([line.split("#")[0].strip() for line in file if line.startswith("file:")])
    ours, conda, named = lists
    if not ours or ours != named:
        first = next((pair for pair in zip(ours, named) if pair[0] != pair[1]), "their number")
        sys.exit(f"the order of linking: UNEXPECTED, differs at {first}")
    versions = "" if ours == conda else " by names, and another where conda looks at versions that are not there"
    print(f"the order of linking: {len(ours)} packages, the same{versions}")


def wheels(base, directory, out):
    """Every other wheel is requested by its URL, the rest by name and version, as from an index."""
    pinned, listed, asked = "", "", ""
    names = sorted(name for name in os.listdir(directory) if name.endswith(".whl"))
    for number, name in enumerate(names):
        with open(f"{directory}/{name}", "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        distribution, version = name.split("-")[:2]
        distribution = re.sub(r"[-_.]+", "-", distribution).lower()
        url = f"file://{directory}/{name}"
        is_direct = number % 2 == 0
        requirement = f"{distribution} @ {url}" if is_direct else f"{distribution}=={version}"
        direct = " --direct" if is_direct else ""
        pinned += f"# pip {distribution} @ {url} --hash=sha256:{digest}{direct}\n"
        asked += f"# pip requirement: {requirement}\n"
        listed += f"{requirement} --hash=sha256:{digest}\n"
    if not names:
        sys.exit(f"{directory} has no wheels")
    with open(base) as file:
        text = file.read()
    with open(f"{out}/wheels.lock", "w") as file:
        file.write(text.replace("@EXPLICIT\n", f"{asked}{pinned}@EXPLICIT\n"))
    with open(f"{out}/requirements.txt", "w") as file:
        file.write(listed)
    print(f"{len(names)} wheels")


if __name__ == "__main__":
    commands = {
        "locks": locks, "rattler": rattler, "by_names": by_names, "orders": orders, "tree": tree, "compare": compare,
        "wheels": wheels,
    }
    commands[sys.argv[1]](*sys.argv[2:])
