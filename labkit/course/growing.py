"""The reader's own server, which grows from page to page: `my_server.py`, beside her pages.

    MyServer = my_server("05")              # as high as the pages before 05 have left it

    class MyServer(MyServer):               # the page's one change
        def claim(self): ...

    mine = my_server("05", MyServer)        # kept; a class for `explore`, `ladder` and `Lab`

The file has a part for each page, one class on top of the other. A part that the reader has not
written is the course's own, so that whoever skips a page has a server of its height.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from IPython.display import display

from labkit.course import record
from labkit.course.markup import Words
from labkit.course.standing import standing
from labkit.errors import ConfigError
from labkit.files import Unreadable
from labkit.lab.own_server import written
from labkit.node.program import Program
from labkit.servers.system import put

NAME = "MyServer"
FILE = "my_server.py"
_HEAD = "# Your server: a part for each page, one class on top of the other.\n"
_PART = re.compile(r"^# --- page (\w+)[^\n]*\n", re.MULTILINE)

_unkept: dict[str, str] = {}  # the reader's parts, where nothing is to be kept


def my_server(page: str, change: type | None = None) -> type:
    """The reader's server before a page, `my_server("05")`; or with her change for that page, which
    is kept: `my_server("05", MyServer)`.

    A change that has methods of nothing but `...` is not attempted: the course's own is taken, and
    shown folded. Raises `ConfigError` for a page on which the server does not grow, and for a file
    that the pages have not written, which stays as it is.
    """
    own, hers = reference(), _hers()
    if change is None:
        return _assembled(own, hers, [name for name in own if name < page])
    if page not in own:
        raise ConfigError(f"The server grows on pages {', '.join(own)}, and not on {page}.")
    text = written(change)
    if attempted(text):
        hers[page] = text
        _keep(hers)
        where = f"Kept: page {page} of {FILE}." if record.place() else "It is not kept."
    else:
        hers.pop(page, None)
        where = "Not attempted yet: the course's own goes on."
    display(_shown(where, own[page].partition("class ")))
    return _assembled(own, hers, [name for name in own if name <= page])


def attempted(text: str) -> bool:
    """Whether no method is still nothing but `...`."""
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    return all([ast.unparse(line) for line in one.body] != ["..."] for one in functions)


def _assembled(own: Mapping[str, str], hers: Mapping[str, str], pages: list[str]) -> type:
    parts = [f"# --- page {page}\n{hers.get(page, own[page])}" for page in pages]
    program = Program.of("\n\n".join([_HEAD, *parts]), FILE, NAME)
    made = program.load()
    marked: Any = made  # a class may have more than its type says
    marked.__program__ = program
    if any(page in hers for page in pages):
        marked.__climbed__ = standing.climb
    return made


def reference() -> dict[str, str]:
    """The course's own part for each page, with what it imports."""
    text = files("labkit").joinpath(f"course/climbs/{FILE}").read_text("utf-8")
    imports = _PART.split(text)[0].split('"""')[-1].strip()
    return {page: f"{imports}\n\n{part}" for page, part in _parts(text).items()}


def _parts(text: str) -> dict[str, str]:
    """The text of each page, in order."""
    _, *rest = _PART.split(text)
    return {page: part.strip() for page, part in zip(*[iter(rest)] * 2, strict=True)}


def _place() -> Path | None:
    """The reader's file; None if nothing is to be kept."""
    return Path(FILE).absolute() if record.place() else None


def _hers() -> dict[str, str]:
    place = _place()
    if place is None:
        return dict(_unkept)
    try:
        text = place.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Unreadable(place, str(error)) from None
    if _PART.split(text)[0].strip() not in ("", _HEAD.strip()):
        raise ConfigError(
            f"{place} has lines above its first `# --- page`, which the pages would lose. Give the "
            "file another name, or move these lines into a part."
        )
    return _parts(text)


def _keep(hers: dict[str, str]) -> None:
    place = _place()
    if place is None:
        _unkept.update(hers)
        return
    parts = [f"# --- page {page}\n{hers[page]}\n" for page in sorted(hers)]
    put(place, "\n\n".join([_HEAD, *parts]).encode())


def _shown(where: str, part: tuple[str, str, str]) -> Words:
    text = "".join(part[1:])
    folded = f"<details><summary>One way to do it</summary>\n\n```python\n{text}\n```\n\n</details>"
    return Words(f"**Your server.** {where}\n\n{folded}")
