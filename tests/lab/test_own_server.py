"""A reader's class on its way into a node: what goes along, what cannot, and real labs of both."""

from __future__ import annotations

import functools
import json
import linecache
import os as operating_system
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata as about
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError as Taken
from kazoo.security import OPEN_ACL_UNSAFE

from labkit.errors import ConfigError, NoAnswer, StartTimeout
from labkit.fire import Unavailable
from labkit.lab.lab import Lab
from labkit.lab.own_server import claim_environment
from labkit.node.program import MAX_PACKED, Program

ROOT = "/sequence"
LIMIT = (5, 6.5, frozenset({"x"}), None)
answers: list[int] = []
lock = threading.Lock()


def _first_free(held: set[int]) -> int:
    number = 1
    while number in held:
        number += 1
    return _same(number)


def _same(number: int) -> int:
    return number


class _Base:
    """Shared by the servers below."""

    def start(self, zk: KazooClient, name: str) -> None:
        self.zk, self.name, self.number = zk, name, 0
        zk.ensure_path(ROOT)

    @functools.lru_cache  # noqa: B019
    def _wrapped(self) -> int:
        return 5


class Numbers(_Base):
    """List, create, try again."""

    limit = LIMIT

    def sequence(self) -> int:
        if self.zk.client_id is None:
            raise Unavailable("no session")
        while not self.number:
            number = _first_free({int(name) for name in self.zk.get_children(ROOT)})
            try:
                self.zk.create(
                    f"{ROOT}/{number}", self.name.encode(), OPEN_ACL_UNSAFE, ephemeral=True
                )
            except Taken:
                continue
            self.number = number
            print(f"{self.name} has {number}, {operating_system.path.basename('/a/b')}")
        return self.number

    def token(self) -> int | None:
        return int(self.zk.exists(f"{ROOT}/{self.number}").czxid)


class Better(Numbers):
    pass


def unpacked(claim: Any) -> Program:
    environment = claim_environment(claim)
    cls = environment["CLAIM"].rpartition(":")[2]
    return Program.unpack(environment["CLAIM_SOURCE"], cls)


def in_a_cell(source: str, name: str = "/tmp/ipykernel_7/1.py", **names: Any) -> dict[str, Any]:
    """What a notebook has after running a cell, and these names from cells before."""
    lines = source.splitlines(keepends=True)
    linecache.cache[name] = (len(source), None, lines, name)
    notebook = sys.modules["__main__"].__dict__ | {"__name__": "__main__", **names}
    exec(compile(source, name, "exec"), notebook)
    return notebook


CELL = """
import time

class MyServer:
    def start(self, zk, name):
        self.zk = zk

    def sequence(self):
        return 7 + BIAS
"""


# --- what goes along --------------------------------------------------------------------------


def test_a_name_is_a_name() -> None:
    assert claim_environment("original") == {"CLAIM": "original"}
    assert claim_environment("lowest-free") == {"CLAIM": "lowest-free"}


def test_a_class_brings_what_it_uses() -> None:
    program = unpacked(Better)
    made = program.load()
    assert [base.__name__ for base in made.__mro__] == ["Better", "Numbers", "_Base", "object"]
    assert made.limit == LIMIT
    module = sys.modules[made.__module__].__dict__
    assert module["Taken"] is Taken
    assert module["Unavailable"] is Unavailable
    assert module["OPEN_ACL_UNSAFE"] is OPEN_ACL_UNSAFE
    assert module["_first_free"]({1, 2}) == 3
    assert made()._wrapped() == 5
    assert not {"answers", "lock", "pytest", "unpacked"} & module.keys()
    assert program.names == {"test_own_server.py", "what it uses"}
    line = Numbers.sequence.__code__.co_firstlineno
    assert made.sequence.__code__.co_firstlineno == line  # as the reader knows it


def test_a_class_of_a_cell_brings_what_earlier_cells_made() -> None:
    notebook = in_a_cell(CELL + "raise_me = 1\n", BIAS=2)
    environment = claim_environment(notebook["MyServer"])
    assert environment["CLAIM"] == "notebook:MyServer"
    program = Program.unpack(environment["CLAIM_SOURCE"], "MyServer")
    assert program.load()().sequence() == 9
    assert "raise_me" not in str(program)  # the rest of its cell does not run in a node
    assert program.pieces[-1].name == "the cell of MyServer"
    assert program.pieces[-1].line == 4


def test_a_class_within_a_function() -> None:
    greeting = "hello"

    class Base:
        def start(self, zk: object, name: str) -> None:
            self.text = """
not indented"""

    class Local(Base):
        def sequence(self) -> int:
            return len(greeting)

        @property
        def word(self) -> str:
            return greeting

    made = unpacked(Local).load()()
    assert made.sequence() == 5
    made.start(None, "")
    assert made.text == "\nnot indented"


def test_decorators_and_modules_of_packages() -> None:
    @dataclass
    class Decorated:
        count: int = 4

        def start(self, zk: object, name: str) -> None:
            self.version = about.version("kazoo")

        def sequence(self) -> int:
            return self.count

    assert unpacked(Decorated).load()().sequence() == 4


