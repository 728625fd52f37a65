"""A client whose every call is written down, and between whose calls others may act."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from kazoo.exceptions import KazooException
from kazoo.protocol.serialization import Transaction
from kazoo.protocol.states import KazooState

from labkit.course.exercises.values import Moment, as_text
from labkit.node.session import Session

LOG = logging.getLogger("labkit.exercises")
LOG.addHandler(logging.NullHandler())
LOG.propagate = False

_OPS = {
    "Create": "create",
    "Create2": "create",
    "Delete": "delete",
    "Exists": "exists",
    "GetData": "get",
    "SetData": "set",
    "GetChildren": "get_children",
    "GetChildren2": "get_children",
    "Sync": "sync",
    "Transaction": "transaction",
    "CheckVersion": "check",
}


class Notes(Protocol):
    """Where calls are written down."""

    root: str

    def note(self, who: str, text: str) -> Moment: ...

    def add(self, moment: Moment, text: str) -> None: ...


class Client(Session):
    """A session whose every call is written down as `who`'s, from `watched` on."""

    def __init__(
        self, notes: Notes, who: str, name: str, server: str, hosts: str, timeout: float
    ) -> None:
        self.who = who
        self.name = name
        self.target = server
        self.watched = False
        self.calls: list[str] = []  # such as "create", in order
        self._notes = notes
        self._hooks: list[tuple[list[str], Callable[[str], object]]] = []
        super().__init__(hosts, timeout, LOG)
        self.losses = 0  # of its connection
        self.add_listener(self._count)

    def _count(self, state: str) -> None:
        self.losses += state == KazooState.SUSPENDED

    def before(self, op: str, act: Callable[[str], object]) -> None:
        """Do something once, right before the client's next `op` on a path is sent.

        `op` may name several, such as "exists or get".
        """
        self._hooks.append((op.split(" or "), act))

    def _call(self, request: Any, async_object: Any) -> Any:
        op = _OPS.get(type(request).__name__)
        if op is not None and self.watched:
            self._run_hooks(op, self.unchroot(getattr(request, "path", "")))
            self.calls.append(op)
            self._write_down(self._notes.note(self.who, self._text(op, request)), async_object)
        return super()._call(request, async_object)

    def _run_hooks(self, op: str, path: str) -> None:
        for hook in self._hooks:
            if op in hook[0]:
                self._hooks.remove(hook)
                hook[1](path)
                return

    def _write_down(self, moment: Moment, async_object: Any) -> None:
        # Not a callback of the result's: those run after the caller has been woken, so that its
        # next call could come first.
        notes, succeed, fail = self._notes, async_object.set, async_object.set_exception

        def success(value: Any = None) -> None:
            if isinstance(value, list) and any(isinstance(v, KazooException) for v in value):
                notes.add(moment, "refused")
            elif isinstance(value, list) and moment.text.startswith("get_children"):
                notes.add(moment, as_text(sorted(value)))
            succeed(value)

        def failure(error: Any) -> None:
            notes.add(moment, type(error).__name__.removesuffix("Error"))
            fail(error)

        async_object.set, async_object.set_exception = success, failure

    def _text(self, op: str, request: Any) -> str:
        if isinstance(request, Transaction):
            parts = [
                f"{_OPS.get(type(part).__name__, '?')} {self._short(part.path)}"
                for part in request.operations
            ]
            return f"transaction: {', '.join(parts)}"
        text = f"{op} {self._short(request.path)}"
        if op in ("set", "create") and 0 < len(request.data or b"") <= 12:
            text += f" = {request.data.decode(errors='replace')}"
        if op in ("set", "delete") and request.version != -1:
            text += f", version {request.version}"
        return text + (", watch" if getattr(request, "watcher", None) is not None else "")

    def _short(self, path: str) -> str:
        inner = self.unchroot(path) if path.startswith(str(self.chroot)) else path
        short = inner.removeprefix(self._notes.root).removeprefix("/") or "/"
        return short if len(short) <= 24 else f"{short[:9]}…{short[-10:]}"
