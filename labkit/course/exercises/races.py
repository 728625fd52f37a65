"""Page 05: starters stay unique, and what their claims cost depends on who waits for whom."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from kazoo.exceptions import ConnectionLoss, NodeExistsError

from labkit.course.exercises.exercise import BREAKS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, in_every_order, users
from labkit.explore.actor import Body, Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- how many attempts ------------------------------------------------------------------------


def attempts(starters: int) -> int:
    return starters * (starters + 1) // 2


def _one_each(starters: int) -> int:
    """As if nobody lost."""
    return starters


def _two_each(starters: int) -> int:
    """As if everybody who loses won the next time."""
    return 2 * starters - 1


def _square(starters: int) -> int:
    """As if those who have won went on trying."""
    return starters * starters


def _judge_attempts(harness: Harness) -> None:
    for starters in (1, 2, 5, 12):
        root = f"{harness.root}/storm-of-{starters}"
        harness.zk.create(root)
        waiting, creates, number = starters, 0, 0
        while waiting:
            number += 1  # all of them have listed, and all have come to the same conclusion
            tries = [harness.zk.create_async(f"{root}/{number}") for _ in range(waiting)]
            for attempt in tries:
                attempt.wait()
            creates += waiting
            waiting -= sum(attempt.successful() for attempt in tries)
        harness.note("ZooKeeper", f"a storm of {starters}: {creates} creates")
        harness.equal(
            harness.call(starters, kind=int), creates, f"So many creates {starters} took."
        )


# --- the ticket's target ----------------------------------------------------------------------


def target(children: list[str], ticket: str) -> int:
    tickets = [name for name in children if name.startswith("ticket-")]
    tickets.sort(key=lambda name: name[-10:])
    free = [n for n in range(1, len(children) + 2) if str(n) not in children]
    return free[tickets.index(ticket)]


def _by_name(children: list[str], ticket: str) -> int:
    """Sorts whole names; what comes first in them is random."""
    tickets = sorted(name for name in children if name.startswith("ticket-"))
    free = [n for n in range(1, len(children) + 2) if str(n) not in children]
    return free[tickets.index(ticket)]


def _lowest(children: list[str], ticket: str) -> int:
    """Everybody aims at the same number."""
    return next(n for n in range(1, len(children) + 2) if str(n) not in children)


def _by_rank(children: list[str], ticket: str) -> int:
    """Forgets the numbers that are taken."""
    tickets = sorted((name for name in children if name.startswith("ticket-")), key=_last_ten)
    return tickets.index(ticket) + 1


def _last_ten(name: str) -> str:
    return name[-10:]


def _judge_target(harness: Harness) -> None:
    rival, root = harness.rival, harness.root
    for number in (1, 3):
        rival.create(f"{root}/{number}", ephemeral=True)
    tickets = [_ticket(rival, root, letter) for letter in ("f", "a", "c")]
    for finished in (False, True):
        if finished:
            rival.create(f"{root}/2", ephemeral=True)
            rival.delete(f"{root}/{tickets.pop(0)}")
        children = harness.zk.get_children(root)
        for ticket, wanted in zip(tickets, (4, 5) if finished else (2, 4, 5), strict=True):
            ahead = tickets.index(ticket)
            taken = "1, 2, 3" if finished else "1, 3"
            why = f"Its ticket has {ahead} ahead of it; taken are {taken}."
            harness.equal(harness.call(children, ticket, kind=int), wanted, why)


def _ticket(client: KazooClient, root: str, letter: str = "a") -> str:
    path: str = client.create(f"{root}/ticket-{letter * 32}-", ephemeral=True, sequence=True)
    return path.rsplit("/", 1)[1]


# --- claim in turn ----------------------------------------------------------------------------


def draw_ticket(zk: KazooClient, root: str) -> str:
    mine = f"ticket-{uuid.uuid4().hex}-"
    while True:
        try:
            path = zk.create(f"{root}/{mine}", ephemeral=True, sequence=True)
            return path.rsplit("/", 1)[1]
        except ConnectionLoss:  # drawn or not? its name tells
            for name in zk.retry(zk.get_children, root):
                if name.startswith(mine):
                    return name


def claim_in_turn(zk: KazooClient, root: str) -> int:
    ticket, number = draw_ticket(zk, root), 0
    while True:
        children = zk.retry(zk.get_children, root)
        if ticket not in children:
            return number  # the transaction was done, and only its reply was lost
        number = target(children, ticket)
        transaction = zk.transaction()
        transaction.create(f"{root}/{number}", ephemeral=True)
        transaction.delete(f"{root}/{ticket}")
        try:
            if not any(isinstance(result, Exception) for result in transaction.commit()):
                return number
        except ConnectionLoss:
            continue  # done or not? the ticket tells


def _losing(zk: KazooClient, root: str) -> int:
    """Its ticket has a name of its own, but nobody looks for it when a reply is lost."""
    path = zk.create(f"{root}/ticket-{uuid.uuid4().hex}-", ephemeral=True, sequence=True)
    return _with_a_ticket(zk, root, path)


def _drawing_twice(zk: KazooClient, root: str) -> int:
    """After a lost reply it draws another ticket; the first one stays, and all wait behind it."""
    while True:
        try:
            path = zk.create(f"{root}/ticket-{uuid.uuid4().hex}-", ephemeral=True, sequence=True)
            return _with_a_ticket(zk, root, path)
        except ConnectionLoss:
            continue


def _beginning_again(zk: KazooClient, root: str) -> int:
    """A transaction whose reply was lost may have been done; then it takes a second number."""
    while True:
        try:
            return _with_a_ticket(zk, root, f"{root}/{draw_ticket(zk, root)}")
        except ConnectionLoss:
            continue


def _unchecked(zk: KazooClient, root: str) -> int:
    """A transaction that was refused raises nothing: the number may be a rival's."""
    ticket = draw_ticket(zk, root)
    number = target(zk.get_children(root), ticket)
    transaction = zk.transaction()
    transaction.create(f"{root}/{number}", ephemeral=True)
    transaction.delete(f"{root}/{ticket}")
    transaction.commit()
    return number


