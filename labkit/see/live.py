"""Pieces of a page that live while their kernel does, and are a saved picture when it has gone.

A piece's output is plain HTML, which every viewer shows. Where the kernel is there, one small
module in the browser, `live.js`, finds the piece by its id and puts what can be used in its place.
So no viewer can miss a widget, and a page that is opened without its kernel looks as it did.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import uuid4

import anywidget
from IPython.core.getipython import get_ipython
from IPython.display import display

from labkit.see.walk import parts

LIVE = {"labkit": "live"}  # the metadata of an output that is a piece
_VSCODE = "__vsc_ipynb_file__"  # a name that VS Code defines in each of its kernels


class Piece(ABC):
    """One piece: what is saved of it, what it shows while it lives, and what a reader tells it."""

    kind: str  # which part of `live.js` shows it

    def __init__(self) -> None:
        self.uid = f"labkit-{uuid4().hex[:12]}"
        self._told: dict[str, Any] = {}
        self._on_page = False
        _stage().pieces[self.uid] = self

    @abstractmethod
    def face(self) -> dict[str, Any]:
        """All that the browser needs in order to show it now."""

    @abstractmethod
    def saved(self) -> str:
        """What stands in the page when there is no kernel, in HTML."""

    @abstractmethod
    def hear(self, do: str, value: Any) -> None:
        """What a reader does with it."""

    def words(self) -> dict[str, str]:
        """The same for viewers that show no HTML, by MIME type."""
        return {"text/plain": repr(self)}

    def tell(self, *, anew: bool = False) -> None:
        """Send what has changed in `face` to the browser; all of it if it is `anew`."""
        face, anew = self.face(), anew or not self._told
        news = face if anew else {k: v for k, v in face.items() if self._told.get(k) != v}
        self._told = face
        if news:
            _stage().send({"uid": self.uid, "kind": self.kind, "whole": anew, "face": news})

    def keep(self) -> None:
        """Let the page be saved as it is now."""
        if self._on_page:
            self._display(update=True)

    def remove(self) -> None:
        """Live no longer; what was saved last stays. Idempotent."""
        if _stage().pieces.pop(self.uid, None) is not None:
            _stage().send({"uid": self.uid, "kind": self.kind, "face": None})

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        host = (
            f'<div data-labkit="{self.uid}" data-lm-suppress-shortcuts="true">{self.saved()}</div>'
        )
        return self.words() | {"text/html": host}

    def _ipython_display_(self) -> None:
        self._display(update=False)
        self._on_page = True

    def _display(self, *, update: bool) -> None:
        display(
            self._repr_mimebundle_(),
            raw=True,
            display_id=self.uid,
            update=update,
            metadata=LIVE,
        )


class _Stage(anywidget.AnyWidget):
    """The way to the browser and back, one for all pieces of a page. It is never seen itself."""

    _esm = parts("walk", "live")
    _css = files("labkit").joinpath("see/live.css").read_text()

    def __init__(self) -> None:
        super().__init__()
        self.pieces: dict[str, Piece] = {}
        self.on_msg(self._hear)
        shell = get_ipython()
        if shell is not None and _VSCODE in shell.user_ns:
            display(self)  # VS Code connects no widget before one is shown

    def _hear(self, _: Any, said: dict[str, Any], __: Any) -> None:
        piece = self.pieces.get(said["uid"])
        if piece is None:
            self.send({"uid": said["uid"], "face": None})
        elif said["do"] == "hello":
            piece.tell(anew=True)
        else:
            piece.hear(said["do"], said.get("value"))


@cache
def _stage() -> _Stage:
    return _Stage()


def before_next_cell(call: Callable[[], object]) -> Callable[[], None]:
    """Call at the beginning of each cell that is run from now on. Returns what ends that."""
    shell = get_ipython()
    if shell is None:
        return lambda: None
    own = shell.execution_count

    def begin(*_: Any) -> None:
        if shell.execution_count != own:
            call()

    def end() -> None:
        with suppress(ValueError):
            shell.events.unregister("pre_run_cell", begin)

    shell.events.register("pre_run_cell", begin)
    return end


class Control:
    """What a reader sets: a value, and what is done when it is set. Driven by `x.value = 3`."""

    def __init__(self, value: Any, act: Callable[[Any], object]) -> None:
        self._value = value
        self._act = act
        self.disabled = False

    @property
    def value(self) -> Any:
        """What is shown; to set it does what a reader's hand does, unless it is that already."""
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        if value != self._value and not self.disabled:
            self._value = value
            self._act(value)

    def show(self, value: Any) -> None:
        """Follow what has become true by itself."""
        self._value = value


class Button:
    """What a reader presses: a verb, in a word. Driven by `click()`."""

    def __init__(self, verb: str, title: str, act: Callable[[], object]) -> None:
        self.verb = verb
        self.title = title
        self._act = act
        self.disabled = False
        self.pressed: bool | None = None  # of those that may stay pressed

    def click(self) -> None:
        """Do it, unless the button is out of use."""
        if not self.disabled:
            self._act()

    def face(self) -> list[Any]:
        """What the browser shows of it."""
        return [self.verb, self.title, self.disabled, self.pressed]
