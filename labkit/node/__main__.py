"""Runs one node: configured by its environment, ended by SIGTERM.

    python -m labkit.node

Importing this module starts nothing, so that one process can load it and fork many nodes.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask

from labkit.node.app import create_app
from labkit.node.claimant import Claimant
from labkit.node.custom import Custom
from labkit.node.holder import Holder
from labkit.node.original import Original
from labkit.node.program import BadProgram, Program
from labkit.node.session import Session
from labkit.node.snowflake import EPOCH_MS, Ids
from labkit.node.wsgi import create_http_server

log = logging.getLogger("labkit.node")
_KAZOO_LOG = logging.getLogger("labkit.node.kazoo")

_ENDS = {signal.SIGTERM, signal.SIGINT}

# A name, an IPv4 address or an IPv6 address in brackets; and a port, or 2181.
_SERVER = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,9}))?", re.ASCII
)

_ALGORITHMS = ("lowest-free", "original")

_FIRST_CONNECTION = 1.0  # seconds that a start waits for ZooKeeper; it goes on without it


class BadConfiguration(Exception):
    """A variable of the environment cannot be used; the message says what is allowed."""


@dataclass(frozen=True)
class Configuration:
    """A node's settings. Times in milliseconds, as in the environment."""

    hosts: str
    session_timeout_ms: int
    request_deadline_ms: int
    max_number: int
    snowflake_epoch_ms: int
    name: str
    url: str
    host: str
    port: int
    claim: str
    program: Program | None = None  # of a reader's own server
    credential: str = ""  # "user:password", for what only this user may change in ZooKeeper
    private: bool = False  # nobody else may read it, either
    lab: str | None = None  # the id of the lab that it belongs to
    lose_replies: frozenset[int] = frozenset()  # of ZooKeeper's, counted from 1: for experiments


