"""Page 10: membership lags behind, so retries stay necessary."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import requests
from kazoo.exceptions import NoNodeError

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- discovery --------------------------------------------------------------------------------


def discover(zk: KazooClient, root: str) -> list[str]:
    urls = []
    for name in zk.get_children(root):
        if name.isdecimal():
            try:
                data, _ = zk.get(f"{root}/{name}")
            except NoNodeError:
                continue  # it has left since the listing
            urls.append(json.loads(data)["url"])
    return sorted(urls)


def _hopeful(zk: KazooClient, root: str) -> list[str]:
    """Expects that who was listed is still there."""
    names = [name for name in zk.get_children(root) if name.isdecimal()]
    return sorted(json.loads(zk.get(f"{root}/{name}")[0])["url"] for name in names)


def _giving_up(zk: KazooClient, root: str) -> list[str]:
    """One who has left makes it forget the others."""
    urls = []
    try:
        for name in zk.get_children(root):
            if name.isdecimal():
                urls.append(json.loads(zk.get(f"{root}/{name}")[0])["url"])
    except NoNodeError:
        pass
    return sorted(urls)


def _everything(zk: KazooClient, root: str) -> list[str]:
    """Takes a ticket for a server."""
    urls = []
    for name in zk.get_children(root):
        with suppress(NoNodeError):
            urls.append(json.loads(zk.get(f"{root}/{name}")[0])["url"])
    return sorted(urls)


def _judge_discover(harness: Harness) -> None:
    you, rival, root = harness.client(), harness.rival, harness.root
    urls = {str(n): f"http://127.0.0.1:500{n}" for n in (1, 2, 3)}
    for name, url in urls.items():
        data = json.dumps({"owner": f"node{name}", "url": url}).encode()
        rival.create(f"{root}/{name}", data, ephemeral=True)
    harness.equal(harness.call(you, root, kind=list), sorted(urls.values()))
    rival.create(f"{root}/ticket-0000000003", ephemeral=True)

    def leave(path: str) -> None:
        name = path.rsplit("/", 1)[1]
        name = name if name in urls else "1"
        rival.delete(f"{root}/{name}")
        del urls[name]

    you.before("get", leave)
    harness.equal(
        harness.call(you, root, kind=list),
        sorted(urls.values()),
        "One server left between your listing and your read; the others are still there.",
    )


# --- ask anybody ------------------------------------------------------------------------------


def ask_any(urls: list[str]) -> str | None:
    for url in urls:
        try:
            answer = requests.get(url, timeout=0.5)
        except requests.RequestException:
            continue  # dead, or too slow: ask the next one
        if answer.ok:
            return answer.text
    return None


def _the_first(urls: list[str]) -> str | None:
    """Asks one, and trusts the list."""
    return requests.get(urls[0], timeout=0.5).text


def _patient(urls: list[str]) -> str | None:
    """Waits for ever for somebody who says nothing."""
    for url in urls:
        try:
            answer = requests.get(url)
        except requests.RequestException:
            continue
        if answer.ok:
            return answer.text
    return None


def _any_word(urls: list[str]) -> str | None:
    """Takes "I don't know" for an answer."""
    for url in urls:
        try:
            return requests.get(url, timeout=0.5).text
        except requests.RequestException:
            continue
    return None


class _Handler(BaseHTTPRequestHandler):
    """A node that has a number, or has none."""

    def do_GET(self) -> None:
        knows = self.path == "/sequence"
        body = b"7" if knows else b'{"detail": "no connection"}'
        self.send_response(200 if knows else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _nodes() -> Iterator[tuple[str, str, str, str]]:
    """URLs of a dead node, one that says nothing, one that says 503, and one that answers."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        port = dead.getsockname()[1]  # nobody listens there
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
            thread = threading.Thread(
                target=server.serve_forever, args=(0.02,), name="labkit-exercise-http"
            )
            thread.start()
            try:
                at = f"http://127.0.0.1:{server.server_port}"
                yield (
                    f"http://127.0.0.1:{port}/sequence",
                    f"http://127.0.0.1:{silent.getsockname()[1]}/sequence",
                    f"{at}/without",
                    f"{at}/sequence",
                )
            finally:
                server.shutdown()
                thread.join()
                server.server_close()


def _judge_ask(harness: Harness) -> None:
    with _nodes() as (dead, silent, without, good):
        names = {dead: "is dead", silent: "says nothing", without: "says 503", good: "answers 7"}
        for urls, wanted in (
            ([good], "7"),
            ([dead, good], "7"),
            ([without, good], "7"),
            ([silent, good], "7"),
            ([dead, without, silent, good], "7"),
            ([dead, without], None),
        ):
            said = ", ".join(names[url] for url in urls)
            harness.note("the nodes", said)
            run = harness.run(urls)
            if not harness.wait(partial(getattr, run, "done"), 4.0):
                harness.fail(
                    f"Four seconds later there is no answer. The nodes: {said}. How long do you "
                    "wait for one of them?",
                    "still waits",
                )
            harness.equal(run.result(), wanted, f"The nodes, in the order of the list: {said}.")


EXERCISES = (
    Exercise(
        id="discover",
        page="10",
        title="Who is there?",
        question=(
            "The children of `root` that are numbers are servers; each holds JSON with its `url`. "
            "Return the URLs as a sorted list. Other children don't count, and a server may leave "
            f"at any moment. {HOLDS}"
        ),
        hints=(
            '`name.isdecimal()` tells numbers from other children; `json.loads(data)["url"]` '
            "reads the URL.",
            "Between the listing and the read, a server can leave. Then `get` raises "
            "`NoNodeError` (from `kazoo.exceptions`).",
            "One that has left is no reason to forget the others.",
        ),
        answer=discover,
        wrong=(_hopeful, _giving_up, _everything),
        judge=_judge_discover,
    ),
    Exercise(
        id="ask-any",
        page="10",
        title="Ask until somebody answers",
        question=(
            "`urls` is a list of URLs, in the order in which to try them. Return the text of the "
            "first answer with status 200, or `None` if there is none. A server may be dead, say "
            "503, or say nothing at all: wait half a second for each, no longer."
        ),
        hints=(
            "`requests.get(url, timeout=0.5)` raises a `requests.RequestException` when nothing "
            "comes.",
            "A 503 raises nothing: look at `answer.ok`.",
        ),
        answer=ask_any,
        wrong=(_the_first, _patient, _any_word),
        judge=_judge_ask,
    ),
)
