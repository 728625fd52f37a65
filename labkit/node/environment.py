"""A node's settings, read from its environment."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from labkit.node.program import BadProgram, Program
from labkit.node.snowflake import EPOCH_MS
from labkit.node.tls import Tls

# A name, an IPv4 address or an IPv6 address in brackets; and a port, or 2181.
_SERVER = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,9}))?", re.ASCII
)

_ALGORITHMS = ("lowest-free", "original")


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
    tls: Tls | None = None  # None: connections to ZooKeeper are in clear
    lab: str | None = None  # the id of the lab that it belongs to
    lose_replies: frozenset[int] = frozenset()  # of ZooKeeper's, counted from 1: for experiments


def configuration(environ: Mapping[str, str]) -> Configuration:
    """Read the environment; raises `BadConfiguration`."""
    read = _Reader(environ)
    credential = environ.get("ZOOKEEPER_AUTH") or ""
    if credential and not all(credential.partition(":")):
        raise BadConfiguration("ZOOKEEPER_AUTH must be user:password, or empty.")
    name = environ.get("NODE_NAME") or socket.gethostname()
    port = read.number("PORT", 80, 1, 65535)
    claim = environ.get("CLAIM") or _ALGORITHMS[0]
    return Configuration(
        hosts=read.servers("ZOOKEEPER_HOSTS", "zookeeper:2181"),
        session_timeout_ms=read.number("SESSION_TIMEOUT_MS", 5000, 1, 3_600_000),
        request_deadline_ms=read.number("REQUEST_DEADLINE_MS", 2000, 1, 600_000),
        max_number=read.number("MAX_NUMBER", 1023, 1, 1_000_000),
        snowflake_epoch_ms=read.number(
            "SNOWFLAKE_EPOCH_MS", EPOCH_MS, 0, time.time_ns() // 1_000_000
        ),
        name=name,
        url=environ.get("NODE_URL") or f"http://{name}:{port}",
        host=environ.get("HOST") or "0.0.0.0",
        port=port,
        claim=claim,
        program=read.program(claim),
        credential=credential,
        private=environ.get("ZOOKEEPER_PRIVATE") == "1",
        tls=read.tls("ZOOKEEPER_TLS"),
        lab=environ.get("NODE_LAB") or None,
        lose_replies=read.places("LOSE_REPLIES"),
    )


class _Reader:
    """Reads variables of the environment; each method raises `BadConfiguration`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        text = self._environ.get(name) or str(default)
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise BadConfiguration(
                f"{name} is {text!r}; it must be a whole number from {lowest} to {highest}."
            )
        return value

    def program(self, value: str) -> Program | None:
        if value in _ALGORITHMS:
            return None
        file, _, cls = value.rpartition(":") if not value.endswith(".py") else (value, "", "")
        try:
            if packed := self._environ.get("CLAIM_SOURCE"):
                return Program.unpack(packed, cls)
            if file.endswith(".py"):
                return Program.read(file, cls)
        except BadProgram as error:
            raise BadConfiguration(f"CLAIM is {value!r}: {error}") from error
        known = ", ".join(_ALGORITHMS)
        raise BadConfiguration(f"CLAIM is {value!r}; it must be {known} or FILE.py:CLASS.")

    def servers(self, name: str, default: str) -> str:
        value = self._environ.get(name) or default
        hosts, slash, path = value.partition("/")
        matches = [_SERVER.fullmatch(host) for host in hosts.split(",")]
        good = all(match and 1 <= int(match[1] or 2181) <= 65535 for match in matches)
        if not good or (slash and not all(part.strip(".") for part in path.split("/"))):
            raise BadConfiguration(
                f"{name} is {value!r}; it must be host:port with a port from 1 to 65535, or "
                "several of them separated by commas, with at most one /path at the end."
            )
        return value

    def tls(self, name: str) -> Tls | None:
        value = self._environ.get(name) or ""
        if value not in ("", "verified", "unverified"):
            raise BadConfiguration(
                f"{name} is {value!r}; it must be verified, unverified or empty."
            )
        if not value:
            return None
        files = ("ZOOKEEPER_CA", "ZOOKEEPER_CERTIFICATE", "ZOOKEEPER_KEY")
        ca, certificate, key = (self._environ.get(file) or "" for file in files)
        return Tls(ca, certificate, key, verify=value == "verified")

    def places(self, name: str) -> frozenset[int]:
        value = self._environ.get(name) or ""
        parts = value.split(",") if value else []
        if not all(part.isdecimal() and int(part) for part in parts):
            raise BadConfiguration(
                f"{name} is {value!r}; it must be whole numbers from 1 up, separated by commas."
            )
        return frozenset(map(int, parts))
