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
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from flask import Flask

from labkit.node.app import create_app
from labkit.node.claimant import Claimant
from labkit.node.custom import Custom
from labkit.node.environment import BadConfiguration, Configuration, configuration
from labkit.node.holder import Holder
from labkit.node.original import Original
from labkit.node.session import Session
from labkit.node.snowflake import Ids
from labkit.node.wsgi import create_http_server

log = logging.getLogger("labkit.node")
_KAZOO_LOG = logging.getLogger("labkit.node.kazoo")

_ENDS = {signal.SIGTERM, signal.SIGINT}

_FIRST_CONNECTION = 1.0  # seconds that a start waits for ZooKeeper; it goes on without it


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
        self._request_deadline = settings.request_deadline_ms / 1000
        data = json.dumps({"owner": settings.name, "url": settings.url}).encode()
        self._failure: tuple[str, int] | None = None  # why a reader's server ends, and its code
        self._claimant: Claimant
        if settings.program is not None:
            self._claimant = Custom(self._session(), settings.name, settings.program, self._fail)
        elif settings.claim == "original":
            self._claimant = Original(self._session, data)
        else:
            self._claimant = Holder(self._session(), data, settings.max_number)
        self._ids = Ids(
            self._claimant, settings.name, settings.snowflake_epoch_ms, self._request_deadline
        )

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
            settings.tls,
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
        app = create_app(self._claimant, self._ids, about, self._request_deadline)
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
