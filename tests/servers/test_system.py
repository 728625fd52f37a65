"""What the system gives a lab, and what is said when it does not: files, memory, disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import BackendError, ConfigError
from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.servers import memory, system


def run(script: str, *wrapped: str, **environ: str) -> str:
    """What a script prints that runs in another Python."""
    done = subprocess.run(
        [*wrapped, sys.executable, "-c", script],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- files ------------------------------------------------------------------------------------


def test_the_limit_of_open_files_is_raised() -> None:
    """256 files are usual on macOS; the hard limit is higher."""
    script = (
        "import resource\n"
        "from labkit import Lab\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))\n"
        "with Lab(nodes=40, backend='process', ensemble=3, record=False) as lab:\n"
        "    print(len({node.sequence() for node in lab.nodes}))\n"
        "    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    assert run(script).split() == ["40", "4096"]


def test_too_few_files_are_said_before_the_start() -> None:
    script = (
        "import resource\n"
        "from labkit import Lab\n"
        "from labkit.errors import ConfigError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "lab = Lab(nodes=64, backend='process')\n"
        "try:\n"
        "    lab.start()\n"
        "except ConfigError as error:\n"
        "    print(error, Lab.all_open())\n"
        "with Lab(nodes=4, backend='process') as lab:\n"
        "    print(lab.node(4).sequence())\n"
    )
    said, number = run(script).splitlines()
    assert "Too few open files for 64 nodes: one process needs 398, the system allows 256" in said
    assert "ulimit -n 398" in said
    assert said.endswith("[]")
    assert number == "1"


# --- memory -----------------------------------------------------------------------------------


def test_too_little_memory_is_said_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda: 300 * system.MEGABYTE)
    with pytest.raises(ConfigError, match=r"for 100 nodes: about 1,850 MB.*300 MB are free"):
        Lab(nodes=100, backend="process").start()
    with Lab(nodes=2, backend="process", record=False) as lab:
        monkeypatch.setattr(memory, "free", lambda: 10 * system.MEGABYTE)
        with pytest.raises(ConfigError, match="memory for one node more"):
            lab.add_node()
        assert [node.name for node in lab.nodes] == ["node1", "node2"]


GROUPS = {
    "version 2": ("0::/a/b", "sys/fs/cgroup", "memory.max", "memory.current", ""),
    "version 1": (
        *("4:cpu,memory:/a/b", "sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        *("memory.usage_in_bytes", "total_"),
    ),
}


@pytest.mark.parametrize("where", ["", "a", "a/b"])  # a container sees its own group as the top
@pytest.mark.parametrize("version", GROUPS)
def test_a_containers_limit_counts_and_cached_files_do_not(
    tmp_path: Path, version: str, where: str
) -> None:
    line, top, limit, usage, prefix = GROUPS[version]
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"7:pids:/\n{line}\n")
    group = tmp_path / top / where
    group.mkdir(parents=True)
    unlimited = memory.free(tmp_path)
    (group / limit).write_text("50000000\n")
    (group / usage).write_text("40000000\n")
    (group / "memory.stat").write_text(
        f"anon 10\n{prefix}inactive_file 9000000\n{prefix}active_file 1000000\nhierarchy\n"
    )
    assert memory.free(tmp_path) == min(20_000_000, unlimited)
    (group / limit).write_text("max\n")
    assert memory.free(tmp_path) == pytest.approx(unlimited, rel=0.5)


@pytest.mark.parametrize("limit", ["ulimit -v 400000", "ulimit -v 1000000", "ulimit -d 250000"])
def test_java_without_memory_is_told_as_that(limit: str) -> None:
    script = (
        "from labkit import Lab, LabError\n"
        "try:\n"
        "    Lab(nodes=1, backend='process', record=False).start()\n"
        "except LabError as error:\n"
        "    print(error, Lab.all_open())\n"
    )
    said = run(script, "bash", "-c", f'{limit}; exec "$@"', "bash")
    assert re.search("zookeeper1|/java can't start", said)  # whichever falls first
    assert "Memory was short" in said
    assert f"`{limit.rpartition(' ')[0]}`" in said
    assert said.endswith("[]\n")


def test_what_has_no_memory_says_so_in_many_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        "Error: Could not create the Java Virtual Machine.\nUnable to allocate 262144KB\n"
        "# There is insufficient memory for the Java Runtime Environment to continue.",
        "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory",
        "OSError: [Errno 12] Cannot allocate memory",
        "library initialization failed - unable to allocate file descriptor table - out of memory",
        '[warning][os,thread] Failed to start thread "GC Thread#0" - pthread_create failed',
    )
    for line in lines:
        assert "Memory was short" in memory.shortage(f"12:00 INFO began\n{line}", memory.killed())
    assert memory.shortage("12:00 INFO began\nAddress already in use", memory.killed()) == ""
    monkeypatch.setattr(memory, "killed", lambda: 8)
    assert "the system has ended a program" in memory.shortage("", killed_before=7)


def test_a_hundred_and_twenty_eight_nodes() -> None:
    with Lab(nodes=128, backend="process", session_timeout=10.0) as lab:
        with ThreadPoolExecutor(32) as pool:
            numbers = set(pool.map(Node.sequence, lab.nodes))
        assert numbers == set(range(1, 129))


# --- disk -------------------------------------------------------------------------------------


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """On a small disk of its own, in which nobody else sees it: start, add_node and zkcli."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("needs a mount of its own, as unshare(1) gives it")
    script = """
import tempfile, time
from contextlib import suppress
from pathlib import Path
from labkit import Lab
from labkit.errors import BackendError

place = Path(tempfile.gettempdir())
filler = place / "filler"

def fill():
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

def refused(work):
    began = time.monotonic()
    try:
        work()
    except BackendError as error:
        assert f"in {place}, is full" in str(error), error
        assert "TMPDIR" in str(error)
    else:
        raise AssertionError("it was not refused")
    assert time.monotonic() - began < 5

lab = Lab(nodes=2, backend="process", session_timeout=2.0)
fill()
refused(lab.start)
assert Lab.all_open() == []
filler.unlink()
lab.start()
assert lab.node(1).sequence() == 1
fill()
refused(lab.add_node)
assert [node.name for node in lab.nodes] == ["node1", "node2"]
refused(lambda: lab.zkcli("ls /"))
filler.unlink()
assert lab.add_node().sequence()
lab.close()
print(*sorted(path.name for path in place.glob("*/*")))
"""
    mounted = f'mount -t tmpfs -o size=12m tmpfs {tmp_path} && exec "$@"'
    left = run(script, *alone, "sh", "-c", mounted, "sh", TMPDIR=str(tmp_path))
    assert left.split() == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full.*TMPDIR"),
        (errno.EMFILE, "opens no more files.*ulimit -n"),
        (errno.EAGAIN, "starts no more processes.*start fewer nodes"),
        (errno.EACCES, "refuses a file of the lab.*/some/where"),
    ],
)
def test_the_systems_refusals_say_what_to_do(number: int, words: str) -> None:
    with pytest.raises(BackendError, match=words), system.explained():
        raise OSError(number, os.strerror(number), "/some/where")
