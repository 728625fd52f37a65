"""What may never be true of a recipe: facts of the workers and ZooKeeper's log in, violations out.

Times are in seconds on one clock, that of the facts; `Logged` is a change in ZooKeeper's log, on
the same clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.judge.recipes.team import Fact
from labkit.servers.zookeeper.txnlog import Transaction

_AGAIN = 5  # times that a worker may be given one item after all is well
_WRITTEN = 0.05  # seconds by which a write in ZooKeeper's log may lie outside its call


@dataclass(frozen=True)
class Violation:
    """A broken promise, in one plain sentence, and its cause as far as the log tells it."""

    rule: str
    at: float
    worker: str
    message: str


@dataclass(frozen=True)
class Logged:
    """A change that ZooKeeper made, and when on the clock of the facts."""

    at: float
    change: Transaction


@dataclass(frozen=True)
class History:
    """A run: the workers' facts, ZooKeeper's log, and when the last fault was healed."""

    facts: Sequence[Fact]
    log: Sequence[Logged]
    healed: float
    alive: frozenset[str]  # the workers that lived at the end
    figures: dict[str, Any] = field(default_factory=dict)

    def ended(self, session: int | None) -> float | None:
        """When ZooKeeper ended a session; None if it did not."""
        for entry in self.log:
            if entry.change.op == "closeSession" and entry.change.session == session:
                return entry.at
        return None


def guarded(history: History) -> Iterator[Violation]:
    """Locks and elections: nobody writes once its successor has written; everybody gets on.

    The resource keeps the largest token that it has seen, and refuses smaller ones.
    """
    turn: dict[str, tuple[int, int | None]] = {}  # each worker's entry, and its session then
    entries, writer, largest = 0, ("", 0), 0
    refused = written = 0
    first: Violation | None = None
    for fact in sorted(history.facts, key=lambda fact: fact.at):
        if fact.what == "in":
            entries += 1
            turn[fact.worker] = entries, fact.session
        elif fact.what == "write":
            token = fact.more.get("token")
            if token is not None and token < largest:
                refused += 1
                continue
            written += 1
            largest = largest if token is None else max(largest, token)
            entry, session = turn.get(fact.worker, (0, fact.session))
            mine = (fact.worker, entry)
            if entry < writer[1] and first is None:
                first = _late(history, fact, session, writer[0])
            writer = max(writer, mine, key=lambda one: one[1])
    history.figures.update(entries=entries, writes=written, refused=refused)
    if first is not None:
        yield first
    yield from _stuck(history, "in")


def _late(history: History, fact: Fact, session: int | None, successor: str) -> Violation:
    ended = history.ended(session)
    if ended is not None and ended <= fact.at + _WRITTEN:
        cause = f"ZooKeeper had ended its session {max(fact.at - ended, 0):.2f} s before"
    else:
        cause = "its session had not ended"
    return Violation(
        "exclusion",
        fact.at,
        fact.worker,
        f"{fact.worker} wrote after {successor}, which had come after it, had written: {cause}.",
    )


def _stuck(history: History, sign: str) -> Iterator[Violation]:
    """Each living worker that was not heard of since all was well."""
    since = {f.worker for f in history.facts if f.what == sign and f.at >= history.healed}
    for worker in sorted(history.alive - since):
        said = [f for f in history.facts if f.worker == worker]
        errors = Counter(f.more["error"] for f in said if f.what == "failed")
        last = f"; it had {', '.join(f'{n} × {e}' for e, n in errors.items())}" if errors else ""
        waiting = len(history.alive - since) - 1
        also = f", and so do {waiting} others" if waiting > 1 else ""
        yield Violation(
            "progress",
            history.healed,
            worker,
            f"{worker} waits for ever, though nothing is broken any more{also}{last}.",
        )
        return


def queued(history: History) -> Iterator[Violation]:
    """Queues: what was put is worked on at least once, and a queue hands on what is done with."""
    put = {f.more["item"]: f for f in history.facts if f.what == "put"}
    worked = Counter(f.more["item"] for f in history.facts if f.what == "worked")
    lost = [item for item in put if item not in worked]
    history.figures.update(
        put=len(put), worked_on=len(worked), twice=sum(n > 1 for n in worked.values())
    )
    history.figures["lost"] = len(lost)
    if lost:
        fact = put[lost[0]]
        yield Violation(
            "lost",
            fact.at,
            fact.worker,
            f"{lost[0]} was put, and nobody has worked on it: {_whereabouts(history, lost[0])}"
            f"{f' ({len(lost)} such items)' if len(lost) > 1 else ''}.",
        )
    late = Counter(
        (f.worker, f.more["item"])
        for f in history.facts
        if f.what == "got" and f.at >= history.healed and f.worker in history.alive
    )
    for (worker, item), times in late.most_common(1):
        if times > _AGAIN:
            errors = Counter(
                f.more["error"] for f in history.facts if f.what == "failed" and f.worker == worker
            )
            because = f"; its last verb raised {errors.most_common(1)[0][0]}" if errors else ""
            yield Violation(
                "progress",
                history.healed,
                worker,
                f"{worker} is given {item} again and again, {times} times since nothing is broken "
                f"any more{because}.",
            )


def _whereabouts(history: History, item: str) -> str:
    """What ZooKeeper's log tells of an item that nobody has worked on."""
    data = item.encode()
    path = next((e.change.path for e in history.log if e.change.data == data), None)
    names = {f.session: f.worker for f in history.facts if f.session}
    if path is None:
        return "ZooKeeper's log has no znode with it"
    for entry in history.log:
        if entry.change.op == "delete" and entry.change.path == path:
            worker = names.get(entry.change.session, "somebody")
            got = any(
                f.what == "got" and f.more["item"] == item and f.worker == worker
                for f in history.facts
            )
            if not got:
                return f"{worker} removed it from ZooKeeper, and its get() never returned it"
            return f"{worker} removed it from ZooKeeper and did not live to work on it"
    name = path.rpartition("/")[2]
    for entry in reversed(history.log):
        if entry.change.ephemeral and (entry.change.path or "").endswith(f"/{name}"):
            worker = names.get(entry.change.session, "somebody")
            if worker in history.alive:
                return f"{worker} holds its lock, and was never given it"
    return "it is still in ZooKeeper"


