"""One rung's trial: its lab, the questions it asks, and how it says that something is wrong."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kazoo.exceptions import KazooException, NoNodeError

from labkit.errors import LabError, NoAnswer, NodeError
from labkit.judge.report import Report
from labkit.judge.rules import check
from labkit.lab.lab import Lab
from labkit.lab.node import Answer, Node
from labkit.servers.base import each
from labkit.story.claims import Znode
from labkit.story.event import CLAIMS, Event, number_of
from labkit.story.run import Story

TICK = 0.2  # seconds: ZooKeeper's tickTime in every lab
_AGAIN = 0.03  # seconds between a refusal and the next question
_TOLERANCE = 0.05  # seconds by which ZooKeeper's log and our clock may differ

#: What is tried: a class, a file that has one (`FILE.py:Class`), or the name of an algorithm.
Claim = str | Path | type


@dataclass(frozen=True)
class Finding:
    """What is wrong, in one plain sentence. Times are in seconds on the lab's timeline."""

    rule: str
    begin: float
    end: float
    subject: str  # the servers to blame, separated by commas
    message: str


class Red(Exception):
    """A trial has found that a promise is broken."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class Cancelled(Exception):
    """The climb was interrupted."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder."""

    number: int
    name: str
    done: str  # what is done to the servers
    page: str  # the page of the course that explains it
    trial: Callable[[Trial], None]
    seconds: float = 0.0  # how long it takes, about
    labs: int = 1  # that it has at a time
    measures: bool = False  # time or cost: nothing goes on beside it


