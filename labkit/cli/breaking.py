"""The commands that break servers and judge what came of it."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from labkit.cli import options, terminal

if TYPE_CHECKING:
    from labkit.judge.schedule import FaultKind


def _faults_of_chaos() -> tuple[str, ...]:
    from labkit.judge.schedule import ALL_KINDS

    return tuple(ALL_KINDS)


def _faults_of_recipes() -> tuple[str, ...]:
    from labkit.judge.recipes.under_fire import FAULTS

    return FAULTS


@click.command()
@options.seed
@click.option(
    "--seconds",
    type=options.seconds(1, 86_400),
    default=20.0,
    help="How long the servers are broken; starting and judging come on top.",
)
@click.option("--nodes", type=options.number(1, 1023), default=8, help="How many nodes, 1 to 1023.")
@options.ensemble(3)
@options.claim
@options.faults(_faults_of_chaos)
@options.backend
@options.as_json
def chaos(faults: list[FaultKind] | None, as_json: bool, **settings: Any) -> int:
    """Break a lab at random, and judge what it answered.

    Says meanwhile which fault there is, and how many answers come in a second.

    Ends with 1 on a violation, and when nothing was tested.
    """
    from labkit.judge.chaos import run_chaos
    from labkit.judge.schedule import ALL_KINDS

    with terminal.progress(as_json) as report:
        result = run_chaos(**settings, faults=faults or ALL_KINDS, progress=report)
    terminal.say(json.dumps(result.to_json()) if as_json else result)
    return 0 if result.ok else 1


@click.command()
@click.argument("server", metavar="FILE.py[:CLASS]|NAME")
@click.option("--rung", type=options.number(1), help="How far to climb; all rungs by default.")
@click.option("--all", "every", is_flag=True, help="Try all rungs, also above one that is red.")
@options.seed
@options.backend
@options.as_json
def ladder(server: str, as_json: bool, **settings: Any) -> int:
    """Put your own server on the ladder.

    The server is a file, whose only class with a method `sequence` is meant if none is named; or
    lowest-free, or original. A file's schedules are searched first, as by `labkit explore`, for at
    most five seconds. Ends with 1 below the top, or below the rung asked for.
    """
    from labkit.judge.ladder import climb
    from labkit.see.verdict import as_table

    with terminal.progress(as_json) as report:
        result = climb(server, **settings, progress=report)
    if as_json:
        terminal.say(json.dumps(result.to_json()))
    else:
        if result.searched is not None:
            terminal.say(result.searched)
        terminal.show(as_table(result, *terminal.marks()))
        terminal.say(result.summary)
    return 0 if result.ok else 1


@click.command()
@click.argument("server", metavar="FILE.py[:CLASS]")
@click.option("--nodes", type=options.number(1, 8), default=2, help="How many nodes, 1 to 8.")
@click.option(
    "--requests",
    type=options.number(1, 9),
    default=2,
    help="How often each node is asked for its number, 1 to 9.",
)
@click.option("--faults", type=options.number(0, 9), default=1, help="How many faults, 0 to 9.")
@click.option(
    "--seconds",
    type=options.seconds(0.1, 86_400),
    default=60.0,
    help="When the search ends that is not complete.",
)
@click.option("--real", is_flag=True, help="Repeat what was found on a lab's ZooKeeper.")
@options.backend
@options.as_json
def explore(server: str, real: bool, backend: str | None, as_json: bool, **scope: Any) -> int:
    """Try your own server in every schedule there is.

    That is: all orders of calls, notices and faults, on a model of ZooKeeper. Prints the shortest
    one that breaks the server, or that there is none. The server is a file, as for the ladder. Ends
    with 1 if something is found, and with 0 if nothing is; whether all was seen is told.
    """
    from labkit.explore.verb import explore as search
    from labkit.lab.lab import Lab

    with terminal.progress(as_json) as report:
        found = search(server, **scope, progress=report, show=terminal.aside)
        again = None
        if real and found.violation:
            report("repeating it on a real ZooKeeper", None)
            ensemble = 3 if found.lags else 1
            lab = Lab(nodes=0, ensemble=ensemble, backend=backend, record=False)
            with lab.start(report), redirect_stdout(sys.stderr):  # of what the code prints
                again = found.on(lab)
    if as_json:
        told = None if again is None else {"confirmed": again.confirmed, "sentence": str(again)}
        terminal.say(json.dumps({"ok": not found.violation, **found.as_json(), "real": told}))
    else:
        terminal.say(found)
        if again is not None:
            terminal.say(again)
    return 1 if found.violation else 0


@click.command()
@click.argument("kind", type=click.Choice(["lock", "election", "queue", "counter"]))
@click.argument("target", metavar="MODULE:CLASS|FILE.py:CLASS")
@options.seed
@click.option(
    "--seconds",
    type=options.seconds(1, 3600),
    default=20.0,
    help="How long the workers are broken.",
)
@click.option(
    "--workers", type=options.number(2, 32), default=5, help="How many processes use it, 2 to 32."
)
@options.faults(_faults_of_recipes)
@options.ensemble()
@options.backend
@options.as_json
def judge(kind: str, target: str, faults: list[str] | None, as_json: bool, **settings: Any) -> int:
    """Break processes that use a recipe, and judge it.

    What is judged is a class with the verbs of kazoo's recipe, such as
    kazoo.recipe.lock:Lock. Ends with 1 on a violation.
    """
    from labkit.judge.recipes.under_fire import FAULTS
    from labkit.judge.recipes.under_fire import judge as try_recipe

    with terminal.progress(as_json) as report:
        wanted = faults or FAULTS
        result = try_recipe(kind, target, faults=wanted, progress=report, **settings)
    terminal.say(json.dumps(result.to_json()) if as_json else result)
    return 0 if result.ok else 1
