"""A reader's own server: what it may do, and what a node makes of what it may not."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest
import requests
from conftest import Tree
from kazoo.exceptions import ConnectionLoss
from probe import QUIET
from test_process import free_port, node, wait_listening

from labkit.node.claimant import Held, Refusal
from labkit.node.custom import Custom
from labkit.node.program import MAX_PACKED, BadProgram, Piece, Program
from labkit.node.session import Session
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder

SIMPLE = """
class MyServer:
    def start(self, zk, name):
        self.zk, self.name, self.number = zk, name, None
        zk.ensure_path("/sequence")

    def sequence(self):
        if self.number is None:
            number = 1
            while self.zk.exists(f"/sequence/{number}"):
                number += 1
            self.zk.create(f"/sequence/{number}", self.name.encode(), ephemeral=True)
            self.number = number
        return self.number
"""


def server(sequence: str = "return 1", start: str = "self.zk = zk", more: str = "") -> str:
    """The source of a server with these bodies."""
    return (
        "class MyServer:\n"
        f"    def start(self, zk, name):\n{indent(dedent(start), ' ' * 8)}\n"
        f"    def sequence(self):\n{indent(dedent(sequence), ' ' * 8)}\n"
        f"{indent(dedent(more), ' ' * 4)}\n"
    )


class Serving:
    """A reader's server in this process, and how it failed."""

    def __init__(self, hosts: str, source: str, timeout: float = 5.0) -> None:
        self.failures: list[tuple[str, int]] = []
        self.ended = threading.Event()
        program = Program.of(source, "my_server.py", "MyServer")
        self.custom = Custom(Session(hosts, timeout, QUIET), "node7", program, self._fail)
        self.custom.start()
        assert self.custom.wait_connected(10)

    def _fail(self, said: str, code: int) -> None:
        self.failures.append((said, code))
        self.ended.set()

    def refusal(self, timeout: float = 5.0) -> tuple[str, str]:
        """Why it does not answer."""
        with pytest.raises(Refusal) as caught:
            self.custom.number(timeout)
        return caught.value.reason, str(caught.value)


Serve = Callable[..., Serving]


@pytest.fixture
def serve(tree: Tree) -> Iterator[Serve]:
    running = []

    def make(source: str, hosts: str | None = None, timeout: float = 5.0) -> Serving:
        running.append(Serving(hosts or tree.hosts, source, timeout))
        return running[-1]

    yield make
    for serving in running:
        serving.custom.close()


# --- one that works ---------------------------------------------------------------------------


def test_it_claims_and_says_so(tree: Tree, serve: Serve) -> None:
    one, two = serve(SIMPLE), serve(SIMPLE)
    assert one.custom.status()["number"] is None
    assert one.custom.number(5) == Held(1, None, None)
    assert two.custom.number(5) == Held(2, None, None)
    status = two.custom.status()
    assert (status["number"], status["token"], status["connection"]) == (2, None, "CONNECTED")
    assert int(status["session"], 16) == tree.zk.get(f"{tree.path}/sequence/2")[1].ephemeralOwner
    assert status["reason"] is None
    one.custom.close()
    assert tree.children() == {"2"}


def test_its_token_goes_with_its_answer(serve: Serve) -> None:
    serving = serve(server("self.n = 3; return 3", more="def token(self): return self.n * 10"))
    assert serving.custom.number(5) == Held(3, 30, None)
    assert serving.custom.status()["token"] == 30


def test_attributes_named_like_methods_are_its_own_affair(serve: Serve) -> None:
    serving = serve(server("return 1", start="self.token, self.state = 5, 'new'"))
    assert serving.custom.number(5) == Held(1, None, None)


def test_it_is_called_by_one_request_at_a_time(serve: Serve) -> None:
    serving = serve(
        server(
            """
            assert not self.inside
            self.inside = True
            time.sleep(0.02)
            self.inside = False
            self.count += 1
            return self.count
            """,
            start="self.inside, self.count = False, 0",
        ).replace("class", "import time\nclass", 1)
    )
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(serving.custom.number(5).number))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_it_hears_of_its_connection_and_may_ask_zookeeper_then(
    tree: Tree, serve: Serve, forwarder: Forwarder, link: str
) -> None:
    serving = serve(
        server(
            "return 1",
            start="self.zk, self.heard = zk, zk.ensure_path('/heard')",
            more="""
            def state(self, state):
                self.zk.create("/heard/" + state + "-", sequence=True)
            """,
        ),
        hosts=link,
        timeout=1.0,
    )
    serving.custom.number(5)
    forwarder.fault("node", "zookeeper", LinkFault("refuse"))
    time.sleep(0.3)
    forwarder.fault("node", "zookeeper", None)

    def heard() -> list[str]:
        names = tree.zk.get_children(f"{tree.path}/heard")
        return [name.split("-")[0] for name in sorted(names, key=lambda name: name[-10:])]

    tree.wait(lambda: heard() == ["SUSPENDED", "CONNECTED"])