class Trial:
    """The tools of a rung. `figures` are its measurements; `untested` names what it did not try."""

    def __init__(self, claim: Claim, seed: int, rung: int, backend: str | None) -> None:
        self.claim = claim
        self.backend = backend
        self.rng = random.Random(f"{seed}:{rung}")
        self.figures: dict[str, Any] = {}
        self.untested: list[str] = []
        self.events: tuple[Event, ...] = ()  # of the lab in which something was found
        self.doing = "starting"
        self.where = ("", "")  # the backend's name and ZooKeeper's version
        self._labs: list[Lab] = []
        self.stop = threading.Event()  # set when the climb is interrupted

    # --- the lab ------------------------------------------------------------------------------

    @contextmanager
    def lab(
        self, nodes: int, *, session_timeout: float = 2.0, claim: Claim | None = None, **more: Any
    ) -> Iterator[Lab]:
        """A running lab of the trial's own; its findings can be drawn afterwards."""
        settings = {"request_deadline": min(1.0, session_timeout / 2), **more}
        lab = Lab(
            nodes,
            backend=self.backend,
            claim=self.claim if claim is None else claim,
            session_timeout=session_timeout,
            **settings,
        )
        self._labs.append(lab)
        with lab.start(self.progress):
            self.where = (lab.backend, lab.zookeeper.version)
            try:
                yield lab
            except Red:
                with suppress(LabError):
                    lab.history()
                self.events = tuple(lab.timeline)
                raise

    def progress(self, what: str, fraction: float | None) -> None:
        """For whatever reports its progress; raises `Cancelled` once the climb is interrupted."""
        self._stop_if_cancelled()
        self.doing = what

    def cancel(self) -> None:
        """End the trial from another thread: its labs are closed, its waits end."""
        self.stop.set()
        each(Lab.close, list(self._labs))

    @property
    def cancelled(self) -> bool:
        return self.stop.is_set()

    def _stop_if_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled

    def side_by_side(self, *parts: Callable[[], None]) -> None:
        """Do parts that have labs of their own at the same time; one that fails ends the others.

        Raises what has ended the first one that failed: what comes after that comes of the end.
        """
        with ThreadPoolExecutor(len(parts), thread_name_prefix="labkit-part") as pool:
            doing = [pool.submit(part) for part in parts]
            over = wait(doing, return_when=FIRST_EXCEPTION).done
            failed = [error for part in over if (error := part.exception())]
            if failed:
                self.cancel()
        for error in sorted(failed, key=lambda error: not isinstance(error, Red)):
            raise error

    # --- time ---------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.stop.wait(seconds)
        self._stop_if_cancelled()

    def until(self, condition: Callable[[], object], timeout: float) -> bool:
        """Wait until the condition is true; False when it is not after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            with suppress(LabError, KazooException):
                if condition():
                    return True
            if time.monotonic() > end:
                return False
            self.pause(0.01)

    # --- asking -------------------------------------------------------------------------------

    def ask(self, lab: Lab, nodes: Iterable[Node], within: float) -> dict[str, Answer]:
        """The answers of all these, asked at the same time, again and again until they answer.

        One that has not answered after `within` seconds is found guilty of that.
        """
        nodes = list(nodes)
        began = lab.timeline.now()
        with ThreadPoolExecutor(max(len(nodes), 1), thread_name_prefix="labkit-ask") as pool:
            asked = [pool.submit(self._ask_until, node, within) for node in nodes]
            answers = [future.result() for future in asked]
        self._stop_if_cancelled()
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, str):
                self.fail(
                    f"{node.name} gave no number within {within:g} s: {answer}",
                    lab,
                    began,
                    node.name,
                )
        return {n.name: a for n, a in zip(nodes, answers, strict=True) if isinstance(a, Answer)}

    def _ask_until(self, node: Node, within: float) -> Answer | str:
        end = time.monotonic() + within
        while True:
            try:
                return node.answer()
            except NodeError as error:
                reason = f"it said {_reason(error)}."
            if time.monotonic() > end or self.cancelled:
                return reason
            time.sleep(_AGAIN)

    def ask_once(self, nodes: Sequence[Node], times: int) -> list[Future[Answer]]:
        """Send `times` requests to each node, all at once, and don't wait for what they say."""
        count = len(nodes) * times
        pool = ThreadPoolExecutor(count, thread_name_prefix="labkit-ask")
        start = threading.Barrier(count)

        def ask(node: Node) -> Answer:
            start.wait()
            return node.answer()

        futures = [pool.submit(ask, node) for _ in range(times) for node in nodes]
        pool.shutdown(wait=False)
        return futures

    # --- judging ------------------------------------------------------------------------------

    def fail(
        self, message: str, lab: Lab, begin: float, subject: str, *, end: float | None = None
    ) -> NoReturn:
        """Say that a promise is broken, from `begin` until `end` or now."""
        finish = lab.timeline.now() if end is None else end
        raise Red(Finding("measured", begin, finish, subject, message))

    def fall(self, message: str) -> NoReturn:
        """Say that a promise is broken about which there is no moment to show."""
        raise Red(Finding("measured", 0.0, 0.0, "", message))

    def require(
        self, fact: object, message: str, lab: Lab, begin: float, subject: str = ""
    ) -> None:
        """Fail unless the fact is true."""
        if not fact:
            self.fail(message, lab, begin, subject)

    def judge(self, lab: Lab) -> None:
        """Hold every answer so far against ZooKeeper's transaction log.

        Whether everybody answers again in time is for `ask` to say, which knows how long it waits.
        """
        self.doing = "reading ZooKeeper's log"
        report = check(list(lab.history()), session_timeout=lab.session_timeout)
        self.blame(report, but="liveness")

    def blame(self, report: Report, but: str = "") -> None:
        """Fail by the first violation of a report, if there is one of another rule than `but`."""
        for first in report.violations:
            if first.rule != but:
                raise Red(Finding(first.rule, first.begin, first.end, first.subject, first.message))

    def learn(self, lab: Lab) -> None:
        """Record the session of every node, before one of them ends.

        A claim need not say whose it is; then only its session tells.
        """
        lab.history()

    def claims(self, lab: Lab) -> list[Znode]:
        """Every number that was ever held, from creation to end, by ZooKeeper's log."""
        return Story(lab.history(), tolerance=_TOLERANCE).claims

    def require_same(
        self,
        lab: Lab,
        before: Mapping[str, Answer],
        after: Mapping[str, Answer],
        began: float,
        why: str,
    ) -> None:
        """Fail if somebody has another number than before, though its session has not ended.

        `why` begins the sentence: what happened, which ends no session.
        """
        changed = [name for name in after if after[name].number != before[name].number]
        if not changed:
            return
        closed = {t.session for t in lab.zookeeper.transactions() if t.op == "closeSession"}
        lives = {(life.owner, life.order): life for life in self.claims(lab)}
        for name in changed:
            old = lives.get((name, before[name].number))
            if old is not None and int(old.session, 16) in closed:
                continue  # it did not get back in time; the others may prove something
            self.fail(
                f"{why}, and {name} came back with number {after[name].number} instead of "
                f"{before[name].number}.",
                lab,
                began,
                name,
            )
        if len(changed) > len(after) / 2:
            self.untested.append(
                f"{listed(changed)} were not back in time, and lost their sessions: is this "
                "machine overloaded?"
            )

    def held(self, lab: Lab) -> set[int]:
        """The numbers that ZooKeeper holds now."""
        try:
            return {number for name in lab.zk.get_children(CLAIMS) if (number := number_of(name))}
        except NoNodeError:
            return set()

    def wait_free(self, lab: Lab, numbers: Iterable[int], timeout: float) -> bool:
        """Wait until ZooKeeper holds none of the numbers."""
        wanted = set(numbers)
        return self.until(lambda: not wanted & self.held(lab), timeout)

    def require_no_leak(self, lab: Lab, answers: Mapping[str, Answer], within: float) -> None:
        """Fail if, after `within` seconds, a number is held that no server answers."""
        began = lab.timeline.now()
        wanted = {answer.number for answer in answers.values()}
        if self.until(lambda: self.held(lab) == wanted, within):
            return
        if lost := sorted(self.held(lab) - wanted):
            life = [x for x in self.claims(lab) if x.order == lost[0]][-1]
            keeper = life.owner or f"session {life.session}"
            if self._answers_now(lab, life.owner) == lost[0]:
                self.untested.append(f"{keeper} lost its session: is this machine overloaded?")
                return
            mine = answers.get(keeper)
            says = f", which answers {mine.number}," if mine else ""
            self.fail(
                f"{keeper}{says} holds number {lost[0]} too, and nobody answers it: it is lost "
                "to all others.",
                lab,
                life.begin,
                keeper,
            )
        missing = sorted(wanted - self.held(lab))
        names = [name for name, answer in answers.items() if answer.number in missing]
        self.fail(
            f"{listed(names)} answered {listed(missing)}, and ZooKeeper does not hold that.",
            lab,
            began,
            ",".join(names),
        )

    @staticmethod
    def _answers_now(lab: Lab, name: str | None) -> int | None:
        with suppress(LabError):
            return lab.node(name or "").answer().number
        return None

    def require_dense(self, lab: Lab, answers: Mapping[str, Answer], begin: float) -> None:
        """Fail unless the numbers are 1, 2, 3, … without a double and without a gap."""
        by_number: dict[int, list[str]] = {}
        for name, answer in answers.items():
            by_number.setdefault(answer.number, []).append(name)
        for number, names in sorted(by_number.items()):
            self.require(
                len(names) == 1,
                f"{listed(names)} all have number {number}."
                if len(names) > 2
                else f"{listed(names)} both have number {number}.",
                lab,
                begin,
                ",".join(names),
            )
        missing = sorted(set(range(1, len(answers) + 1)) - by_number.keys())
        name = by_number[max(by_number)][0]
        self.require(
            not missing,
            f"{name} has number {max(by_number)} though there are {len(answers)} servers, and "
            f"nobody has {listed(missing)}.",
            lab,
            begin,
            name,
        )


def listed(things: Iterable[object]) -> str:
    """Things as a sentence lists them: 1, 2 and 3."""
    words = [str(thing) for thing in things]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _reason(error: NodeError) -> str:
    if isinstance(error, NoAnswer):
        return str(error.problem.get("detail") or error.problem.get("reason") or error).rstrip(".")
    return "nothing"
