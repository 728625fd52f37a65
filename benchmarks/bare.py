"""What people would otherwise run: servers started one by one, each in an interpreter of its own.

    PORT=8080 python -m benchmarks.bare

serves a Flask view that returns a constant, with the headers of a node's answer, on the server
that nodes use, set up as they set it up.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
from flask import Flask, Response

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class BareServer:
    """One server that is ready, on 127.0.0.1."""

    port: int
    process: psutil.Popen

    @property
    def cpu(self) -> float:
        """The processor time that it has used, in seconds."""
        return sum(self.process.cpu_times()[:2])


@contextmanager
def nodes(hosts: str, count: int, credential: str = "") -> Iterator[list[BareServer]]:
    """`count` nodes that answer and are connected to the ZooKeeper at `hosts`.

    In a lab's ZooKeeper they may write with that lab's `credential` only.
    """
    environ = {"ZOOKEEPER_HOSTS": hosts, "HOST": "127.0.0.1", "ZOOKEEPER_AUTH": credential}
    with _servers("labkit.node", count, environ) as servers:
        _wait_all_ready(servers, "/status", b'"connection":"CONNECTED"')
        yield servers


@contextmanager
def constant_views(count: int) -> Iterator[list[BareServer]]:
    """`count` servers of a constant that answer."""
    with _servers("benchmarks.bare", count, {}) as servers:
        _wait_all_ready(servers, "/sequence", b"1")
        yield servers


@contextmanager
def _servers(module: str, count: int, environ: dict[str, str]) -> Iterator[list[BareServer]]:
    servers = []
    try:
        for port in _free_ports(count):
            variables = {**os.environ, **environ, "NODE_NAME": f"bare{port}", "PORT": str(port)}
            process = psutil.Popen(
                [sys.executable, "-m", module],
                cwd=_ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            servers.append(BareServer(port, process))
        yield servers
    finally:
        for server in servers:
            server.process.kill()
        for server in servers:
            server.process.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _wait_all_ready(servers: list[BareServer], path: str, expected: bytes) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(lambda server: _wait_ready(server.port, path, expected), servers))


def _wait_ready(port: int, path: str, expected: bytes) -> None:
    deadline = time.monotonic() + 60
    while expected not in _get(port, path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"No server is ready on port {port} after a minute.")
        time.sleep(0.01)


def _get(port: int, path: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except (OSError, HTTPException):
        return b""
    finally:
        connection.close()


def _constant_app() -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.get("/sequence")
    def sequence() -> Response:
        response = Response(b"1", mimetype="application/json")
        headers = response.headers
        headers["Fencing-Token"] = "17"
        headers["Lease-Remaining-Ms"] = "2500"
        return response

    return app


def _serve() -> None:
    from labkit.node.wsgi import create_http_server

    create_http_server(_constant_app(), "127.0.0.1", int(os.environ["PORT"])).run()


if __name__ == "__main__":
    _serve()
