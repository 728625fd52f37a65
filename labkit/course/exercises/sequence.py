"""Page 04: the create is the claim, the listing is only a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.exceptions import ConnectionLoss, NodeExistsError

from labkit.course.exercises.exercise import BREAKS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, in_every_order, users
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- the lowest free number -------------------------------------------------------------------


def lowest_free(children: list[str]) -> int:
    taken = {int(name) for name in children if name.isdecimal()}
    number = 1
    while number in taken:
        number += 1
    return number


def _counted(children: list[str]) -> int:
    """One more than there are: right only while nobody has left."""
    return len(children) + 1


def _after_the_last(children: list[str]) -> int:
    """The list is in no order, and names are words: "10" comes before "9"."""
    numbers = sorted(name for name in children if name.isdecimal())
    return int(numbers[-1]) + 1 if numbers else 1


def _first_gap_of_words(children: list[str]) -> int:
    """Finds the first gap, but in the order of words."""
    number = 1
    for name in sorted(name for name in children if name.isdecimal()):
        if int(name) != number:
            break
        number += 1
    return number


def _trusting(children: list[str]) -> int:
    """Takes every child for a number."""
    taken = {int(name) for name in children}
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def _judge_lowest_free(harness: Harness) -> None:
    cases: tuple[tuple[list[str], int, str], ...] = (
        ([], 1, ""),
        (["1", "2", "3"], 4, ""),
        (["3", "1"], 2, "A number that was given back is free again."),
        (["2", "3"], 1, "The first one may be the one that is free."),
        ([str(n) for n in range(1, 13)], 13, "As words, '10' comes before '9'."),
        (["1", "ticket-0000000007", "2", "lock"], 3, "Not every child is a number."),
    )
    for held, wanted, why in cases:
        for name in held:
            harness.zk.create(f"{harness.root}/{name}", b"")
        children = harness.zk.get_children(harness.root)
        harness.equal(harness.call(children, kind=int), wanted, why)
        for name in held:
            harness.zk.delete(f"{harness.root}/{name}")


# --- the claim --------------------------------------------------------------------------------


def claim(zk: KazooClient, root: str) -> int:
    while True:
        number = lowest_free(zk.retry(zk.get_children, root))
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except NodeExistsError:
            continue  # somebody was faster: look again
        except ConnectionLoss:  # done or not? look whose it is
            stat = zk.retry(zk.exists, f"{root}/{number}")
            if stat is not None and stat.ephemeralOwner == zk.client_id[0]:
                return number


def _losing(zk: KazooClient, root: str) -> int:
    """Does not expect that a reply is lost."""
    while True:
        number = lowest_free(zk.get_children(root))
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except NodeExistsError:
            continue


def _greedy(zk: KazooClient, root: str) -> int:
    """After a lost reply it claims once more, and has two numbers."""
    while True:
        try:
            number = lowest_free(zk.get_children(root))
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except (NodeExistsError, ConnectionLoss):
            continue


def _presuming(zk: KazooClient, root: str) -> int:
    """Takes it that a lost create was done; the request may never have arrived."""
    while True:
        number = lowest_free(zk.retry(zk.get_children, root))
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except NodeExistsError:
            continue
        except ConnectionLoss:
            return number


def _hopeful(zk: KazooClient, root: str) -> int:
    """Trusts its listing: a rival who is faster makes it raise."""
    number = lowest_free(zk.get_children(root))
    zk.create(f"{root}/{number}", ephemeral=True)
    return number


def _stubborn(zk: KazooClient, root: str) -> int:
    """Counts on from its guess instead of looking again, and misses a number that is free."""
    number = lowest_free(zk.get_children(root))
    while True:
        try:
            zk.create(f"{root}/{number}", ephemeral=True)
            return number
        except NodeExistsError:
            number += 1


def _permanent(zk: KazooClient, root: str) -> int:
    """Its znode stays when it is gone, so the number is never free again."""
    while True:
        number = lowest_free(zk.get_children(root))
        try:
            zk.create(f"{root}/{number}")
            return number
        except NodeExistsError:
            continue


def _unwritten(zk: KazooClient, root: str) -> int:
    """Looks, and claims nothing."""
    return lowest_free(zk.get_children(root))


def _claims(code: Code, root: str) -> Specification:
    def use(me: Me) -> None:
        me.knows(holds=code(me, root, kind=int))

    def rival(me: Me) -> None:
        me.zk.create(f"{root}/1", ephemeral=True)
        me.zk.create(f"{root}/2", ephemeral=True)
        me.zk.delete(f"{root}/1")

    def never(world: World) -> str | None:
        for actor in world.actors:
            number = actor.believes("holds")
            held = [n for n in world.children(root) if world.owner(f"{root}/{n}") == actor.session]
            if number is None or held == [str(number)]:
                listed = next((h for h in actor.heard if isinstance(h, list)), None)
                if number and listed is not None and number > (free := lowest_free(listed)):
                    return f"{actor.name} returned {number}; {free} was free: look again"
                continue
            if world.owner(f"{root}/{number}") == 0:
                return f"{actor.name} returned {number}, and that znode is not ephemeral"
            what = " and ".join(held) or "nothing"
            return f"{actor.name} returned {number}, and its session holds {what}"
        return None

    return users(code, use, 1, others={"a rival": rival}, never=never, znodes=[(root, b"")])


EXERCISES = (
    Exercise(
        id="lowest-free",
        page="04",
        title="The lowest free number",
        question=(
            "`children` is what `zk.get_children(...)` returned: names of znodes, in no order. "
            "Return the lowest number, from 1, that is not among them. Children that are not "
            "numbers don't count."
        ),
        hints=(
            "Names are strings, and strings sort as words do: is `'10'` before or after `'9'`?",
            "Make a set of the numbers that are taken: `name.isdecimal()` tells a number.",
            "Count up from 1 until you find one that is not in the set.",
        ),
        answer=lowest_free,
        wrong=(_counted, _after_the_last, _first_gap_of_words, _trusting),
        judge=_judge_lowest_free,
    ),
    Exercise(
        id="claim",
        page="04",
        title="Claim it",
        question=(
            "Claim the lowest free number below `root` for the session of `zk`: an ephemeral "
            "znode named by the number. Return the number (an int). Rivals do the same, and one "
            f"of them may be faster than you. {BREAKS} Hold one number in the end, not two. (The "
            "id of the session of `zk` is `zk.client_id[0]`.)"
        ),
        hints=(
            "List the children, choose a number, create the znode with `ephemeral=True`.",
            "Between your listing and your create, a rival can take your number. Then `create` "
            "raises `NodeExistsError` (from `kazoo.exceptions`).",
            "After that, everything that you know is old: begin again with the listing. After a "
            "`ConnectionLoss` look first whether the number has become yours: `zk.exists(path)` "
            "tells its `ephemeralOwner`, and `zk.retry(zk.exists, path)` asks again if it is lost.",
        ),
        answer=claim,
        wrong=(
            _hopeful,
            _stubborn,
            _permanent,
            _unwritten,
            _losing,
            _greedy,
            _presuming,
        ),
        judge=in_every_order(_claims),
    ),
)
