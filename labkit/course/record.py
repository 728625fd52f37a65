"""What a reader has predicted and solved: kept in a file, over pages and kernels.

The file is `progress.json` in the user's state directory (`$XDG_STATE_HOME/labkit`), or the one
that `$LABKIT_PROGRESS` names; with `LABKIT_PROGRESS=` nothing is kept. An exercise that was passed
once stays passed. Of a question the first prediction counts: after it the answer is known.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TextIO

import platformdirs

from labkit.errors import ConfigError
from labkit.servers.base import wait_until
from labkit.servers.system import put

VARIABLE = "LABKIT_PROGRESS"
_TIMEOUT = 2.0  # seconds for another kernel to have written


class Outcome(StrEnum):
    """What became of an exercise."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_ATTEMPTED = "not attempted"


@dataclass
class Record:
    """Outcomes by an exercise's id; by a question, what was predicted and whether it was right.

    `rungs` are those on which the reader's own server has held.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    predictions: dict[str, tuple[str, bool]] = field(default_factory=dict)
    rungs: set[int] = field(default_factory=set)

    def solve(self, exercise: str, outcome: Outcome) -> None:
        """Note a try."""
        if self.outcomes.get(exercise) is not Outcome.PASSED:
            self.outcomes[exercise] = outcome

    def predict(self, question: str, said: str, right: bool) -> None:
        """Note a prediction, unless there was one."""
        self.predictions.setdefault(question, (said, right))

    def climb(self, rungs: Iterable[int]) -> None:
        """Note the rungs on which the reader's server has held."""
        self.rungs.update(rungs)

    @property
    def height(self) -> int:
        """The rung on which it stands: it has held on it, and on all below."""
        return next(rung for rung in count() if rung + 1 not in self.rungs)

    def to_json(self) -> str:
        return json.dumps(
            {
                "outcomes": self.outcomes,
                "predictions": self.predictions,
                "rungs": sorted(self.rungs),
            },
            indent=1,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Raises `ValueError` for what is no record."""
        try:
            said = json.loads(text)
            return cls(
                {str(name): Outcome(outcome) for name, outcome in said["outcomes"].items()},
                {
                    str(question): (str(answer), bool(right))
                    for question, (answer, right) in said["predictions"].items()
                },
                {int(rung) for rung in said.get("rungs", ())},
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("it is no record") from error


def place() -> Path | None:
    """The file, which need not be there yet; None if the reader wants nothing kept."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return platformdirs.user_state_path("labkit") / "progress.json"
    return Path(named).expanduser().absolute() if named else None


class Book:
    """Reads and writes the record, and works without a file where none can be used.

    `tell` is called with a sentence when nothing can be kept, once, and when a file was broken.
    """

    def __init__(self, tell: Callable[[str], object] = print) -> None:
        self._tell = tell
        self._own = Record()  # what is known in this kernel
        self._problem = ""

    def note(self, change: Callable[[Record], None]) -> None:
        """Change the record, in the file too."""
        self._own = self._opened(change)

    def read(self) -> Record:
        """The record as it is now, with what other kernels have noted."""
        self._own = self._opened()
        return self._own

    @property
    def where(self) -> str:
        """A sentence: where it is kept, or why it is not; "" if the reader wants nothing kept."""
        file = place()
        if file is None:
            return ""
        return self._problem or (
            f"This is kept in {file}. `labkit progress` shows it page by page, and "
            "`labkit progress --reset` forgets it."
        )

    def _opened(self, change: Callable[[Record], None] | None = None) -> Record:
        """The file's record after the change, or this kernel's where no file can be used."""
        file = place()
        if file is not None and change is None and not file.exists():
            return self._own if self._problem else Record()
        if file is not None:
            try:
                record, news = _update(file, change)
            except OSError as error:
                self._complain(file, error)
            else:
                self._problem = ""
                if news:
                    self._tell(news)
                return record
        if change is not None:
            change(self._own)
        return self._own

    def _complain(self, file: Path, error: OSError) -> None:
        known = bool(self._problem)
        self._problem = (
            "What you predict and solve is not kept when this notebook's kernel ends: "
            f"{file} can't be used ({error.strerror or error}). Set {VARIABLE} to a file that "
            "you may write to."
        )
        if not known:
            self._tell(self._problem)


def forget() -> str:
    """Remove the file; a sentence says what was done. Raises `ConfigError` if it can't be."""
    file = place()
    if file is None:
        return f"Nothing is kept: {VARIABLE} is empty."
    if not file.exists():
        return f"Nothing is kept yet: there is no {file}."
    try:
        with _locked(file):
            file.unlink(missing_ok=True)
        _lock(file).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{file} can't be removed: {error.strerror or error}.") from error
    return f"Removed {file}: nothing is predicted or solved any more."


def _update(file: Path, change: Callable[[Record], None] | None) -> tuple[Record, str]:
    """The record, changed and written; and what is to be told."""
    with _locked(file):
        record, news = _load(file)
        if change is not None:
            change(record)
            put(file, (record.to_json() + "\n").encode())
    return record, news


def _load(file: Path) -> tuple[Record, str]:
    """The record, and what is to be told; a file that is none is put aside."""
    try:
        return Record.from_json(file.read_text("utf-8")), ""
    except FileNotFoundError:
        return Record(), ""
    except ValueError:  # broken JSON or bytes, too
        aside = file.with_name(f"{file.stem}.broken-{time.strftime('%Y%m%d-%H%M%S')}{file.suffix}")
        os.replace(file, aside)
        return Record(), (
            f"What you had predicted and solved can't be read: {file} is no record. It is now "
            f"{aside.name}, and the count begins anew."
        )


def _lock(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One kernel at a time. Raises `OSError` if another one does not let go."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _lock(file).open("a") as lock:
        if not wait_until(lambda: _is_taken(lock), _TIMEOUT):
            raise OSError(None, "another kernel is writing it, and does not finish")
        yield


def _is_taken(lock: TextIO) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