def _with_a_ticket(zk: KazooClient, root: str, path: str) -> int:
    while True:
        number = target(zk.get_children(root), path.rsplit("/", 1)[1])
        transaction = zk.transaction()
        transaction.create(f"{root}/{number}", ephemeral=True)
        transaction.delete(path)
        if not any(isinstance(result, Exception) for result in transaction.commit()):
            return number


def _without_a_ticket(zk: KazooClient, root: str) -> int:
    """Jumps the queue."""
    while True:
        taken = zk.get_children(root)
        number = next(n for n in range(1, len(taken) + 2) if str(n) not in taken)
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except NodeExistsError:
            continue


def _in_two_steps(zk: KazooClient, root: str) -> int:
    """Between the two, it counts twice: as a number and as a ticket."""
    path = zk.create(f"{root}/ticket-{uuid.uuid4().hex}-", ephemeral=True, sequence=True)
    while True:
        number = target(zk.get_children(root), path.rsplit("/", 1)[1])
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
        except NodeExistsError:
            continue
        zk.delete(path)
        return number


def _keeping_it(zk: KazooClient, root: str) -> int:
    """Its ticket stays, and pushes everybody behind it on by one."""
    path = zk.create(f"{root}/ticket-{uuid.uuid4().hex}-", ephemeral=True, sequence=True)
    while True:
        number = target(zk.get_children(root), path.rsplit("/", 1)[1])
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except NodeExistsError:
            continue


