"""A reader's server as text: the pieces of source it consists of, and its class.

A node cannot be given a class, only its source: by a file's path, or packed into one environment
variable, since a container's file system is read-only. A notebook's class comes in several pieces
(what it imports, its helpers, itself). Each keeps the name and the line numbers that its reader
knows, so that an error can say "line 12 of the cell" and a traceback shows the code.

`labkit.node.custom` says what such a class has to offer.
"""

from __future__ import annotations
import __future__

import ast
import base64
import inspect
import json
import linecache
import reprlib
import sys
import tokenize
import traceback
import types
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The largest text that `Program.pack` returns: the system's limit for one variable is 128 KiB.
MAX_PACKED = 131_000

_LAZY_ANNOTATIONS = __future__.annotations.compiler_flag
_METHODS = {"start": ("zk", "name"), "sequence": (), "state": ("state",), "token": ()}
_REQUIRED = ("start", "sequence")
_LONGEST = 300  # characters of an error's message


class BadProgram(Exception):
    """The source cannot be a server; the message says why, in one line."""


@dataclass(frozen=True)
class Piece:
    """Some lines of one file or cell: `name` as a reader knows it, `line` of the first of them."""

    name: str
    line: int
    text: str


@dataclass(frozen=True)
class Program:
    """The pieces, in the order in which they run, and the name of the class in the last one."""

    pieces: tuple[Piece, ...]
    cls: str

    @classmethod
    def of(cls, text: str, name: str, wanted: str = "") -> Program:
        """The server in a whole file: its class `wanted`, or the only one that has `sequence`.

        Nothing of it runs. Raises `BadProgram`.
        """
        try:
            statements = ast.parse(text, name).body
        except (SyntaxError, ValueError) as error:
            raise _no_python(name, error) from None
        classes = [node for node in statements if isinstance(node, ast.ClassDef)]
        names = [node.name for node in classes]
        if wanted and wanted not in names:
            has = f"it has {', '.join(names)}" if names else "it has none at all"
            raise BadProgram(f"{name} has no class {wanted}; {has}.")
        servers = [node.name for node in classes if _defines(node, "sequence")]
        if not wanted and len(servers) != 1:
            has = f"the classes {', '.join(servers)} have" if servers else "no class has"
            raise BadProgram(f"In {name} {has} a method sequence(): name one, as {name}:MyServer.")
        return cls((Piece(name, 1, text),), wanted or servers[0])

    @classmethod
    def read(cls, path: str, wanted: str = "") -> Program:
        """The server in the file at `path`; see `of`. Raises `BadProgram`."""
        try:
            with tokenize.open(path) as file:  # as Python reads it: with a mark, or what it names
                text = file.read()
        except (OSError, ValueError, SyntaxError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8, and names nothing else"
            raise BadProgram(f"{path} cannot be read: {why}.") from None
        return cls.of(text, Path(path).name, wanted)

    def pack(self) -> str:
        """All of it as one line for the environment. Raises `BadProgram` if it is too large."""
        pieces = [(piece.name, piece.line, piece.text) for piece in self.pieces]
        packed = base64.b64encode(zlib.compress(json.dumps(pieces).encode(), 9)).decode()
        if len(packed) > MAX_PACKED:
            raise BadProgram(
                f"{self.cls} is too large to be handed to a node: {len(packed):,} characters when "
                f"compressed, and {MAX_PACKED:,} is the most. Let it read its data from ZooKeeper."
            )
        return packed

    @classmethod
    def unpack(cls, packed: str, wanted: str) -> Program:
        """What `pack` packed, with the class `wanted`. Raises `BadProgram`."""
        try:
            pieces = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
            return cls(
                tuple(Piece(str(n), int(line), str(text)) for n, line, text in pieces), wanted
            )
        except (ValueError, TypeError, zlib.error):
            raise BadProgram("CLAIM_SOURCE is not what Program.pack makes of a source.") from None

    @property
    def names(self) -> set[str]:
        """The files and cells that it comes from."""
        return {piece.name for piece in self.pieces}

    def load(self) -> type:
        """Run the pieces; the class that they make. Raises `BadProgram`, and whatever they do.

        Annotations are not evaluated: they may name what only the notebook has.
        """
        module = types.ModuleType(f"reader_{self.cls}")
        sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
        self._remember()
        for piece in self.pieces:
            try:
                text = "\n" * (piece.line - 1) + piece.text
                code = compile(text, piece.name, "exec", _LAZY_ANNOTATIONS, True)
            except (SyntaxError, ValueError) as error:
                raise _no_python(piece.name, error) from None
            exec(code, module.__dict__)
        made = module.__dict__.get(self.cls)
        if not isinstance(made, type):
            raise BadProgram(f"{self.pieces[-1].name} makes no class {self.cls}.")
        require_server(made)
        return made

    def _remember(self) -> None:
        """Have tracebacks show the source, as of any file."""
        for name in self.names:
            lines: dict[int, str] = {}
            for piece in self.pieces:
                if piece.name == name:
                    lines |= dict(enumerate(piece.text.splitlines(keepends=True), piece.line))
            whole = [lines.get(number, "\n") for number in range(1, max(lines, default=0) + 1)]
            linecache.cache[name] = (sum(map(len, whole)), None, whole, name)


def require_server(cls: type) -> None:
    """Raise `BadProgram` unless a node can make one of these and call it."""
    for name, arguments in _METHODS.items():
        method = getattr(cls, name, None)
        if method is None and name not in _REQUIRED:
            continue
        call = f"{name}({', '.join(arguments)})"
        if not callable(method):
            raise BadProgram(f"{cls.__name__} has no method {call}.")
        if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
            raise BadProgram(f"{cls.__name__}.{name} is async or a generator; use a plain def.")
        is_plain = not isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod)
        if not _takes(method, ("self", *arguments) if is_plain else arguments):
            raise BadProgram(f"{cls.__name__}.{name} cannot be called as {call}.")
    if not _takes(cls, ()):
        raise BadProgram(
            f"{cls.__name__}() needs arguments, and a node has none to give: take what you need "
            "in start(zk, name)."
        )