def configuration(environ: Mapping[str, str]) -> Configuration:
    """Read the environment; raises `BadConfiguration`."""

    def number(name: str, default: int, lowest: int, highest: int) -> int:
        text = environ.get(name) or str(default)
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise BadConfiguration(
                f"{name} is {text!r}; it must be a whole number from {lowest} to {highest}."
            )
        return value

    def program(value: str) -> Program | None:
        if value in _ALGORITHMS:
            return None
        file, _, cls = value.rpartition(":") if not value.endswith(".py") else (value, "", "")
        try:
            if packed := environ.get("CLAIM_SOURCE"):
                return Program.unpack(packed, cls)
            if file.endswith(".py"):
                return Program.read(file, cls)
        except BadProgram as error:
            raise BadConfiguration(f"CLAIM is {value!r}: {error}") from error
        known = ", ".join(_ALGORITHMS)
        raise BadConfiguration(f"CLAIM is {value!r}; it must be {known} or FILE.py:CLASS.")

    def servers(name: str, default: str) -> str:
        value = environ.get(name) or default
        hosts, slash, path = value.partition("/")
        matches = [_SERVER.fullmatch(host) for host in hosts.split(",")]
        good = all(match and 1 <= int(match[1] or 2181) <= 65535 for match in matches)
        if not good or (slash and not all(part.strip(".") for part in path.split("/"))):
            raise BadConfiguration(
                f"{name} is {value!r}; it must be host:port with a port from 1 to 65535, or "
                "several of them separated by commas, with at most one /path at the end."
            )
        return value

    def places(name: str) -> frozenset[int]:
        value = environ.get(name) or ""
        parts = value.split(",") if value else []
        if not all(part.isdecimal() and int(part) for part in parts):
            raise BadConfiguration(
                f"{name} is {value!r}; it must be whole numbers from 1 up, separated by commas."
            )
        return frozenset(map(int, parts))

    credential = environ.get("ZOOKEEPER_AUTH") or ""
    if credential and not all(credential.partition(":")):
        raise BadConfiguration("ZOOKEEPER_AUTH must be user:password, or empty.")
    name = environ.get("NODE_NAME") or socket.gethostname()
    port = number("PORT", 80, 1, 65535)
    claim = environ.get("CLAIM") or _ALGORITHMS[0]
    return Configuration(
        hosts=servers("ZOOKEEPER_HOSTS", "zookeeper:2181"),
        session_timeout_ms=number("SESSION_TIMEOUT_MS", 5000, 1, 3_600_000),
        request_deadline_ms=number("REQUEST_DEADLINE_MS", 2000, 1, 600_000),
        max_number=number("MAX_NUMBER", 1023, 1, 1_000_000),
        snowflake_epoch_ms=number("SNOWFLAKE_EPOCH_MS", EPOCH_MS, 0, time.time_ns() // 1_000_000),
        name=name,
        url=environ.get("NODE_URL") or f"http://{name}:{port}",
        host=environ.get("HOST") or "0.0.0.0",
        port=port,
        claim=claim,
        program=program(claim),
        credential=credential,
        private=environ.get("ZOOKEEPER_PRIVATE") == "1",
        lab=environ.get("NODE_LAB") or None,
        lose_replies=places("LOSE_REPLIES"),
    )


def main(environ: Mapping[str, str]) -> None:
    """Run a node until SIGTERM or SIGINT.

    What ends it before that is told in the last line on standard error. Raises SystemExit then,
    with 2 for a setting that cannot be used, and 1 for a taken port or a server of a reader's own
    that cannot start.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    # That connections break, and requests queue, is what a node is made for.
    for name in (_KAZOO_LOG.name, "kazoo", "waitress.queue"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        settings = configuration(environ)
    except BadConfiguration as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    _Service(settings).run()


class _Service:
    """One node's parts, put together."""

    def __init__(self, settings: Configuration) -> None:
        self._settings = settings
        self._patience = settings.request_deadline_ms / 1000
        data = json.dumps({"owner": settings.name, "url": settings.url}).encode()
        self._failure: tuple[str, int] | None = None  # why a reader's server ends, and its code
        self._claimant: Claimant
        if settings.program is not None:
            self._claimant = Custom(self._session(), settings.name, settings.program, self._fail)
        elif settings.claim == "original":
            self._claimant = Original(self._session, data)
        else:
            self._claimant = Holder(self._session(), data, settings.max_number)
        self._ids = Ids(self._claimant, settings.name, settings.snowflake_epoch_ms, self._patience)

    def _session(self) -> Session:
        settings = self._settings
        timeout = settings.session_timeout_ms / 1000
        return Session(
            settings.hosts,
            timeout,
            _KAZOO_LOG,
            settings.lose_replies,
            settings.credential,
            settings.private,
        )

    def _fail(self, said: str, code: int) -> None:
        """End the node; called from any thread."""
        self._failure = said, code
        os.kill(os.getpid(), signal.SIGTERM)

    def run(self) -> None:
        """Serve until a signal comes. Raises SystemExit if it can't, or not any more."""
        settings = self._settings
        # Blocked before any thread starts, so that all of them leave the signals to sigwait. It
        # gets them as process 1 of a container too, for which the system has no default actions.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        if settings.program is not None:
            _make_ready_for_a_reader()
        about = {
            "name": settings.name,
            "claim": settings.claim,
            "pid": os.getpid(),
            "lab": settings.lab,
        }
        app = create_app(self._claimant, self._ids, about, self._patience)
        server = _listen(app, settings.host, settings.port)
        self._claimant.start()
        self._claimant.wait_connected(_FIRST_CONNECTION)
        log.info("%s listens on %s:%d", settings.name, settings.host, settings.port)
        threading.Thread(target=server.run, name="http", daemon=True).start()
        signal.sigwait(_ENDS)
        log.info("%s ends", settings.name)
        self._ids.close()
        self._claimant.close()
        server.close()
        if self._failure is not None:
            said, code = self._failure
            print(said, file=sys.stderr)
            sys.exit(code)


def _listen(app: Flask, host: str, port: int) -> Any:
    """The node's HTTP server. Exits with 1 if the port is taken, 2 if nobody could listen there."""
    try:
        return create_http_server(app, host, port)
    except OSError as error:
        print(f"Port {port} of {host}: {error.strerror}.", file=sys.stderr)
        sys.exit(1 if error.errno == errno.EADDRINUSE else 2)
    except ValueError:
        print(f"HOST is {host!r}; it must be an address or name of this machine.", file=sys.stderr)
        sys.exit(2)


def _make_ready_for_a_reader() -> None:
    """Prepare this process for code that prints, and that may loop for ever."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What it prints is in the log at once, also if the node is killed.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    # A thread that never waits gives way after this time: other threads need that often to answer
    # a request. With Python's 5 ms an answer took a second.
    sys.setswitchinterval(0.0005)


if __name__ == "__main__":
    code: str | int | None = 0
    try:
        main(os.environ)
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    # A reader's server may have threads that never end, and Python would wait for them.
    os._exit(code if isinstance(code, int) else 1)
