"""A process of a lab's own that carries out orders, such as forking nodes or carrying links.

Owner and helper talk in JSON objects, one a line: an order on the helper's standard input, its
answer on the standard output. A helper ends when its input does, so also with its owner.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

#: Names a lab in the environment of every process that belongs to it.
LAB_VARIABLE = "LABKIT_LAB"

#: What an order comes to: what was answered, or a `HelperError`.
Answer: TypeAlias = Future[Any]


class HelperError(Exception):
    """The order failed in the helper: with an error called `kind`, or because the helper ended."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


ENDED = "ended"  # the kind of error when the helper ended without an answer


class Helper:
    """The owner's end: launches `python -m module`, again if it has died, and orders.

    A thread reads the answers, because that one is never interrupted: after a Ctrl-C in the midst
    of an order, its answer is not taken for the next order's.
    """

    def __init__(self, module: str, lab_id: str, log: Path) -> None:
        self.module = module
        self.log = log
        self._lab_id = lab_id
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, Answer] = {}  # by order, of the process that is running
        self._orders = itertools.count(1)
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Begin loading; does not wait."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env={**os.environ, LAB_VARIABLE: self._lab_id},
                start_new_session=True,
            )
        waiting: dict[int, Answer] = {}
        name = f"labkit-{self.module.removeprefix('labkit.')}"
        reader = threading.Thread(
            target=self._read, args=(process, waiting), name=name, daemon=True
        )
        reader.start()
        # The process last: one that is known has a reader, whatever was interrupted here.
        self._waiting, self._reader, self._process = waiting, reader, process

    def order(self, answer: Answer, detail: Mapping[str, Any], again: bool = False) -> None:
        """Give an order; `answer` gets what it comes to.

        With `again`, a helper that has died is launched again; else that is a `HelperError`.
        """
        with self._lock:
            if not self.is_running:
                if not again:
                    answer.set_exception(self._ended())
                    return
                self.launch()
            assert self._process is not None
            assert self._process.stdin is not None
            number = next(self._orders)
            self._waiting[number] = answer
            line = json.dumps({"order": number, **detail}).encode() + b"\n"
            with suppress(BrokenPipeError):  # the reader tells
                self._process.stdin.write(line)

    def last_words(self) -> str:
        """The end of what the helper has printed as errors."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:].rstrip()
        return ""

    def close(self) -> None:
        """End it, without another word. Idempotent."""
        with self._lock:
            process, reader = self._process, self._reader
        if process is not None:
            process.kill()
        if reader is not None:
            reader.join()

    def _read(self, process: subprocess.Popen[bytes], waiting: dict[int, Answer]) -> None:
        """Tell whoever waits for an answer, until the helper ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            answer = waiting.pop(said["order"], None)
            if answer is None:
                continue  # a fork of this process has given that order
            if "error" in said:
                answer.set_exception(HelperError(said["message"], said["error"]))
            else:
                answer.set_result(said["result"])
        process.wait()
        with self._lock:  # who orders from now on launches another one, or is told
            if self._process is process:
                self._process = None
        for answer in waiting.values():
            answer.set_exception(self._ended())
        process.stdin.close()
        process.stdout.close()

    def _ended(self) -> HelperError:
        return HelperError(f"{self.module} has ended.\n{self.last_words()}".rstrip(), ENDED)


def serve(carry_out: Callable[[dict[str, Any]], object]) -> None:
    """The helper's end: carry out order after order, until there is no owner any more."""
    for line in sys.stdin:
        order = json.loads(line)
        number = order.pop("order")
        said: dict[str, object]
        try:
            said = {"order": number, "result": carry_out(order)}
        except Exception as error:
            said = {"order": number, "error": type(error).__name__, "message": str(error)}
        print(json.dumps(said), flush=True)
