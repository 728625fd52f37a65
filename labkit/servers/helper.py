"""A process of a lab's own that carries out orders, such as forking nodes or carrying links.

Owner and helper talk in JSON objects, one a line, over a socket that nothing else uses: what is
printed, by a site's start-up file for one, goes to the helper's log. A helper ends when that socket
does, so also with its owner.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from labkit.servers import project

#: Names a lab in the environment of every process that belongs to it.
LAB_VARIABLE = "LABKIT_LAB"

#: The outcome of an order: the answer, or a `HelperError`.
Answer: TypeAlias = Future[Any]


class HelperError(Exception):
    """The order failed in the helper: with an error called `kind`, or because the helper ended."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


ENDED = "ended"  # the kind of error when the helper ended without an answer

_BOOT = (
    "import os, runpy, sys; sys.path[:] = sys.argv[1].split(os.pathsep); del sys.argv[:2]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module in a Python of its own, which imports what this one does.

    The module may be beside a program that is not installed, or on a path that was added by hand.
    The current directory comes last: a learner's `socket.py` is none of a helper's.
    """
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    path += [str(project.PACKAGE.parent)]
    path += [os.getcwd()] if "" in sys.path else []
    return [sys.executable, "-P", "-c", _BOOT, os.pathsep.join(path), module, *arguments]


class Helper:
    """The owner's end: launches a Python that runs `module`, again if it has died, and orders.

    A thread reads the answers, because that one is never interrupted: after a Ctrl-C in the midst
    of an order, its answer is not taken for the next order's.
    """

    def __init__(self, module: str, lab_id: str, log: Path) -> None:
        self.module = module
        self.log = log
        self._lab_id = lab_id
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._waiting: dict[int, Answer] = {}  # by order, of the process that is running
        self._orders = itertools.count(1)
        self._reader: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Begin loading; does not wait."""
        channel, theirs = socket.socketpair()
        try:
            with theirs, open(self.log, "ab") as log:
                process = subprocess.Popen(
                    command(self.module, str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    cwd="/",
                    env={**os.environ, LAB_VARIABLE: self._lab_id},
                    start_new_session=True,
                )
        except BaseException:
            channel.close()
            raise
        waiting: dict[int, Answer] = {}
        name = f"labkit-{self.module.removeprefix('labkit.')}"
        reader = threading.Thread(
            target=self._read, args=(process, channel, waiting), name=name, daemon=True
        )
        reader.start()
        # The process last: one that is known has a reader, whatever was interrupted here.
        self._channel, self._waiting, self._reader = channel, waiting, reader
        self._process, self._closed = process, False

    def order(self, answer: Answer, detail: Mapping[str, Any], again: bool = False) -> None:
        """Give an order; the future `answer` gets its outcome.

        With `again`, a helper that has died is launched again, unless it was closed; else that is
        a `HelperError`.
        """
        with self._lock:
            if self._closed or not (again or self.is_running):
                answer.set_exception(self._ended())
                return
            if not self.is_running:
                self.launch()
            assert self._channel is not None
            number = next(self._orders)
            self._waiting[number] = answer
            line = json.dumps({"order": number, **detail}).encode() + b"\n"
            with suppress(OSError):  # it has just ended: the reader tells
                self._channel.sendall(line)

    def last_words(self) -> str:
        """The end of what the helper has printed as errors."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:].rstrip()
        return ""

    def close(self) -> None:
        """End it, without another word. Idempotent."""
        with self._lock:
            process, reader, self._closed = self._process, self._reader, True
        if process is not None:
            process.kill()
        if reader is not None:
            reader.join()

    def _read(
        self, process: subprocess.Popen[bytes], channel: socket.socket, waiting: dict[int, Answer]
    ) -> None:
        """Hand answers to their callers, until the helper ends or writes what is no answer."""
        try:
            with suppress(OSError, ValueError, LookupError), channel.makefile("rb") as lines:
                for line in lines:
                    _answer(waiting, json.loads(line))
        finally:
            process.kill()
            process.wait()
            with self._lock:  # a later order launches another helper, or fails
                if self._process is process:
                    self._process = None
            for answer in waiting.values():
                answer.set_exception(self._ended())
            channel.close()

    def _ended(self) -> HelperError:
        return HelperError(f"{self.module} has ended.\n{self.last_words()}".rstrip(), ENDED)


def _answer(waiting: dict[int, Answer], said: dict[str, Any]) -> None:
    """Hand an answer to whoever waits for it; a fork of this process may have given the order."""
    if (answer := waiting.pop(said["order"], None)) is None:
        return
    if "error" in said:
        answer.set_exception(HelperError(said["message"], said["error"]))
    else:
        answer.set_result(said["result"])


def serve(carry_out: Callable[[dict[str, Any]], object]) -> None:
    """The helper's end: carry out order after order, until there is no owner any more."""
    with socket.socket(fileno=int(sys.argv[1])) as channel, channel.makefile("rb") as orders:
        channel.set_inheritable(False)
        for line in orders:
            order = json.loads(line)
            number = order.pop("order")
            said: dict[str, object]
            try:
                said = {"order": number, "result": carry_out(order)}
            except Exception as error:
                said = {"order": number, "error": type(error).__name__, "message": str(error)}
            channel.sendall(json.dumps(said).encode() + b"\n")


def leave() -> None:
    """In a fork of the helper: hold its socket open no longer."""
    os.close(int(sys.argv[1]))