def counted(history: History) -> Iterator[Violation]:
    """Counters: no increment is lost, and none is done twice, without its caller being told."""
    told = Counter(f.what for f in history.facts)
    failed = sum(f.what == "adding" for f in history.facts) - told["added"]
    values = [(f.at, f.more["value"], f.worker) for f in history.facts if f.what == "value"]
    history.figures.update(added=told["added"], in_doubt=failed)
    if not values:
        yield from _stuck(history, "value")
        return
    at, value, worker = max(values)
    history.figures["value"] = value
    least, most = told["added"], told["added"] + failed
    if least <= value <= most:
        return
    doubt = f", and {failed} are in doubt" if failed else ""
    yield Violation(
        "doubled" if value > most else "lost",
        at,
        worker,
        f"The counter is {value}; its workers know of {least} increments{doubt}"
        f"{_twice(history) if value > most else ''}.",
    )


def _twice(history: History) -> str:
    """The first call in whose time its session has written more than once."""
    begun: dict[str, Fact] = {}
    for fact in sorted(history.facts, key=lambda fact: fact.at):
        if fact.what == "adding":
            begun[fact.worker] = fact
        elif fact.what == "added" and (start := begun.pop(fact.worker, None)):
            writes = [
                entry
                for entry in history.log
                if entry.change.op == "setData"
                and entry.change.session in (start.session, fact.session)
                and start.at - _WRITTEN <= entry.at <= fact.at
            ]
            if len(writes) > 1:
                return f": in one call, {fact.worker} wrote {len(writes)} times"
    return ""


JUDGES: dict[str, Callable[[History], Iterator[Violation]]] = {
    "lock": guarded,
    "election": guarded,
    "queue": queued,
    "counter": counted,
}
