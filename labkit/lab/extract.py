"""The source of a class or function that runs by itself, with all that it uses.

What travels: its own lines, those of the helpers that it uses, and imports and constants for the
other names. What exists only in the notebook (a lab, a list) cannot go along, and is named before
anything starts.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import math
import symtable
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from labkit.node.program import BadProgram, Piece, Program

_Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_LAZY = "from __future__ import annotations\n"  # a node has no need of names in annotations
_IPYTHONS = {"display", "get_ipython"}  # among the builtins of a notebook, and of no node
_CONSTANTS = (int, complex, str, bytes, bool, type(None), type(...))


@dataclass
class _Source:
    """A file or cell: the name that a reader knows it by, its lines, its syntax."""

    name: str
    lines: list[str]
    tree: ast.Module


@dataclass
class Extract:
    """Collects the source of a class or function and of what it uses, in the order of need."""

    root: Any
    _pieces: list[Piece] = field(default_factory=list)
    _plain: list[str] = field(default_factory=list)  # imports and constants
    _bound: dict[str, object] = field(default_factory=dict)  # the node's globals
    _sources: dict[str, _Source] = field(default_factory=dict)

    def program(self) -> Program:
        """All of it. Raises `BadProgram` for what a node cannot have."""
        self._define(self.root)
        plain = Piece("what it uses", 1, "\n".join(self._plain))
        return Program((plain, *self._pieces), self.root.__name__)

    def _define(self, thing: Any) -> None:
        """Add a class or function by its source, after all that it uses."""
        name = thing.__name__
        self._bound[name] = thing
        source, node = self._find(thing)
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        text = "".join(source.lines[first - 1 : node.end_lineno])
        if node.col_offset:  # it was defined within a function
            text, first = f"if True:\n{text}", first - 1
        known = _namespace(thing)
        for used, is_read in _globals_of(text, source.name):
            if used == name:
                continue
            if used in known:
                self._bind(used, known[used], node, source)
            elif is_read and (used not in dir(builtins) or used in _IPYTHONS):
                raise BadProgram(
                    f"{self.root.__name__} uses {used}, which is not defined: define or import it "
                    "before you give the class to a lab."
                )
        self._pieces.append(Piece(source.name, first, text))

    def _bind(self, name: str, value: Any, node: _Definition, source: _Source) -> None:
        """Give the node a global `name` with this value."""
        if name in self._bound:
            if self._bound[name] is not value:
                raise BadProgram(
                    f"{self.root.__name__} and what it uses mean different things by {name}; "
                    "rename one."
                )
            return
        self._bound[name] = value
        if isinstance(value, ModuleType) and _is_everywhere(value.__name__):
            self._plain += _imports(value.__name__, name, node)
        elif (origin := _origin(value)) is not None:
            self._plain.append(_import_from(*origin, name))
        elif isinstance(value, type | FunctionType) and value.__name__ != "<lambda>":
            self._define(value)
            if value.__name__ != name:
                self._pieces.append(Piece("what it uses", 1, f"{name} = {value.__name__}"))
        elif _is_constant(value):
            self._plain.append(f"{name} = {value!r}")
        elif (statement := _import_of(name, source.tree)) is not None:
            self._plain.append(statement)
        else:
            raise BadProgram(
                f"{self.root.__name__} uses {name}, {_kind(value)} that only this notebook (or "
                "module) has; a node has a memory of its own. Make it in start() or in the class."
            )

    def _find(self, thing: Any) -> tuple[_Source, _Definition]:
        """Where a class or function is defined."""
        codes = list(_codes(thing))
        for file in dict.fromkeys([*(code.co_filename for code in codes), *_homes(thing)]):
            source = self._source(file, thing.__name__)
            lines = {code.co_firstlineno for code in codes if code.co_filename == file}
            found = [n for n in _definitions(source, thing) if not lines or _spans(n, lines)]
            if source is not None and found:
                return source, found[-1]
        raise BadProgram(
            f"The source of {thing.__name__} is nowhere to be found. Define it in a cell without "
            "magic commands, or write it into a file: claim='my_server.py:MyServer'."
        )

    def _source(self, file: str, name: str) -> _Source | None:
        if file not in self._sources:
            linecache.checkcache(file)
            lines = linecache.getlines(file)
            is_file = Path(file).is_file()
            label = Path(file).name if is_file else f"the cell of {name}"
            try:
                tree = ast.parse("".join(lines))
            except SyntaxError:
                return None
            self._sources[file] = _Source(label, lines, tree)
        return self._sources[file]


def _globals_of(text: str, name: str) -> Iterator[tuple[str, bool]]:
    """The global names in a piece of source, and whether each must have a value by then."""
    read: dict[str, bool] = {}
    tables = [symtable.symtable(_LAZY + text, name, "exec")]
    made = {s.get_name() for s in tables[0].get_symbols() if s.is_assigned() or s.is_imported()}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.get_name() not in made:
                used = symbol.get_name()
                read[used] = read.get(used, True) and not symbol.is_assigned()
    read.pop("__name__", None)
    yield from read.items()


def _namespace(thing: Any) -> Mapping[str, Any]:
    """What the names in a class or function stand for where it was defined."""
    module = sys.modules.get(thing.__module__)
    names: dict[str, Any] = dict(vars(module)) if module is not None else {}
    for function in _functions(thing):
        names |= function.__globals__
    if isinstance(thing, type):
        names |= {base.__name__: base for base in thing.__bases__ if base is not object}
    for function in _functions(thing):
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            with suppress(ValueError):  # nothing has been assigned to it yet
                names[name] = cell.cell_contents
    names.pop("__class__", None)
    return names


def _functions(thing: Any) -> Iterator[FunctionType]:
    """The functions of a class, or the function itself, without what wraps them."""
    for value in list(vars(thing).values()) if isinstance(thing, type) else [thing]:
        match value:
            case staticmethod() | classmethod():
                value = value.__func__
            case property():
                value = value.fget
            case cached_property():
                value = value.func
        function = inspect.unwrap(value) if isinstance(value, FunctionType) else None
        if isinstance(function, FunctionType):
            yield function


def _codes(thing: Any) -> Iterator[CodeType]:
    return (function.__code__ for function in _functions(thing))


def _homes(thing: Any) -> Iterator[str]:
    """Where a class without functions of its own may come from: its module, or any cell."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    if file:
        yield file
    if thing.__module__ == "__main__":
        yield from [f for f, entry in reversed(linecache.cache.items()) if entry[1:2] == (None,)]