def describe(error: BaseException, names: set[str]) -> str:
    """What an error did, in one line, with the reader's line: `names` are their files.

    Such as "raised KeyError: 'x' (line 7 of my_server.py)".
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename in names]
    place = f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
    if isinstance(error, SystemExit):
        return f"called sys.exit(){place}"
    said = _one_line(error)
    if isinstance(error, ModuleNotFoundError):
        said += "; a node has Python's own modules, kazoo and Flask"
    return f"raised {type(error).__name__}{': ' if said else ''}{said}{place}"


def show(value: object) -> str:
    """A reader's value in a few words, however it is made."""
    try:
        return reprlib.repr(value)
    except BaseException:
        return "what cannot be shown"


def _one_line(error: BaseException) -> str:
    try:
        said = " ".join(str(error).split())
    except BaseException:
        return "(its message cannot be shown)"
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"


def _no_python(name: str, error: Exception) -> BadProgram:
    place = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    said = error.msg if isinstance(error, SyntaxError) else _one_line(error)
    return BadProgram(f"{name}{place} is not Python: {said}.")


def where(thread: int | None, names: set[str]) -> str:
    """Where a thread is in the reader's code, such as " (line 7 of my_server.py)"."""
    frame = sys._current_frames().get(thread or 0)  # noqa: SLF001 — Python has no other way
    while frame is not None and frame.f_code.co_filename not in names:
        frame = frame.f_back
    return f" (line {frame.f_lineno} of {frame.f_code.co_filename})" if frame is not None else ""


def _defines(node: ast.ClassDef, method: str) -> bool:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(part, functions) and part.name == method for part in node.body)


def _takes(function: Callable[..., Any], arguments: Sequence[object]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True
