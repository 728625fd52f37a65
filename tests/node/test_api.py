"""A node's HTTP face, as its own document describes it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser

from labkit.lab.lab import Lab
from labkit.lab.node import Node
from labkit.node.snowflake import decode


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes, the second of which finds no number to have."""
    with Lab(nodes=2, backend="process", max_number=1, record=False) as lab:
        assert lab.node(1).sequence() == 1
        yield lab


@pytest.fixture(scope="module")
def node(lab: Lab) -> Node:
    return lab.node(1)


def ask(node: Node, path: str, method: str = "GET") -> requests.Response:
    return requests.request(method, node.url + path, timeout=10, allow_redirects=False)


def problem(response: requests.Response) -> dict[str, Any]:
    """The problem that a response describes, if it does so properly."""
    assert response.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert {*found} == {"type", "title", "status", "detail", "reason"}
    assert found["status"] == response.status_code
    assert "Traceback" not in found["detail"]
    return found


# --- the document -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = ask(node, "/openapi.json").json()
    return found


def test_every_route_is_documented_with_what_it_answers(document: dict[str, Any]) -> None:
    assert {
        (path, method): [*operation["responses"]]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    } == {
        ("/sequence", "get"): ["200", "503"],
        ("/status", "get"): ["200"],
        ("/id", "get"): ["200", "503"],
        ("/ids", "get"): ["200", "422", "503"],
    }


def test_nobody_is_asked_to_log_in_where_nobody_can(document: dict[str, Any]) -> None:
    assert "securitySchemes" not in document["components"]  # by that Swagger UI shows a button


def test_the_headers_of_a_number_are_documented(document: dict[str, Any], node: Node) -> None:
    described = document["paths"]["/sequence"]["get"]["responses"]["200"]["headers"]
    assert {*described} == {"Fencing-Token", "Lease-Remaining-Ms"}
    assert {*described} <= {*ask(node, "/sequence").headers}


def test_the_status_says_all_that_is_documented(document: dict[str, Any], lab: Lab) -> None:
    described = document["components"]["schemas"]["Status"]["properties"]
    for node in lab.nodes:
        assert {*node.status()} == {*described}


@pytest.mark.long
@pytest.mark.parametrize("zookeeper", ["there", "gone"])
def test_schemathesis_finds_nothing(lab: Lab, node: Node, zookeeper: str, tmp_path: Path) -> None:
    options = ["--checks=all", "--phases=coverage,fuzzing", "--max-examples=10"]
    if zookeeper == "gone":
        # Then a 503 is right, and documented; another 5xx is not.
        options.append("--exclude-checks=not_a_server_error")
        lab.partition(1, kind="refuse")
        lab.wait_until(lambda: node.status()["connection"] != "CONNECTED")
    try:
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "--no-color",
                "run",
                *options,
                f"{node.url}/openapi.json",
            ],
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
        )
    finally:
        lab.heal()
        lab.wait_until(node.sequence, timeout=10)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 4" in run.stdout


# --- the pages --------------------------------------------------------------------------------


def test_the_front_door_leads_to_swagger(node: Node) -> None:
    home = ask(node, "/")
    assert (home.status_code, home.headers["Location"]) == (
        302,
        "swagger",
    )  # relative, for a proxy may give the node a prefix
    page = ask(node, "/swagger")
    assert page.status_code == 200
    assert "//cdn" not in page.text
    assert "http://" not in page.text.replace("http://www.w3.org", "")


def test_the_document_and_its_pages_work_behind_a_prefix(
    document: dict[str, Any], node: Node, chromium: Browser
) -> None:
    assert document["servers"] == [{"url": "."}]
    with prefixed("/user/ann/proxy/5001", node) as url, closing(chromium.new_page()) as page:
        page.goto(f"{url}/")  # leads to Swagger
        assert page.url == f"{url}/swagger"
        page.locator("#operations-default-sequence").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table .response")
        assert answer.locator(".response-col_status").inner_text().startswith("200")
        assert page.locator(".request-url pre").inner_text() == f"{url}/sequence"


