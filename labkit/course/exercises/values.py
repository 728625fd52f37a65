"""What a reader's code returns, looked at with care: it may lie, and it may break when asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.states import ZnodeStat

_LONGEST = 60  # letters of a value that are shown


@dataclass
class Moment:
    """One thing that happened, `t` seconds after the check began; `bad` if it is the mistake."""

    t: float
    who: str
    text: str
    bad: bool = False


def as_text(value: Any, root: str = "") -> str:
    """A value as the reader would write it, shortened; `root` is the path of the exercise."""
    if isinstance(value, KazooClient):
        return "zk"
    if isinstance(value, ZnodeStat):
        return f"stat(czxid={value.czxid}, version={value.version})"
    if type(value) is str and value == root:
        return "root"
    try:
        if callable(value):
            return str(getattr(value, "__name__", "…"))
        text = repr(value)
    except BaseException as error:
        kind, broken = type(value).__name__, type(error).__name__
        return f"<a {kind} that cannot be shown: its `__repr__` raises {broken}>"
    if root:
        text = text.replace(root + "/", "…/").replace(root, "…")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "…"


def message_of(error: BaseException) -> str:
    """What an error says, shortened; empty if it says nothing or breaks when it is asked."""
    try:
        said = str(error)
    except BaseException:
        return ""
    return said if len(said) <= 150 else said[:150] + "…"


def same(got: Any, wanted: Any) -> bool:
    """Whether two values are equal and of the same types, whatever the reader's classes say."""
    if type(got) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple):
        pairs = zip(got, wanted, strict=False)
        return len(got) == len(wanted) and all(same(one, other) for one, other in pairs)
    return bool(got == wanted)