def _in_turn(code: Code, root: str, many: int = 2, **others: Body) -> Specification:
    def use(me: Me) -> None:
        me.knows(holds=code(me, root, kind=int))

    def never(world: World) -> str | None:
        names = world.children(root)
        owners = {name: world.owner(f"{root}/{name}") for name in names}
        for actor in world.actors:
            mine, number = [n for n in names if owners[n] == actor.session], actor.believes("holds")
            what = " and ".join(name[:9] for name in mine) or "nothing"
            if number is not None and mine != [str(number)]:
                return f"{actor.name} returned {number}, and its session has {what} below `root`"
            if len(mine) > 1:
                return f"{actor.name} counts twice: its session has {what} below `root` at once"
            drawn = any("ticket-" in str(heard) for heard in actor.heard)
            if number is not None and actor.asked and not drawn:
                return f"{actor.name} returned {number}, and has never drawn a ticket"
        return None

    return users(code, use, many, others=others, never=never, znodes=[(root, b"")])


def _with_a_rival(code: Code, root: str) -> Specification:
    """A rival takes a number without a ticket."""

    def rival(me: Me) -> None:
        me.zk.create(f"{root}/1", ephemeral=True)

    return _in_turn(code, root, 1, rival=rival)


EXERCISES = (
    Exercise(
        id="worst-case",
        page="05",
        title="How many attempts?",
        question=(
            "`starters` servers start at once. In the worst case they go in step: all list, all "
            "come to the same lowest free number, all try to create it. One succeeds; the others "
            "list again, and so on. How many creates are sent in all, until everybody has a number?"
        ),
        hints=(
            "How many try in the first round? In the second? In the last?",
            "It is the sum of all whole numbers from 1 to `starters`.",
        ),
        answer=attempts,
        wrong=(_one_each, _two_each, _square),
        judge=_judge_attempts,
    ),
    Exercise(
        id="ticket-target",
        page="05",
        title="Your ticket, your number",
        question=(
            "`children` are numbers that are taken (`'1'`) and tickets of those who wait "
            "(`'ticket-<something random>-0000000017'`), in no order. A ticket's last ten digits "
            "say when it was drawn. With r tickets ahead of it, a ticket aims at the (r + 1)-th "
            "free number. Return the number that `ticket` aims at."
        ),
        hints=(
            "Sort the tickets by their last ten digits: `key=lambda name: name[-10:]`.",
            "r is your place in that list: `tickets.index(ticket)`.",
            "List the free numbers in order; up to `len(children) + 1` there are enough of them.",
        ),
        answer=target,
        wrong=(_by_name, _lowest, _by_rank),
        judge=_judge_target,
    ),
    Exercise(
        id="claim-by-ticket",
        page="05",
        title="Claim in turn",
        question=(
            "Claim a number below `root` by ticket, and return it: draw a ticket (an ephemeral, "
            "sequential znode, `ticket-<something random>-`), work out its target, and create that "
            "number (ephemeral) and delete the ticket in **one** transaction. If that fails, look "
            "again with the same ticket. `target` from the exercise before does the sum. "
            f"{BREAKS} Leave no ticket behind, and hold one number."
        ),
        hints=(
            '`zk.create(f"{root}/ticket-{uuid.uuid4().hex}-", ephemeral=True, sequence=True)` '
            "returns the whole path, with the ten digits.",
            "`t = zk.transaction()`, `t.create(path, ephemeral=True)`, `t.delete(ticket_path)`, "
            "`results = t.commit()`.",
            "A *refused* transaction raises nothing: `commit` returns exceptions as results. After "
            "a `ConnectionLoss`, list: a ticket with your random part says that it was drawn, and "
            "one that has gone says that your transaction was done.",
        ),
        answer=claim_in_turn,
        wrong=(
            _without_a_ticket,
            _in_two_steps,
            _keeping_it,
            _losing,
            _drawing_twice,
            _beginning_again,
            _unchecked,
        ),
        judge=in_every_order(_with_a_rival, _in_turn),
    ),
)