def _definitions(source: _Source | None, thing: Any) -> list[_Definition]:
    kinds = (ast.ClassDef,) if isinstance(thing, type) else (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(source.tree) if source is not None else ()
    return [n for n in nodes if isinstance(n, kinds) and n.name == thing.__name__]


def _spans(node: _Definition, lines: set[int]) -> bool:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return any(first <= line <= (node.end_lineno or first) for line in lines)


def _is_everywhere(module: str) -> bool:
    """Whether a node, too, can import it: Python's own, installed packages, and `labkit.node`."""
    top = module.partition(".")[0]
    if top == "labkit":  # a node's image holds no more of it
        return f"{module}.".startswith("labkit.node.")
    if top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def _origin(value: Any) -> tuple[str, str] | None:
    """The module that a value can be imported from, and its name there."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not _is_everywhere(module):
        return None
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return None
    return (module, name) if found is value else None


def _imports(module: str, name: str, node: _Definition) -> list[str]:
    """Statements that import a module as `name`, with those of its submodules that are used."""
    statements = [f"import {module}" if name == module else f"import {module} as {name}"]
    for part in ast.walk(node):
        path = ast.unparse(part) if isinstance(part, ast.Attribute) else ""
        used = path.replace(f"{name}.", f"{module}.", 1) if path.startswith(f"{name}.") else ""
        if used in sys.modules:
            statements.insert(0, f"import {used}")
    return list(dict.fromkeys(statements))


def _import_of(name: str, tree: ast.Module) -> str | None:
    """The statement that imports a name, if a node can do that too."""
    for node in tree.body:
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and _is_everywhere(node.module or "")
        ):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _import_from(node.module or "", alias.name, name)
    return None


def _import_from(module: str, name: str, alias: str) -> str:
    return f"from {module} import {name}" + (f" as {alias}" if alias != name else "")


def _is_constant(value: object) -> bool:
    """Whether a copy is as good: it cannot change, and its text is all of it."""
    if isinstance(value, tuple | frozenset):
        return type(value) in (tuple, frozenset) and all(map(_is_constant, value))
    if isinstance(value, float):
        return type(value) is float and math.isfinite(value)
    return type(value) in _CONSTANTS


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
