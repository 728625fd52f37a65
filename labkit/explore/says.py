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

import re
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
from labkit.explore.line import SENTENCES
from labkit.explore.seat import Choice
from labkit.explore.specification import Specification
from labkit.explore.tree import EPHEMERAL, SEQUENCE
from labkit.explore.world import World

#: The names of requests, and what an actor does by them: {} is the path.
_VERBS: dict[type, tuple[str, str]] = {
    Create: ("create", "creates {}"),
    Create2: ("create", "creates {}"),
    Delete: ("delete", "deletes {}"),
    Exists: ("exists", "asks whether {} exists"),
    GetData: ("get", "reads {}"),
    SetData: ("set", "writes {}"),
    GetACL: ("get_acls", "asks who may use {}"),
    SetACL: ("set_acls", "says who may use {}"),
    GetChildren: ("get_children", "lists the children of {}"),
    GetChildren2: ("get_children", "lists the children of {}"),
    Sync: ("sync", "asks its ZooKeeper server to catch up"),
    CheckVersion: ("check", "checks {}"),
}
_DOES = dict(_VERBS.values())
_ERRORS = {
    "NodeExistsError": "it is there already",
    "NoNodeError": "it is not there",
    "BadVersionError": "its version is another one by now",
    "NotEmptyError": "it has children",
    "NoChildrenForEphemeralsError": "an ephemeral znode has no children",
    "NoAuthError": "it is not allowed to",
    "SessionExpiredError": "its session has ended",
}
_BELIEFS = {"gave_up": "it gives up:", "returned": "it returns", "took": "it takes"}
_FOLLOW = ("RolledBackError", "RuntimeInconsistency")  # of other parts of a transaction


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


def short(text: str) -> str:
    """A text with random parts of names cut to what tells them apart."""
    return re.sub(r"([0-9a-f]{4})[0-9a-f]{28}", r"\1…", text)


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
    does = f"{name} {_does(called)}" if called else ""
    match choice.kind:
        case "call":
            assert called is not None
            text = does + _answer(before, called, told)
        case "request lost":
            text = f"{does}; the request is lost on its way, and {name} gets ConnectionLoss"
        case "reply lost":
            done = "" if before.tree is after.tree else "it is done, but "
            text = f"{does}; {done}the reply is lost, and {name} gets ConnectionLoss"
        case "notice":
            text = f"{name} is told: {_event(told)}"
        case "turn":
            text = f"{name} {_goes_on(before, choice)}"
        case "time passes":
            timers = {t: label for t, _, label in before.seats[choice.actor].moment.timers}
            text = f"time passes, until {name} no longer {timers.get(choice.detail, 'waits')}"
        case "hears":
            text = f"{name} is connected again, in the same session"
            if told == "SessionExpiredError":
                text = f"{name} hears that its session has ended, and begins a new one"
        case "an old session ends":
            owner = before.whose(before.orphans[choice.actor])
            return f"ZooKeeper ends the session that {owner} had before it crashed"
        case _:
            text = _HAPPENS[choice.kind].format(name)
    return text + _effects(before, choice, after)


_HAPPENS = {
    "session ends": "{0} is silent for too long: its session ends, and {0} does not know",
    "crashes": "{0} crashes, and forgets all that it knew",
    "restarts": "{0} starts again, with a new session",
    "lags": "{0}'s ZooKeeper server falls behind: what {0} reads stays as it is now",
    "catches up": "{0}'s ZooKeeper server catches up by one change",
    "moves": "{0}'s connection breaks",
    **SENTENCES,
}


def _goes_on(before: World, choice: Choice) -> str:
    """What an actor does after a pause."""
    for strand, label, then in before.seats[choice.actor].moment.pauses:
        if strand == choice.detail:
            return then or f"goes on, and no longer {label}"
    return "goes on"


def _effects(before: World, choice: Choice, after: World) -> str:
    """What an actor says and believes by what it has just been told."""
    was, now = before.seats[choice.actor].moment, after.seats[choice.actor].moment
    if now is was:
        return ""
    said = [f"it {key} {value}" for key, value in now.news.items()]
    if not said:
        new = {k: v for k, v in now.facts.items() if v is not None and was.facts.get(k) != v}
        said = [f"{_BELIEFS.get(k, f'now it believes: {k}')} {plain(v)}" for k, v in new.items()]
    if now.error and now.error != was.error:
        said.append(f"its code {now.error}")
    return "".join(f"; {part}" for part in (*said, *now.remarks))


def _does(called: dict[str, Any]) -> str:
    verb, path, args = called["verb"], called["path"], called["args"]
    match verb:
        case "connect":
            return "connects"
        case "close":
            return "ends its session"
        case "transaction":
            return "does as one transaction: " + ", ".join(map(_does, args["operations"]))
        case "create":
            kinds = "".join(word for word in ("ephemeral ",) if args.get("ephemeral"))
            if args.get("sequence"):
                text = f"creates a sequential {kinds}znode below {path.rsplit('/', 1)[0] or '/'}"
            else:
                text = f"creates the {kinds}znode {path}"
        case "set":
            text = f"writes {args.get('data', '')!r} to {path}"
        case _:
            text = _DOES[verb].format(path)
    if "version" in args:
        text += f", if its version is {args['version']}"
    if args.get("watch"):
        text += f", and watches {'them' if verb == 'get_children' else 'it'}"
    return text


def _answer(before: World, called: dict[str, Any], told: Any) -> str:
    """What an actor is told: nothing more than that it is done, an error, or a value."""
    verb = called["verb"]
    if verb == "transaction" and isinstance(told, list):
        errors = [part for part in told if _is_error(part)]
        told = next((e for e in errors if e not in _FOLLOW), errors[0] if errors else None)
        return f"; nothing of it is done: {_why(told)}" if errors else ""
    if _is_error(told):
        return f"; refused: {_why(told)}"
    if isinstance(told, list) and len(told) == 2 and isinstance(told[1], dict):
        told, stat = told
        return f": {told!r}, version {stat['version']}" if verb == "get" else _value(told)
    match verb:
        case "exists":
            return ": no" if told is None else f": yes{_belongs(before, told)}"
        case "create":
            return f": {told}" if called["args"].get("sequence") else ""
        case "get_children" | "get" | "get_acls":
            return _value(told)
    return ""


def _value(told: Any) -> str:
    if isinstance(told, list):
        return ": " + (", ".join(map(str, sorted(told, key=str))) or "there are none")
    return f": {told}"


def _is_error(told: Any) -> bool:
    return isinstance(told, str) and (told in _ERRORS or told.endswith(("Error", *_FOLLOW)))


def _why(error: Any) -> str:
    return f"{_ERRORS[error]} ({error})" if error in _ERRORS else str(error)


def _belongs(before: World, stat: dict[str, Any]) -> str:
    owner = stat["ephemeralOwner"]
    return f", it belongs to {before.whose(owner)}" if owner else ""


def _event(told: Any) -> str:
    words = {"CREATED": "is there", "DELETED": "has gone", "CHANGED": "has changed"}
    words["CHILD"] = "has other children"
    if not told or told["path"] is None:
        return "the connection was lost, its watches with it"
    return f"{told['path']} {words[told['event']]}"