def test_a_start_that_zookeeper_fails_is_tried_again(serve: Serve) -> None:
    source = server(
        "return self.starts",
        start="""
        self.starts = getattr(self, "starts", 0) + 1
        if self.starts == 1:
            raise ConnectionLoss
        """,
    )
    serving = serve(f"from {ConnectionLoss.__module__} import ConnectionLoss\n{source}")
    assert serving.custom.status()["reason"] == "starting"
    assert serving.custom.number(5).number == 2
    assert not serving.failures


# --- what has no number -----------------------------------------------------------------------


def test_unavailable_is_said_as_it_is(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    source = server("raise Unavailable('I am not sure.')")
    serving = serve(f"from labkit.node.custom import Unavailable\n{source}")
    assert serving.refusal() == ("unavailable", "I am not sure.")
    assert not caplog.records


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return '3'", "returned '3' (str)"),
        ("return None", "returned None (NoneType)"),
        ("return True", "returned True (bool)"),
        ("return -1", "returned -1 (int)"),
        ("return 0", "returned 0 (int)"),
        ("return 3.0", "returned 3.0 (float)"),
        ("return 10 ** 5000", "returned what cannot be shown (int)"),
        (
            "class Liar(int):\n    def __le__(self, other): return True\nreturn Liar(-5)",
            "returned -5 (Liar)",
        ),
        (
            "class Mute:\n    def __repr__(self): raise ValueError\nreturn Mute()",
            "returned <Mute instance",
        ),
    ],
)
def test_a_value_that_is_no_number(serve: Serve, body: str, said: str) -> None:
    reason, detail = serve(server(body)).refusal()
    assert reason == "wrong-answer"
    assert detail.startswith("MyServer.sequence returned ")
    assert said in detail
    assert detail.endswith("; it must be an int from 1 to 999999999.")


def test_a_token_that_is_none(serve: Serve) -> None:
    serving = serve(server(more="def token(self): return 'x'"))
    assert serving.refusal() == (
        "wrong-answer",
        "MyServer.token returned 'x' (str); it must be an int from 0 up, or None.",
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {}['x']", "raised KeyError: 'x' (line 5 of my_server.py)."),
        ("return lab.number", "raised NameError: name 'lab' is not defined (line 5 of"),
        ("raise SystemExit(3)", "called sys.exit() (line 5 of my_server.py)."),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt (line 5 of my_server.py)."),
        ("return self.sequence()", "raised RecursionError: maximum recursion depth"),
        ("import numpi", "No module named 'numpi'; a node has Python's own modules, kazoo and"),
        (
            "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
            "raised Mute: (its message cannot be shown) (line 7 of my_server.py).",
        ),
        ("raise ValueError('x' * 10_000)", "xxx… (line 5 of my_server.py)."),
        ("self.zk.delete('/not/there')", "raised NoNodeError (line 5 of my_server.py)."),
    ],
)
def test_an_exception_is_told_with_its_line(
    serve: Serve, caplog: pytest.LogCaptureFixture, body: str, said: str
) -> None:
    serving = serve(server(body))
    for _ in range(3):
        reason, detail = serving.refusal()
        assert reason == "error"
        assert detail.startswith("MyServer.sequence ")
        assert said in detail
        assert len(detail) < 500
    told = [record.getMessage() for record in caplog.records]
    assert told[-1] == f"node7: {detail[:-1]}"  # once, not three times
    assert len(told) == (1 if "NoNode" in body or "/not/there" in body else 2)
    if len(told) == 2:
        assert told[0].startswith("Traceback")
        assert body.splitlines()[-1].strip() in told[0]  # the source is shown