@contextmanager
def prefixed(prefix: str, node: Node) -> Iterator[str]:
    """A proxy that has the node below a prefix, as a notebook server has; the node's URL there."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            inside = self.path.startswith(f"{prefix}/")
            answer = ask(node, self.path.removeprefix(prefix) if inside else "/nope")
            self.send_response(answer.status_code)
            for name in {"Content-Type", "Location"} & {*answer.headers}:
                self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()


# --- answers ----------------------------------------------------------------------------------


def test_a_number_is_a_bare_integer(node: Node) -> None:
    answer = ask(node, "/sequence")
    assert (answer.text, answer.headers["Content-Type"]) == ("1", "application/json")
    assert int(answer.headers["Fencing-Token"]) == node.status()["token"]
    assert 0 < int(answer.headers["Lease-Remaining-Ms"]) <= 2500


def test_a_refusal_says_why_and_when_to_come_back(lab: Lab) -> None:
    for path in ("/sequence", "/id", "/ids?count=3"):
        answer = ask(lab.node(2), path)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert problem(answer)["reason"] == "no-free-number"


def test_an_id_as_a_number_and_as_a_string(node: Node) -> None:
    answer = ask(node, "/id").json()
    assert answer["id"] == int(answer["id_str"])
    assert decode(answer["id"]).worker == 1
    assert node.id() > answer["id"]


@pytest.mark.parametrize("count", [1, 2, 4097, 100_000])
def test_ids_are_strings_in_order(node: Node, count: int) -> None:
    answer = json.loads(ask(node, f"/ids?count={count}").text)
    assert len(answer) == count
    assert {type(value) for value in answer} == {str}
    found = [int(value) for value in answer]
    assert found == sorted(set(found))
    assert {decode(value).worker for value in found} == {1}
    assert found[-1] < node.ids(1)[0]


def test_ids_are_integers_on_demand(node: Node) -> None:
    answer = ask(node, "/ids?count=3&type=integer").json()
    assert [type(value) for value in answer] == [int, int, int]


@pytest.mark.parametrize(
    "query",
    [
        "count=0",
        "count=100001",
        "count=abc",
        "count=-1",
        "count=1.5",
        "count=",
        "type=float",
        "cuont=3",
    ],
)
def test_what_cannot_be_meant_is_said(node: Node, query: str) -> None:
    answer = ask(node, f"/ids?{query}")
    assert answer.status_code == 422
    found = problem(answer)
    assert query.split("=")[0] in found["detail"]


# --- and everything else ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nope", "/sequence/1", "/../etc/passwd", "/%00", "/swagger/x"])
def test_what_is_not_there(node: Node, path: str) -> None:
    answer = ask(node, path)
    assert answer.status_code == 404
    problem(answer)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_what_cannot_be_done(node: Node, method: str) -> None:
    answer = ask(node, "/sequence", method)
    assert answer.status_code == 405
    assert {*answer.headers["Allow"].split(", ")} == {"GET", "HEAD", "OPTIONS"}
    problem(answer)


def test_head_and_options(node: Node) -> None:
    head = ask(node, "/sequence", "HEAD")
    assert (head.status_code, head.text) == (200, "")
    assert "Fencing-Token" in head.headers
    options = ask(node, "/sequence", "OPTIONS")
    assert options.status_code == 200
    assert {*options.headers["Allow"].split(", ")} == {"GET", "HEAD", "OPTIONS"}


def test_an_id_may_be_the_first_thing_that_anybody_asks_for() -> None:
    with Lab(nodes=1, backend="process", record=False) as lab:
        fresh = lab.node(1).id()
        assert decode(fresh).worker == 1
        assert lab.zk.exists("/sequence/1")


# --- slow clients -----------------------------------------------------------------------------


def _silent(connection: socket.socket) -> None:
    """Say nothing."""


def _slow(connection: socket.socket) -> None:
    connection.sendall(b"GET /status HTTP/1.1\r\nX: ")  # and never an end of it


def _greedy(connection: socket.socket) -> None:
    connection.sendall(b"POST /status HTTP/1.1\r\nContent-Length: 60000\r\n\r\nx")


def _deaf(connection: socket.socket) -> None:
    """Ask for more than fits into the buffers, and read none of it."""
    connection.sendall(b"GET /ids?count=30000 HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize("client", [_silent, _slow, _greedy, _deaf])
def test_clients_that_keep_a_connection_silence_nobody(node: Node, client: Any) -> None:
    count = 30 if client is _deaf else 500
    with ExitStack() as stack:
        for _ in range(count):
            address = (node.endpoint.host, node.endpoint.port)
            connection = stack.enter_context(socket.create_connection(address, timeout=5))
            client(connection)
        for path in ("/status", "/sequence"):
            began = time.monotonic()
            assert ask(node, path).status_code == 200
            assert time.monotonic() - began < 2.0


def test_a_connection_in_use_stays_when_others_make_room(node: Node) -> None:
    with requests.Session() as session, ExitStack() as stack:
        address = (node.endpoint.host, node.endpoint.port)
        ports = set()
        for number in range(400):
            stack.enter_context(socket.create_connection(address, timeout=5))
            if number % 50 == 0:
                with session.get(f"{node.url}/status", timeout=5, stream=True) as answer:
                    ports.add(answer.raw.connection.sock.getsockname()[1])
                    assert answer.json()["name"] == node.name
        assert len(ports) == 1
