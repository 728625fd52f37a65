"""How long four nodes take to get ready in Docker, against four bare `docker run` of their image.

The bar: at most twice as long, ZooKeeper not counted. Both are measured in turn, in the same
rounds, so that whatever else the machine does hits both. A bare run counts until the command line
has returned from the last one, ready or not; a node counts until it answers over HTTP and has
reached ZooKeeper.

    python benchmarks/docker_start.py [--nodes 4] [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import docker

from labkit import Lab

BAR = 2.0


def bare(image: str, count: int) -> float:
    """Seconds for `count` times `docker run`, one after another."""
    containers = []
    began = time.perf_counter()
    for _ in range(count):
        command = ["docker", "run", "--detach", "--publish", "127.0.0.1::80", image]
        containers.append(subprocess.check_output(command, text=True).strip())
    seconds = time.perf_counter() - began
    subprocess.check_output(["docker", "rm", "--force", "--volumes", *containers])
    return seconds


def in_lab(lab: Lab, count: int) -> float:
    """Seconds until `count` new nodes are ready; they are killed afterwards."""
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=count) as pool:
        nodes = list(pool.map(lambda _: lab.add_node(), range(count)))
    for node in nodes:
        lab.wait_until(lambda node=node: node.status()["connection"] == "CONNECTED", timeout=30)
    seconds = time.perf_counter() - began
    for node in nodes:
        node.kill()
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = []
    with Lab(nodes=1, backend="docker", record=False) as lab, closing(docker.from_env()) as client:
        (node,) = client.containers.list(filters={"label": "labkit.lab", "name": "-node1"})
        image = node.attrs["Config"]["Image"]
        for _ in range(options.rounds):
            rounds.append((bare(image, options.nodes), in_lab(lab, options.nodes)))
    bares, labs = map(list, zip(*rounds, strict=True))
    ratio = statistics.median(labs) / statistics.median(bares)
    result = {
        "nodes": options.nodes,
        "bare": [round(seconds, 2) for seconds in bares],
        "lab": [round(seconds, 2) for seconds in labs],
        "ratio_of_medians": round(ratio, 2),
        "bar": BAR,
    }
    if options.json:
        print(json.dumps(result))
    else:
        for name in ("bare", "lab"):
            print(f"{name:5} {statistics.median(result[name]):6.2f} s   {result[name]}")
        print(f"ratio {ratio:6.2f}     the bar is {BAR:g}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