def test_a_class_that_says_it_is_in_a_module_of_a_package_is_found(tmp_path: Path) -> None:
    path = tmp_path / "my_module.py"
    path.write_text(CELL.replace("BIAS", "1"))
    code = (
        "import json, my_module\n"
        "from labkit.lab.own_server import claim_environment\n"
        "print(json.dumps(claim_environment(my_module.MyServer)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**operating_system.environ, "PYTHONPATH": str(tmp_path)},
    )
    environment = json.loads(done.stdout)
    assert environment["CLAIM"] == "my_module.py:MyServer"
    assert Program.unpack(environment["CLAIM_SOURCE"], "MyServer").load()().sequence() == 8


def test_a_notebooks_class(tmp_path: Path) -> None:
    cells = [
        "from labkit.lab.own_server import claim_environment\nimport json, os.path\nBIAS = 3",
        "def twice(n):\n    return 2 * n",
        CELL.replace("7 + BIAS", "twice(7) + BIAS + len(os.path.basename('a/b'))"),
        "class Other(MyServer):\n    pass",
        "print('\\n' + json.dumps([claim_environment(MyServer), claim_environment(Other)]))",
    ]
    path = tmp_path / "page.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, path)
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--HistoryManager.enabled=False", str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("["))
    for environment, cls in zip(json.loads(line), ("MyServer", "Other"), strict=True):
        program = Program.unpack(environment["CLAIM_SOURCE"], cls)
        assert program.load()().sequence() == 2 * 7 + 3 + 1
        assert environment["CLAIM"] == f"notebook:{cls}"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my_server.py"
    path.write_text(CELL.replace("BIAS", "0") + "\nif __name__ == '__main__':\n    1 / 0\n")
    for claim in (path, str(path), f"{path}:MyServer"):
        environment = claim_environment(claim)
        assert environment["CLAIM"] == "my_server.py:MyServer"
        assert Program.unpack(environment["CLAIM_SOURCE"], "MyServer").load()().sequence() == 7


# --- what cannot ------------------------------------------------------------------------------


def uses(expression: str, **names: Any) -> type:
    """A class of a cell whose answer is this."""
    source = CELL.replace("7 + BIAS", expression)
    cls: type = in_a_cell(source, **names)["MyServer"]
    return cls


class Endless:
    """An object that refuses to be shown."""

    def __repr__(self) -> str:
        raise SystemExit


AT_ONCE = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
from wide import MyServer
from labkit.lab.own_server import claim_environment

class Litter:  # whoever clears it away lets other threads go on in the middle of its work
    def __init__(self):
        self.own = self
    def __del__(self):
        time.sleep(0.002)

def start():
    for _ in range(10):
        for _ in range(5):
            Litter()
        claim_environment(MyServer)

failed = []
threading.excepthook = failed.append
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=start) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print([str(each.exc_value) for each in failed])
"""


def test_labs_that_start_side_by_side_read_it_one_after_the_other(tmp_path: Path) -> None:
    deep = ", ".join(f"[[[[{n}, (1 + {n}) * 2]]]]" for n in range(400))
    server = "class MyServer:\n    def start(self, zk, name): ...\n    def sequence(self): ...\n"
    (tmp_path / "wide.py").write_text(f"DEEP = [{deep}]\n{server}")
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"x": Endless()}, "uses x, an Endless that only this notebook (or module) has"),
        ({"x": []}, "uses x, a list that only this notebook"),
        ({"x": {"a": 1}}, "uses x, a dict that only"),
        ({"x": threading.Lock()}, "uses x, a lock that only"),
        ({"x": lambda: 1}, "uses x, a function that only"),
        ({"x": sys.modules[__name__]}, "uses x, a module that only"),
        ({"x": (1, [])}, "uses x, a tuple that only"),
        ({"x": float("nan")}, "uses x, a float that only"),
        ({}, "MyServer uses x, which is not defined: define or import it before you give"),
    ],
)
def test_what_only_the_notebook_has_is_named(names: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        claim_environment(uses("x", **names))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_may_be_missing() -> None:
    assert unpacked(uses("[n for n in range(3) if n][0] + globals().get('x', 1)"))
    made = unpacked(uses("self.count() if 0 else len(__name__)"))
    assert made.load()().sequence() > 0
    source = CELL.replace("return 7 + BIAS", "global seen\n        seen = 1\n        return seen")
    assert unpacked(in_a_cell(source)["MyServer"]).load()().sequence() == 1


@pytest.mark.parametrize("name", ["display", "get_ipython"])
def test_what_only_ipython_has_is_no_builtin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    monkeypatch.setattr(builtins, name, print, raising=False)
    with pytest.raises(ConfigError, match=f"uses {name}, which is not defined"):
        claim_environment(uses(f"{name}(1)"))


def test_a_helper_that_needs_something_names_it() -> None:
    notebook = in_a_cell("def helper():\n    return lab\n", "/tmp/ipykernel_7/0.py", lab=Endless())
    notebook["helper"].__globals__["lab"] = Endless()
    with pytest.raises(ConfigError, match="MyServer uses lab, an Endless"):
        claim_environment(uses("helper()", helper=notebook["helper"]))


def test_two_meanings_of_one_name() -> None:
    helper = in_a_cell("def helper():\n    return k\n", "/tmp/ipykernel_7/0.py", k=1)["helper"]
    with pytest.raises(ConfigError, match="mean different things by k; rename one"):
        claim_environment(uses("helper() + k", helper=helper, k=2))


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("highest-free", "claim is 'highest-free'; it can be 'lowest-free', 'original', a class"),
        (None, "claim is None; it can be"),
        (7, "claim is 7; it can be"),
        (lambda: 1, "it can be 'lowest-free', 'original', a class with"),
        (Numbers(), "claim is an object of Numbers; each node makes its own: claim=Numbers."),
        (Endless(), "claim is what cannot be shown; it can be"),
        (int, "int has no method start(zk, name)."),
        (_Base, "_Base has no method sequence()."),
        ("missing.py:MyServer", "missing.py cannot be read: No such file or directory."),
        (
            type("Made", (), {"start": lambda self, zk, name: 1, "sequence": lambda self: 1}),
            "The source of Made is nowhere to be found.",
        ),
    ],
)
def test_what_is_no_server(claim: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Lab(claim=claim)
    assert said in str(caught.value)


def test_a_syntax_error_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my_server.py"
    path.write_text("class MyServer:\n    def sequence(self)\n        return 1\n")
    with pytest.raises(ConfigError, match=r"^my_server\.py, line 2 is not Python: expected ':'\.$"):
        Lab(claim=str(path))


def test_a_class_that_is_too_large() -> None:
    noise = "".join(f"    # {hash((i, 'x')):x}\n" for i in range(20_000))
    cls = in_a_cell(CELL.replace("BIAS", "1").replace("    def start", noise + "    def start"))
    with pytest.raises(ConfigError, match=f"MyServer is too large .* {MAX_PACKED:,} is the most"):
        claim_environment(cls["MyServer"])


# --- real labs --------------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)]
)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the backend under test."""
    if request.param == "docker":
        request.getfixturevalue("docker_images")
    return request.param


