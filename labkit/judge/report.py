"""What the checker says of a run."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from labkit.lab.html_table import html_table
from labkit.story.event import Event

Rule = Literal["answers", "unheld", "lowest-free", "liveness", "tickets", "ids"]

RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Violation:
    """One breach of a rule. Times are in seconds on the timeline; `subject` is to blame."""

    rule: Rule
    begin: float
    end: float
    subject: str
    message: str
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        return f"[{self.rule}] {self.message}"

    def to_json(self) -> dict[str, Any]:
        """What `labkit chaos --json` prints of it; of its events only the first few."""
        return {
            "rule": self.rule,
            "begin": round(self.begin, 3),
            "end": round(self.end, 3),
            "subject": self.subject,
            "message": self.message,
            "events": [json.loads(event.to_json()) for event in self.events[:10]],
        }


@dataclass(frozen=True, repr=False)
class Report:
    """The verdict on a run.

    `vacuous` holds a sentence for each reason why the run proves less than it seems to. `judged`
    counts what each rule was applied to; `during_faults` the requests that overlapped a fault.
    `untested` holds, for each promise that the run could not have broken, what did not happen.
    """

    violations: tuple[Violation, ...]
    vacuous: tuple[str, ...]
    answered: int
    failed: int
    unknown: int
    during_faults: int
    faults: int
    judged: Mapping[Rule, int] = field(default_factory=dict)
    untested: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No violation, and the run could have shown one."""
        return not self.violations and not self.vacuous

    @property
    def verdict(self) -> str:
        if self.violations:
            return f"{counted(len(self.violations), 'violation')}"
        return "vacuous" if self.vacuous else "ok"

    def __repr__(self) -> str:
        requests = (
            f"{self.answered:,} answered, {self.failed:,} failed, {self.unknown:,} unknown; "
            f"{self.during_faults:,} during {counted(self.faults, 'fault')}"
        )
        lines = [f"{self.verdict}: {requests}"]
        lines += [f"  {violation}" for violation in self.violations]
        lines += [f"  [vacuous] {reason}" for reason in self.vacuous]
        lines += [f"  [not tested] {promise}: {why}" for promise, why in self._missed().items()]
        return "\n".join(lines)

    def _missed(self) -> dict[str, str]:
        """What was not tested, of a run that says more than that it is vacuous."""
        return {} if self.vacuous else dict(self.untested)

    def _repr_html_(self) -> str:
        missed = {name: f"not tested: {html.escape(why)}" for name, why in self._missed().items()}
        colour = "#1b7837" if self.ok else "#8c510a" if not self.violations else "#b2182b"
        look = f"background:{colour};color:#FFFFFF;padding:0 .4em"  # legible in any theme
        rows: list[tuple[str, str, list[str]]] = [
            (rule, f"{self.judged.get(rule, 0):,}", [v.message for v in self.violations_of(rule)])
            for rule in RULES
            if rule != "ids" or self.judged.get(rule)
        ]
        rows += [(promise, "", []) for promise in missed if promise not in RULES]
        cells = (
            (rule, judged, "<br>".join(map(html.escape, found)) or missed.get(rule) or "holds")
            for rule, judged, found in rows
        )
        reasons = "".join(f"<p>Vacuous: {html.escape(reason)}</p>" for reason in self.vacuous)
        return (
            f"<p><b style='{look}'>{self.verdict}</b> &nbsp; {self.answered:,} answered, "
            f"{self.failed:,} failed, {self.unknown:,} unknown; {self.during_faults:,} during "
            f"{counted(self.faults, 'fault')}</p>{reasons}"
            f"{html_table(('rule', 'judged', 'verdict'), cells, numbers={1})}"
        )

    def violations_of(self, rule: Rule) -> tuple[Violation, ...]:
        """The breaches of one rule."""
        return tuple(violation for violation in self.violations if violation.rule == rule)


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
