"""A step in words, and as plain data: for the player, for a puzzle, for a file.

    {"step": 3, "actor": "user2", "kind": "call", "sentence": "user2 asks for the list of /lock; …",
     "call": {"verb": "list", "path": "/lock", "args": {}}, "told": ["a-0000000000"],
     "tree": [{"path": "/lock", "data": "", "owner": null, "version": 0}, …],
     "actors": [{"name": "user1", "believes": {"holds": "/lock/a-…"}, "truth": {"holds": null},
                 "differs": ["holds"], "session": "0x100", "alive": true, "waits": "…"}, …]}

`kind` is one of call, turn, notice, time passes, hears, catches up, restarts, an old session ends,
or a fault: request lost, reply lost, session ends, crashes, lags, moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kazoo.protocol.serialization import (
    CheckVersion,
    Create,
    Create2,
    Delete,
    Exists,
    GetACL,
    GetChildren,
    GetChildren2,
    GetData,
    SetACL,
    SetData,
    Sync,
    Transaction,
)
from kazoo.protocol.states import ZnodeStat

from labkit.explore.client import is_close
from labkit.explore.specification import Specification
from labkit.explore.tree import EPHEMERAL, SEQUENCE
from labkit.explore.world import Choice, World

_VERBS: dict[type, tuple[str, str]] = {
    Create: ("create", "creates {}"),
    Create2: ("create", "creates {}"),
    Delete: ("delete", "deletes {}"),
    Exists: ("exists", "asks whether {} exists"),
    GetData: ("get", "reads {}"),
    SetData: ("set", "writes {}"),
    GetACL: ("get_acls", "asks who may use {}"),
    SetACL: ("set_acls", "says who may use {}"),
    GetChildren: ("get_children", "asks for the list of {}"),
    GetChildren2: ("get_children", "asks for the list of {}"),
    Sync: ("sync", "waits until its server has caught up"),
    CheckVersion: ("check", "checks {}"),
}


def step(
    number: int, wanted: Specification, before: World, choice: Choice, after: World
) -> dict[str, Any]:
    """One step as plain data."""
    at = choice.actor
    orphan = choice.kind == "an old session ends"
    name = "ZooKeeper" if orphan else before.actors[at].name
    called = None if orphan else _call(before, choice)
    told = None if orphan else _told(before, after, choice)
    return {
        "step": number,
        "actor": name,
        "kind": choice.kind,
        "fault": choice.fault,
        "call": called,
        "told": told,
        "sentence": _sentence(name, before, choice, called, told, after),
        **state(wanted, after),
    }


def state(wanted: Specification, world: World) -> dict[str, Any]:
    """The tree and the actors as plain data."""
    names = {
        seat.session: actor.name for seat, actor in zip(world.seats, world.actors, strict=True)
    }
    tree = [
        {
            "path": path,
            "data": znode.data.decode(errors="replace"),
            "owner": names.get(znode.owner, hex(znode.owner)) if znode.owner else None,
            "version": znode.version,
        }
        for path, znode in sorted(world.tree.znodes.items())
        if path != "/"
    ]
    return {"tree": tree, "actors": [_actor(wanted, world, at) for at in range(len(world.seats))]}


def _actor(wanted: Specification, world: World, at: int) -> dict[str, Any]:
    actor = world.actors[at]
    believes = {} if actor.gone else {k: plain(v) for k, v in actor.facts.items()}
    truth = {k: plain(v) for k, v in wanted.truth(world, actor).items()}
    return {
        "name": actor.name,
        "believes": believes,
        "truth": truth,
        "differs": sorted(k for k in truth if truth[k] != believes.get(k)),
        "session": hex(actor.session),
        "alive": actor.alive,
        "waits": actor.waits,
        "lags": world.seats[at].view is not None,
    }


def _call(before: World, choice: Choice) -> dict[str, Any] | None:
    """The request that a step is about."""
    calls = before.seats[choice.actor].moment.calls
    if choice.kind not in ("call", "request lost", "reply lost", "hears") or not calls:
        return None
    return _request(calls[0].body)


def _request(body: Any) -> dict[str, Any]:
    if body == "connect":
        return {"verb": "connect", "path": None, "args": {}}
    if is_close(body):
        return {"verb": "close", "path": None, "args": {}}
    if isinstance(body, Transaction):
        parts = [_request(part) for part in body.operations]
        return {"verb": "transaction", "path": None, "args": {"operations": parts}}
    args: dict[str, Any] = {}
    flags = getattr(body, "flags", 0)
    if flags & EPHEMERAL:
        args["ephemeral"] = True
    if flags & SEQUENCE:
        args["sequence"] = True
    if getattr(body, "version", -1) != -1:
        args["version"] = body.version
    if getattr(body, "data", None):
        args["data"] = plain(body.data)
    if getattr(body, "watcher", None):
        args["watch"] = True
    return {"verb": _VERBS[type(body)][0], "path": body.path, "args": args}


def _told(before: World, after: World, choice: Choice) -> Any:
    """What the actor is told by a step."""
    was, now = before.seats[choice.actor].moment, after.seats[choice.actor].moment
    if now is was or not now.told or now.before is not was:
        return None
    match now.told:
        case ("reply", _, value, error):
            return plain(error if error is not None else value)
        case ("lost", _):
            return "ConnectionLoss"
        case ("expired", _):
            return "SessionExpiredError"
        case ("notice", kind, path, _):
            return {"event": kind, "path": path}
    return None


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, ZnodeStat):
        fields = tuple.__iter__(value)
        return dict(zip(ZnodeStat._fields, fields, strict=True))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Exception):
        return type(value).__name__
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _sentence(
    name: str,
    before: World,
    choice: Choice,
    called: dict[str, Any] | None,
    told: Any,
    after: World,
) -> str:
    asks = _asks(called) if called else ""
    match choice.kind:
        case "call":
            return f"{name} {asks}; {_answer(before, after, choice, told)}"
        case "request lost":
            return f"{name} {asks}; the request is lost: ConnectionLoss"
        case "reply lost":
            done = "" if before.tree is after.tree else "it is done, but "
            return f"{name} {asks}; {done}the reply is lost: ConnectionLoss"
        case "notice":
            return f"{name} is told: {_event(told)}{_remarks(after, choice)}"
        case "turn":
            label = dict(before.seats[choice.actor].moment.pauses).get(choice.detail, "goes on")
            return f"{name} goes on (it {label})" + _remarks(after, choice)
        case "time passes":
            timers = {t: label for t, _, label in before.seats[choice.actor].moment.timers}
            return f"time passes; {name} waits no longer (it {timers.get(choice.detail, 'waits')})"
        case "hears":
            new = told == "SessionExpiredError"
            return (
                f"{name} hears that its session has ended" if new else f"{name} is connected again"
            )
        case "session ends":
            return f"{name} is silent for too long: its session ends, and it does not know"
        case "an old session ends":
            return "ZooKeeper ends the session of an actor that has crashed"
        case "crashes":
            return f"{name} crashes"
        case "restarts":
            return f"{name} begins anew"
        case "lags":
            return f"{name}'s server falls behind"
        case "catches up":
            return f"{name}'s server catches up by one change"
        case "moves":
            return f"{name}'s connection breaks"
    raise AssertionError(choice.kind)


def _asks(called: dict[str, Any]) -> str:
    verb, path, args = called["verb"], called["path"], called["args"]
    if verb == "connect":
        return "connects"
    if verb == "close":
        return "ends its session"
    if verb == "transaction":
        parts = ", ".join(_asks(part) for part in args["operations"])
        return f"commits a transaction ({parts})"
    text = next(text for kind, text in _VERBS.values() if kind == verb).format(path)
    kinds = [word for word in ("ephemeral", "sequence") if args.get(word)]
    text += f" ({', '.join(kinds)})" if kinds else ""
    text += f" if its version is {args['version']}" if "version" in args else ""
    return text + (", and watches it" if args.get("watch") else "")


def _answer(before: World, after: World, choice: Choice, told: Any) -> str:
    if isinstance(told, str) and told.endswith(("Error", "Loss")):
        return f"it is told: {told}"
    if told is True:
        return "it is done"
    if told is None:
        return "it is told: there is none"
    if isinstance(told, list) and len(told) == 2 and isinstance(told[1], dict):
        return f"it is told: {told[0]!r}"
    if isinstance(told, dict):
        return f"it is told: version {told['version']}"
    if isinstance(told, list):
        return "it is told: " + (", ".join(map(str, sorted(told, key=str))) or "nobody")
    return f"it is told: {told}"


def _event(told: Any) -> str:
    words = {"CREATED": "is there", "DELETED": "has gone", "CHANGED": "has changed"}
    words["CHILD"] = "has other children"
    if not told or told["path"] is None:
        return "the connection was lost, its watches with it"
    return f"{told['path']} {words[told['event']]}"


def _remarks(after: World, choice: Choice) -> str:
    remarks = after.seats[choice.actor].moment.remarks
    return "".join(f"; {remark}" for remark in remarks)
