"""Verdicts as a notebook shows them: of a run, of a climb, of a recipe, each with its moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, replace
from html import escape
from itertools import zip_longest

from rich.markup import escape as plain
from rich.table import Table

from labkit.judge.ladder import Climb, Step, climb, told
from labkit.judge.recipes.team import Fact
from labkit.judge.recipes.under_fire import FAULTS, Judgement, judge
from labkit.judge.report import Report, Violation
from labkit.judge.rungs.trial import Claim, Finding
from labkit.lab.html_table import html_table
from labkit.see.drawing import Look
from labkit.see.picture import Picture, assignment, new_id, scene_of
from labkit.see.player import shown
from labkit.see.scene import Asked, Group, Lane, Scene
from labkit.story.bars import Bar, Stretch, Terms, Word
from labkit.story.event import Event
from labkit.story.stretches import Mark


def verdict(
    events: Iterable[Event], report: Report, *, which: int = 0, around: float = 1.5
) -> Picture:
    """Who had which number, with the moment of the report's violation number `which` marked.

    `verdict(lab.timeline, check(lab.history()))`

    Shows `around` seconds before and after that moment, and the sentence that says what is wrong;
    without a violation, the whole run. Raises `IndexError` if there are fewer violations.
    """
    events = list(events)
    if not report.violations:
        return assignment(events, title=f"No rule was broken; {report.answered:,} answers")
    return moment(events, report.violations[which], around=around)


def moment(
    events: Iterable[Event], violation: Violation | Finding, *, around: float = 1.5
) -> Picture:
    """Who had which number when a violation began, which is marked, and `around` that moment.

    Of a violation that lasts longer than `around`, its beginning is shown.
    """
    events = list(events)
    begin = violation.begin
    end = min(max(violation.end, begin + 0.02), begin + max(around, 0.02))
    goes_on = end < violation.end
    since = max(begin - around, min(event.t for event in events))
    scene = scene_of(events, since, end + around)
    look = Look(
        new_id(),
        f"{violation.message} {scene.says()}",
        f"{violation.rule}: {violation.message}",
        focus=(begin, end + around if goes_on else end),
        blamed=violation.subject.split(","),
    )
    return Picture(scene, look)


# --- a climb ----------------------------------------------------------------------------------


def ladder(
    claim: Claim,
    *,
    rung: int | None = None,
    only: Collection[int] = (),
    every: bool = False,
    seed: int = 1,
    backend: str | None = None,
) -> Climb:
    """Put a server on the ladder: `ladder(MyServer)`.

    `claim` is a class, a file (`"my_server.py"`, `"my_server.py:MyServer"`) or the name of an
    algorithm. It climbs from rung 1 to `rung` (the top, if None) until the first one that is not
    green; with `every`, it tries all of them; with `only`, just these. The same
    `seed` does the same to the servers. Interrupt ends it, and leaves nothing running.
    """
    done = climb(claim, rung=rung, only=only, every=every, seed=seed, backend=backend)
    return _Climb(**{field.name: getattr(done, field.name) for field in fields(done)})


def as_table(climb: Climb, yes: str, no: str) -> Table:
    """A climb as a terminal shows it; `yes` and `no` mark a rung that is green, or red."""
    title = f"{climb.where}, seed {climb.seed}"
    table = Table("rung", "what was done", "", "verdict", "measured", "s", "page", title=title)
    for step in climb.steps:
        table.add_row(
            f"{step.rung.number} {step.rung.name}",
            step.rung.done,
            yes if step.ok else no if step.finding is not None else "-",
            plain(step.verdict),
            told(step.figures),
            f"{step.seconds:.1f}",
            step.rung.page,
        )
    return table


class _Climb(Climb):
    """A climb that a notebook shows with a picture."""

    def _repr_html_(self) -> str:
        head = ("green", "rung", "what was done", "verdict", "measured", "page")
        table = html_table(head, (map(escape, _row(step)) for step in self.steps))
        red, picture = self.first_red, ""
        if red is not None and red.finding is not None and red.events:
            picture = moment(red.events, red.finding).html()
        searched = "" if self.searched is None else shown(self.searched).html()
        return (
            f"{searched}<p><b>{escape(self.summary)}</b></p>"
            f"{table}{picture}"
            f"<p>{escape(self.where)}. To repeat it: "
            f"<code>seed={self.seed}</code>.</p>"
        )


def _row(step: Step) -> tuple[str, ...]:
    return (
        "✓" if step.ok else "✗" if step.finding is not None else "–",
        f"{step.rung.number} {step.rung.name}",
        step.rung.done,
        step.verdict,
        told({"took_s": round(step.seconds, 1), **step.figures}),
        step.rung.page,
    )


# --- a recipe under fire ----------------------------------------------------------------------


def under_fire(
    kind: str,
    target: str,
    *,
    seed: int = 1,
    seconds: float = 20.0,
    faults: Sequence[str] = FAULTS,
    backend: str | None = None,
) -> Judgement:
    """Break workers while they use a recipe: `under_fire("lock", "kazoo.recipe.lock:Lock")`.

    `kind` is lock, election, queue or counter; `target` is `MODULE:CLASS` or `FILE.py:CLASS`, with
    the verbs of kazoo's recipe. For `seconds`, one of `faults` strikes after the other: pause,
    kill, partition, lost-reply, restart-zookeeper. The same `seed` draws the same. Raises
    `ConfigError` for a kind, a class or a fault that there is not.
    """
    done = judge(kind, target, seed=seed, seconds=seconds, faults=faults, backend=backend)
    return _Judgement(**{field.name: getattr(done, field.name) for field in fields(done)})


class _Judgement(Judgement):
    """A judgement that a notebook shows with a picture."""

    def _repr_html_(self) -> str:
        text = "".join(f"<p>{escape(line)}</p>" for line in str(self).splitlines())
        if all(violation.rule != "exclusion" for violation in self.violations):
            return text
        return text + late_write(self).html()


_TURNS = Terms(
    "Whose turn it was",
    "Turns of each worker",
    "no turn",
    "",
    dict.fromkeys(Word, "its turn, by its own word"),
    dict.fromkeys(Word, ""),
    dict.fromkeys(Word, "has its turn"),
)


def late_write(judgement: Judgement, *, before: float = 2.5, after: float = 1.0) -> Picture:
    """Whose turn it was when a write came too late, and so many seconds before and after.

    A bar is a worker's turn, a tick below it a write. Raises `StopIteration` if no write came too
    late.
    """
    late = next(v for v in judgement.violations if v.rule == "exclusion")
    began, at = judgement.began, late.at - judgement.began
    since, until = at - before, at + after
    workers = sorted({f.worker for f in judgement.facts}, key=lambda name: (len(name), name))
    lanes = []
    for number, worker in enumerate(workers, 1):
        said = [fact for fact in judgement.facts if fact.worker == worker]
        turns = [
            Bar(worker, number, max(start, since), min(end, until), Word.BOTH)
            for start, end in _turns(said, began, until)
            if end > since and start < until
        ]
        faults = {
            kind: [
                Stretch(max(f.begin - began, since), min(f.end - began, until), "cut")
                for f in judgement.faults
                if f.kind == kind and f.worker in (worker, "") and f.end - began > since
            ]
            for kind in FAULTS
        }
        marks = [Mark(stretch.start, kind) for kind, found in faults.items() for stretch in found]
        writes = [
            Asked(f.at - began, "fail" if (f.at, worker) == (late.at, late.worker) else "ok")
            for f in said
            if f.what == "write" and since <= f.at - began <= until
        ]
        if turns:
            lane = Lane(worker, "", False, turns, asked=writes, marks=marks)
            lanes.append(replace(lane, paused=faults["pause"], broken=faults["partition"]))
    outcomes = {"ok": "a write", "fail": "a write that came too late"}
    groups = [Group("", tuple(lane.name for lane in lanes))]
    scene = Scene(since, until, _TURNS, groups, lanes, outcomes=outcomes)
    words = f"{late.message} {scene.says()} The late write was at {at:.1f} s."
    return Picture(scene, Look(new_id(), words, late.message, focus=(at, at)))


def _turns(said: Sequence[Fact], began: float, until: float) -> Iterable[tuple[float, float]]:
    """When a worker's turns began and ended; the end of one is what it says next, but writes."""
    told = [fact for fact in said if fact.what != "write"]
    for one, after in zip_longest(told, told[1:]):
        if one.what == "in":
            yield one.at - began, after.at - began if after else until