@pytest.mark.alone
@pytest.mark.parametrize("body", ["while True: time.sleep(0.1)", "threading.Event().wait()"])
def test_an_endless_sequence_is_refused_in_time(
    serve: Serve, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    serving = serve(f"import threading, time\n{server(body)}")
    for _ in range(2):
        began = time.monotonic()
        reason, detail = serving.refusal(timeout=0.3)
        assert time.monotonic() - began < 0.6
        assert reason == "still-running"
        assert detail.startswith("MyServer.sequence has not returned for 0.")
        assert detail.endswith(" s (line 6 of my_server.py).")
    assert serving.custom.status()["number"] is None
    assert [r.getMessage()[:42] for r in caplog.records] == [
        "node7: MyServer.sequence has not returned "
    ]
    began = time.monotonic()
    serving.custom.close()
    assert time.monotonic() - began < 1


def test_what_comes_late_is_not_lost(serve: Serve) -> None:
    body = "time.sleep(0.4); self.n += 1; return self.n"
    serving = serve("import time\n" + server(body, start="self.n = 0"))
    assert serving.refusal(timeout=0.1)[0] == "still-running"
    assert serving.custom.number(5).number == 2  # the first call went on, and ended


@pytest.mark.alone
def test_too_many_requests_come_back_later(serve: Serve) -> None:
    serving = serve("import time\n" + server("while True: time.sleep(1)"))
    threads = [
        threading.Thread(target=lambda: serving.refusal(timeout=1.0), daemon=True) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert serving.refusal(timeout=5.0)[0] == "still-running"
    assert time.monotonic() - began < 0.5
    for thread in threads:
        thread.join()


def test_an_error_in_state_harms_nobody_else(
    tree: Tree, serve: Serve, forwarder: Forwarder, link: str, caplog: pytest.LogCaptureFixture
) -> None:
    more = "def state(self, state): raise SystemExit"
    serving = serve(server(more=more), hosts=link)
    serving.custom.number(5)
    forwarder.fault("node", "zookeeper", LinkFault("refuse"))
    tree.wait(lambda: any("MyServer.state called sys.exit()" in r.message for r in caplog.records))
    forwarder.fault("node", "zookeeper", None)
    assert serving.custom.number(5).number == 1


# --- what cannot start ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        (
            server(start="raise ValueError('no')"),
            1,
            "node7: MyServer.start raised ValueError: no (line 3 of my_server.py).",
        ),
        (
            server(start="exit(3)"),
            1,
            "node7: MyServer.start called sys.exit() (line 3 of my_server.py).",
        ),
        (
            "x = lab\n" + server(),
            2,
            "node7: loading MyServer raised NameError: name 'lab' is not defined "
            "(line 1 of my_server.py).",
        ),
        (
            server(more="def __init__(self): self.x = missing"),
            2,
            "node7: loading MyServer raised NameError: name 'missing' is not defined "
            "(line 6 of my_server.py).",
        ),
        (
            server(more="def __init__(self, port): pass"),
            2,
            "node7: MyServer() needs arguments, and a node has none to give: take what you need "
            "in start(zk, name).",
        ),
        (
            "class MyServer:\n    def sequence(self): return 1\n",
            2,
            "node7: MyServer has no method start(zk, name).",
        ),
        (
            "class MyServer:\n    def start(self, zk, name): pass\n",
            2,
            "node7: MyServer has no method sequence().",
        ),
        (
            "class MyServer:\n    def start(self, zk): pass\n    def sequence(self): return 1\n",
            2,
            "node7: MyServer.start cannot be called as start(zk, name).",
        ),
        (
            server().replace("def sequence", "async def sequence"),
            2,
            "node7: MyServer.sequence is async or a generator; use a plain def.",
        ),
        (server() + "\nMyServer = 3\n", 2, "node7: my_server.py makes no class MyServer."),
    ],
)
def test_a_server_that_cannot_start(serve: Serve, source: str, code: int, said: str) -> None:
    serving = serve(source)
    assert serving.ended.wait(10)
    assert serving.failures == [(said, code)]


@pytest.mark.parametrize(
    ("source", "doing", "line"),
    [
        (server(start="import time\nwhile True: time.sleep(1)"), "MyServer.start", 4),
        ("import time\nwhile True: time.sleep(1)\n" + server(), "loading MyServer", 2),
    ],
)
def test_an_endless_start(
    tree: Tree, serve: Serve, caplog: pytest.LogCaptureFixture, source: str, doing: str, line: int
) -> None:
    serving = serve(source)
    reason, detail = serving.refusal(timeout=0.3)
    assert reason == serving.custom.status()["reason"] == "starting"
    assert detail.startswith(f"{doing} has not returned for 0.")
    assert detail.endswith(f" s (line {line} of my_server.py).")
    caplog.clear()
    tree.wait(lambda: caplog.records, timeout=5)  # without a request, the log says it too
    assert caplog.records[0].getMessage().startswith(f"node7: {doing} has not returned for 2.")
    began = time.monotonic()
    serving.custom.close()
    assert time.monotonic() - began < 1


# --- its source -------------------------------------------------------------------------------


def test_pieces_keep_their_names_and_lines() -> None:
    program = Program(
        (
            Piece("what it uses", 1, "import time\nLIMIT = 3"),
            Piece("cell", 40, "def fail():\n    raise ValueError(LIMIT)"),
            Piece("cell", 10, server("fail()")),
        ),
        "MyServer",
    )
    again = Program.unpack(program.pack(), "MyServer")
    assert again == program
    made = again.load()()
    with pytest.raises(ValueError, match="3") as caught:
        made.sequence()
    lines = [entry.lineno + 1 for entry in caught.traceback[1:]]
    assert lines == [14, 41]
    assert str(caught.traceback[-1].statement).strip() == "raise ValueError(LIMIT)"