def test_a_lab_of_a_class(backend: str) -> None:
    with Lab(3, backend=backend, claim=Better, session_timeout=1.0) as lab:
        assert [node.sequence() for node in lab.nodes] == [1, 2, 3]
        answer = lab.node(2).answer()
        assert answer.token == lab.zk.exists("/sequence/2").czxid
        assert answer.lease is None
        status = lab.node(2).status()
        assert (status["number"], status["token"]) == (2, answer.token)
        assert status["claim"] == "test_own_server.py:Better"
        assert "node2 has 2, b" in lab.node(2).logs()
        assert lab.node(1).id() > 0
        lab.node(2).stop()  # closes its session
        assert lab.add_node().sequence() == 2
        lab.node(3).kill()
        lab.wait_until(lambda: not lab.zk.exists("/sequence/3"), 10)
        lab.node(3).start()
        assert lab.node(3).sequence() == 3


def test_a_lab_of_a_cells_class(backend: str) -> None:
    with Lab(1, backend=backend, claim=uses("x + 1", x=3), record=False) as lab:
        assert lab.node(1).sequence() == 4


def test_a_lab_of_a_file(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "my_server.py"
    path.write_text(CELL.replace("7 + BIAS", "{}['x']"))
    with Lab(1, backend=backend, claim=str(path), record=False) as lab:
        with pytest.raises(NoAnswer, match=r"MyServer\.sequence raised KeyError: 'x' \(line 9 of"):
            lab.node(1).sequence()
        *_, last = lab.node(1).logs().splitlines()
        assert last.endswith(
            "node1: MyServer.sequence raised KeyError: 'x' (line 9 of my_server.py)"
        )
        assert "return {}['x']" in lab.node(1).logs()


def test_a_start_that_fails_says_why_at_once(backend: str) -> None:
    began = time.monotonic()
    cls = in_a_cell(CELL.replace("self.zk = zk", "import numpi").replace("BIAS", "0"))["MyServer"]
    with pytest.raises(StartTimeout) as caught:
        Lab(2, backend=backend, claim=cls, record=False).start()
    assert "ended while it started." in str(caught.value)
    assert (
        "MyServer.start raised ModuleNotFoundError: No module named 'numpi'; a node has Python's "
        "own modules, kazoo and Flask (line 6 of the cell of MyServer)."
    ) in str(caught.value)
    assert time.monotonic() - began < 20


def test_a_start_without_end(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.lab.node.START_TIMEOUT", 4.0)
    cls = in_a_cell(CELL.replace("self.zk = zk", "while True: pass").replace("BIAS", "0"))
    with pytest.raises(StartTimeout) as caught:
        Lab(1, backend=backend, claim=cls["MyServer"], record=False).start()
    assert "node1 has not started its server within 4 s." in str(caught.value)
    assert re.search(r"MyServer\.start has not returned for \d\.\d s", str(caught.value))
    assert "(line 6 of the cell of MyServer)" in str(caught.value)
