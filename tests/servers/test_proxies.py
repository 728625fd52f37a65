"""What runs on this machine is asked without the company's proxy."""

from __future__ import annotations

import os
import urllib.request

import pytest
import requests.utils

from labkit.lab.lab import Lab
from labkit.servers.proxies import reach_directly

PROXY = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelt in (name, name.upper()):
            monkeypatch.setenv(spelt, "")  # what is said is forgotten in the end
            monkeypatch.delenv(spelt)


@pytest.mark.parametrize("said", ["HTTP_PROXY", "http_proxy", "all_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize("before", ["", "intranet", "*", " 127.0.0.1 , intranet"])
@pytest.mark.parametrize("where", ["no_proxy", "NO_PROXY"])
def test_loopback_and_the_labs_servers_need_no_proxy(
    monkeypatch: pytest.MonkeyPatch, said: str, before: str, where: str
) -> None:
    monkeypatch.setenv(said, PROXY)
    if before:
        monkeypatch.setenv(where, before)
    reach_directly("10.1.2.3")
    for host in ("localhost", "127.0.0.1", "10.1.2.3"):
        assert direct(host)
    assert direct("elsewhere.example") == (before == "*")
    assert direct("intranet") == (before != "")
    told = dict(os.environ)
    reach_directly("10.1.2.3")
    assert dict(os.environ) == told


def direct(host: str) -> bool:
    """Whether two libraries ask it without a proxy; they agree."""
    of_requests = requests.utils.get_environ_proxies(f"http://{host}:5001/") == {}
    found = urllib.request.getproxies()
    assert of_requests == (urllib.request.proxy_bypass(host) or not (found.keys() - {"no"}))
    return of_requests


def test_where_there_is_no_proxy_nothing_is_said() -> None:
    reach_directly()
    assert not {"no_proxy", "NO_PROXY"} & os.environ.keys()


def test_what_a_reader_writes_reaches_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("http_proxy", PROXY)
    with Lab(nodes=1, backend="process", record=False) as lab:
        assert requests.get(lab.node(1).url + "/sequence", timeout=5).text == "1"
        with urllib.request.urlopen(lab.node(1).url + "/sequence", timeout=5) as answer:
            assert answer.read() == b"1"