def test_annotations_may_name_what_a_node_has_not() -> None:
    source = "class MyServer:\n    def start(self, zk: Client, name: Name): pass\n"
    source += "    def sequence(self) -> Number: return 1\n"
    assert Program.of(source, "my_server.py").load().__name__ == "MyServer"


def test_the_only_class_with_sequence_is_meant() -> None:
    source = "class Helper:\n    pass\n" + server()
    assert Program.of(source, "my_server.py").cls == "MyServer"


@pytest.mark.parametrize(
    ("source", "wanted", "said"),
    [
        ("def f(:", "", "my_server.py, line 1 is not Python: invalid syntax."),
        ("x = '\0'", "", "is not Python: "),
        (SIMPLE, "Mine", "my_server.py has no class Mine; it has MyServer."),
        ("", "Mine", "my_server.py has no class Mine; it has none at all."),
        ("class A: pass", "", "In my_server.py no class has a method sequence()"),
        (
            SIMPLE + SIMPLE.replace("MyServer", "Other"),
            "",
            "In my_server.py the classes MyServer, Other have a method sequence(): name one, as "
            "my_server.py:MyServer.",
        ),
    ],
)
def test_a_source_that_cannot_be_one(source: str, wanted: str, said: str) -> None:
    with pytest.raises(BadProgram) as caught:
        Program.of(source, "my_server.py", wanted)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_that_is_too_large_for_an_environment() -> None:
    noise = "".join(f"# {hash((i, 'x')):x}\n" for i in range(20_000))
    with pytest.raises(BadProgram, match=f"{MAX_PACKED:,} is the most"):
        Program.of(noise + SIMPLE, "my_server.py").pack()


# --- as a process -----------------------------------------------------------------------------


def test_a_file_is_served(tree: Tree, tmp_path: Path) -> None:
    path = tmp_path / "my_server.py"
    path.write_text(SIMPLE.replace("self.number = number", "self.number = number; print('got it')"))
    port = free_port()
    with node(
        PORT=str(port),
        ZOOKEEPER_HOSTS=tree.hosts,
        CLAIM=f"{path}:MyServer",
        NODE_NAME="node7",
        SESSION_TIMEOUT_MS="60000",
    ) as process:
        wait_listening(port)
        url = f"http://127.0.0.1:{port}"
        answer = requests.get(f"{url}/sequence", timeout=5)
        assert (answer.status_code, answer.json()) == (200, 1)
        assert "Fencing-Token" not in answer.headers
        status = requests.get(f"{url}/status", timeout=5).json()
        assert (status["name"], status["number"], status["token"]) == ("node7", 1, None)
        assert status["claim"] == f"{path}:MyServer"
        assert requests.get(f"{url}/swagger", timeout=5).ok
        assert int(requests.get(f"{url}/id", timeout=5).json()["id_str"]) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert tree.children() == set()  # its session was closed


@pytest.mark.alone
def test_a_hanging_server_answers_in_time_and_ends_in_time(tree: Tree) -> None:
    source = server(
        "while True: pass",
        start="""
        import threading
        threading.Thread(target=threading.Event().wait).start()  # never ends
        """,
    )
    port = free_port()
    packed = Program.of(source, "my_server.py").pack()
    with node(
        PORT=str(port),
        ZOOKEEPER_HOSTS=tree.hosts,
        CLAIM="cell:MyServer",
        CLAIM_SOURCE=packed,
        REQUEST_DEADLINE_MS="500",
    ) as process:
        wait_listening(port)
        url = f"http://127.0.0.1:{port}"
        for _ in range(3):
            began = time.monotonic()
            answer = requests.get(f"{url}/sequence", timeout=5)
            assert time.monotonic() - began < 1.0
            assert answer.status_code == 503
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["reason"] == "still-running"
            assert requests.get(f"{url}/status", timeout=1).json()["number"] is None
        process.terminate()
        assert process.wait(3) == 0


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("def f(:", 2, "line 1 is not Python: invalid syntax."),
        (None, 2, "cannot be read: No such file or directory."),
        ("import sys\nsys.exit(0)\n" + SIMPLE, 2, "node7: loading MyServer called sys.exit()"),
        (server(start="raise ValueError"), 1, "node7: MyServer.start raised ValueError (line 3"),
    ],
)
def test_a_process_that_cannot_serve_says_why_in_its_last_line(
    tree: Tree, tmp_path: Path, source: str | None, code: int, said: str
) -> None:
    path = tmp_path / "my_server.py"
    if source is not None:
        path.write_text(source)
    with node(
        PORT=str(free_port()),
        ZOOKEEPER_HOSTS=tree.hosts,
        CLAIM=f"{path}:MyServer",
        NODE_NAME="node7",
    ) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert said in err.splitlines()[-1]
