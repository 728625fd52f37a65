"""Files that others have made: read as their format says, or told by name and reason.

A notebook comes from another machine, by mail, through a merge. What can't be read is never taken
for nothing: every reader of such files uses this, goes on with the others, and names those.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError

_CONFLICT = re.compile(r"^(<{7}|>{7})( |$)", re.MULTILINE)


class Unreadable(ConfigError):
    """A file that can't be read, and why: `path` and `why`."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} can't be read: {why}.")
        self.path = path
        self.why = why


def read_json(path: Path) -> Any:
    """What a JSON file says. It is UTF-8, or, with or without its mark, UTF-16 or UTF-32.

    Raises `Unreadable`, also for a file that is not there.
    """
    text = json_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise Unreadable(path, "it is nested too deeply") from None
    except ValueError as error:
        if found := _CONFLICT.search(text):
            line = text.count("\n", 0, found.start()) + 1
            raise Unreadable(path, f"it has the marks of a merge conflict, line {line}") from None
        raise Unreadable(path, f"it is no JSON: {error}") from None


def json_text(path: Path) -> str:
    """The letters of a JSON file, or of one with JSON in each line. Raises `Unreadable`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(path, (error.strerror or str(error)).lower()) from None
    if not data.strip(b"\0\r\n\t "):
        raise Unreadable(path, "it is empty")
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is no {encoding.upper()}, and JSON is"
        raise Unreadable(path, why) from None
