"""Another user of the machine can look at a lab, and no more."""

from __future__ import annotations

import ast
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import NoAnswer
from labkit.lab.lab import Lab
from labkit.servers import reaper, registry

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

# Loads what it needs, becomes another user, and tells what came of each thing that it tried.
_STRANGER = """
import json, os, signal, sys
import kazoo.client, kazoo.recipe.watchers, psutil, encodings.idna
from labkit.servers import registry, reaper
hosts, directory, user, pids = json.loads(sys.argv[1])
os.setgroups([]), os.setgid(user), os.setuid(user)
zk = kazoo.client.KazooClient(hosts, timeout=10)
zk.start()
said = {}
def attempt(name, action):
    try:
        said[name] = repr(action())
    except BaseException as error:
        said[name] = type(error).__name__
attempt("look", lambda: zk.get_children("/sequence"))
attempt("read", lambda: zk.get("/sequence/1")[0])
attempt("create", lambda: zk.create("/sequence/2"))
attempt("ticket", lambda: zk.create("/sequence/ticket-", ephemeral=True, sequence=True))
attempt("set", lambda: zk.set("/sequence/1", b"mine"))
attempt("delete", lambda: zk.delete("/sequence/1"))
attempt("by the lab's client", lambda: zk.set("/sequence/7", b"mine"))
attempt("list", lambda: zk.set_acls("/sequence", zk.get_acls("/")[0]))
attempt("ids", lambda: zk.set("/snowflake/1", b"{}"))
attempt("files", lambda: os.listdir(directory))
attempt("registration", lambda: open(directory + "/lab.json").read())
attempt("labs", lambda: registry.registered())
attempt("found", lambda: reaper.processes_of(os.path.basename(directory)))
for pid in pids:
    attempt(f"kill {pid}", lambda: os.kill(pid, signal.SIGKILL))
    attempt(f"environment {pid}", lambda: open(f"/proc/{pid}/environ").read())
zk.stop()
print(json.dumps(said))
"""


_KINDS = ["process", pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture(scope="module", params=_KINDS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if request.param == "docker":
        request.getfixturevalue("docker_images")
    with Lab(nodes=2, backend=request.param, session_timeout=2.0) as lab:
        yield lab


def stranger(lab: Lab) -> dict[str, Any]:
    pids = [process.pid for process in reaper.processes_of(lab.id)]
    told = [lab.zookeeper.hosts, str(registry.directory(lab.id)), pwd.getpwnam("nobody").pw_uid]
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER, json.dumps([*told, pids])],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_stranger_looks_and_changes_nothing(lab: Lab) -> None:
    assert lab.node(1).sequence() == 1
    assert lab.node(1).id()
    lab.zk.create("/sequence/7", ephemeral=True)
    said = stranger(lab)
    assert sorted(ast.literal_eval(said.pop("look"))) == ["1", "7"]
    assert "node1" in said.pop("read")
    assert said.pop("labs") == said.pop("found") == "[]"
    assert said.pop("files") == said.pop("registration") == "PermissionError"
    for name in ("create", "ticket", "set", "delete", "by the lab's client", "list", "ids"):
        assert said.pop(name) == "NoAuthError", name
    assert set(said.values()) <= {"PermissionError"}, said
    assert lab.backend == "docker" or len(said) > 6  # ZooKeeper, nodes and what starts them
    assert lab.node(2).sequence() == 2
    lab.zk.delete("/sequence/7")


def test_a_stranger_is_early() -> None:
    with Lab(nodes=1, backend="process") as lab:
        assert stranger(lab)["create"] == "NoAuthError"
        assert lab.node(1).sequence() == 1


def test_the_owner_may_do_everything(lab: Lab) -> None:
    client = lab.client("ann")
    client.create("/sequence/8", b"mine")
    client.set("/sequence/8", b"still")
    assert lab.zkcli("get /sequence/8") == "still"
    lab.zkcli("set /sequence/8 'by the command line'")
    assert lab.zk.get("/sequence/8")[0] == b"by the command line"
    transaction = client.transaction()
    transaction.delete("/sequence/8")
    transaction.create("/sequence/9", ephemeral=True)
    transaction.commit()
    lab.zkcli("delete /sequence/9")
    assert not lab.zk.exists("/sequence/9")


def test_other_paths_are_everybodys(lab: Lab) -> None:
    lab.zk.create("/open", b"")
    assert lab.zk.get_acls("/open")[0][0].id.id == "anyone"
    lab.zk.delete("/open")


def test_a_readers_server_guards_its_numbers(tmp_path: Path) -> None:
    server = tmp_path / "mine.py"
    server.write_text(
        "class Mine:\n"
        "    def start(self, zk, name):\n"
        "        self.zk = zk\n"
        "    def sequence(self):\n"
        "        self.zk.ensure_path('/sequence')\n"
        "        if not self.zk.exists('/sequence/1'):\n"
        "            self.zk.create('/sequence/1', b'node1', ephemeral=True)\n"
        "        return 1\n"
    )
    with Lab(nodes=1, backend="process", claim=f"{server}:Mine") as lab:
        assert lab.node(1).sequence() == 1
        said = stranger(lab)
        assert {said[name] for name in ("create", "set", "delete")} == {"NoAuthError"}
        lab.zk.set("/sequence/1", b"the owner's")


def test_without_a_credential_all_is_open() -> None:
    with Lab(nodes=0, backend="process", env={"ZOOKEEPER_AUTH": ""}) as lab:
        node = lab.add_node()
        assert node.sequence() == 1
        assert lab.zk.get_acls("/sequence/1")[0][0].id.id == "anyone"
        assert node.sequence() == 1


def test_a_wrong_credential_is_no_key(lab: Lab) -> None:
    intruder = lab.add_node(env={"ZOOKEEPER_AUTH": "lab:guessed"})
    assert intruder.status()["number"] is None
    with pytest.raises(NoAnswer):
        intruder.sequence()
    assert "NoAuthError" in intruder.logs()
