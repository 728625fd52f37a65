"""A node's HTTP face, as its own document describes it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

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


def test_the_headers_of_a_number_are_documented(document: dict[str, Any], node: Node) -> None:
    described = document["paths"]["/sequence"]["get"]["responses"]["200"]["headers"]
    assert {*described} == {"Fencing-Token", "Lease-Remaining-Ms"}
    assert {*described} <= {*ask(node, "/sequence").headers}


def test_the_status_says_all_that_is_documented(document: dict[str, Any], lab: Lab) -> None:
    described = document["components"]["schemas"]["Status"]["properties"]
    for node in lab.nodes:
        assert {*node.status()} == {*described}


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
            [Path(sys.executable).with_name("schemathesis"), "--no-color", "run", *options,
             f"{node.url}/openapi.json"],
            capture_output=True, text=True, timeout=100, cwd=tmp_path,
        )  # fmt: skip
    finally:
        lab.heal()
        lab.wait_until(node.sequence, timeout=10)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 4" in run.stdout


# --- the pages --------------------------------------------------------------------------------


def test_the_front_door_leads_to_swagger(node: Node) -> None:
    home = ask(node, "/")
    assert (home.status_code, home.headers["Location"]) == (302, "/swagger")
    page = ask(node, "/swagger")
    assert page.status_code == 200
    assert "//cdn" not in page.text
    assert "http://" not in page.text.replace("http://www.w3.org", "")


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
    "query", ["count=0", "count=100001", "count=abc", "count=-1", "count=1.5", "count=",
              "type=float", "cuont=3"],
)  # fmt: skip
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
