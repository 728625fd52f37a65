"""The reference of what a page can import, made of the code's own signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, get_args, get_type_hints

from labkit.lazy import FACE


def reference() -> str:
    """A sheet with every name that a page can import, and with the classes that these give it."""
    lines = ["# Reference", "", "What a page can import, and what that gives it."]
    offered: list[Any] = []
    for name in FACE:
        module = import_module(name)
        found = [getattr(module, each) for each in module.__all__]
        offered += found
        lines += ["", f"## {name}", "", inspect.getdoc(module) or ""]
        for thing in found:
            lines += _entry(thing, made=True)
    lines += ["", "## What they give"]
    for cls in _given(offered):
        lines += _entry(cls, made=False)
    return "\n".join(lines)


def _entry(thing: Any, *, made: bool) -> Iterator[str]:
    """A function, or a class with its public members; how it is called, if readers make it."""
    yield from ("", f"### {thing.__name__}", "")
    if made and not (inspect.isclass(thing) and issubclass(thing, Exception)):
        yield from (f"`{thing.__name__}{_signature(thing)}`", "")
    yield inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        yield ""
        for name, member in _members(thing):
            is_value = isinstance(member, property)
            call = name if is_value else name + _signature(member)
            text = (inspect.getdoc(member) or "").replace("\n", "\n  ")
            yield f"- `{call}`  \n  {text}"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that say what they do, of the class and of its bases in labkit."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("labkit")]
    for name in sorted({name for base in bases for name in vars(base) if name[0] != "_"}):
        member = getattr(cls, name)
        if (callable(member) or isinstance(member, property)) and inspect.getdoc(member):
            yield name, member


def _given(offered: list[Any]) -> list[type]:
    """The classes of labkit that the names return, and those that `Lab` has."""
    found: dict[str, type] = {}
    for thing in offered:
        makers = [m for _, m in _members(thing)] if inspect.isclass(thing) else [thing]
        for maker in makers:
            function = maker.fget if isinstance(maker, property) else maker
            hint = _returned(function)
            for cls in (hint, *get_args(hint)):
                if inspect.isclass(cls) and cls.__module__.startswith("labkit"):
                    found.setdefault(cls.__name__, cls)
    return [found[name] for name in sorted(found) if found[name] not in offered]


def _returned(function: Any) -> Any:
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError):  # a name that only type checkers import
        return None


class _Bare(str):
    """An annotation as it is written, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _signature(thing: Callable[..., Any]) -> str:
    """How it is called; `self` and a class's result are left out."""
    signature = inspect.signature(thing)
    shown = [
        p.replace(annotation=_Bare(p.annotation) if p.annotation is not p.empty else p.empty)
        for p in signature.parameters.values()
        if p.name not in ("self", "cls")
    ]
    made = inspect.isclass(thing) or signature.return_annotation is signature.empty
    returned = signature.empty if made else _Bare(signature.return_annotation)
    return str(signature.replace(parameters=shown, return_annotation=returned))
