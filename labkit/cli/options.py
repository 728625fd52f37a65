"""What commands are told, and how it is checked: before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Between(click.ParamType[float]):
    """A number within bounds, of which a message names both; None is no bound."""

    def __init__(self, low: float | None, high: float | None, whole: bool) -> None:
        self.name = "N" if whole else "SECONDS"
        self._low, self._high, self._whole = low, high, whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = int(value) if self._whole else float(value)
        except ValueError:
            self.fail(f"{value!r} is no {'whole ' * self._whole}number.", param, ctx)
        low, high = self._low, self._high
        # Of nan all comparisons are false.
        if low is not None and not (low <= number and (high is None or number <= high)):
            bounds = f"{low:g} or more" if high is None else f"from {low:g} to {high:g}"
            self.fail(f"{value} is out of bounds; it must be {bounds}.", param, ctx)
        return number


def number(low: int | None = None, high: int | None = None) -> Between:
    """A whole number."""
    return Between(low, high, whole=True)


def seconds(low: float, high: float) -> Between:
    """A time that passes."""
    return Between(low, high, whole=False)


class Kinds(click.ParamType[list[str]]):
    """Some of several kinds, separated by commas; `known` says which there are."""

    name = "kinds"

    def __init__(self, known: Callable[[], tuple[str, ...]]) -> None:
        self._known = known  # a function, so that only a command that asks loads what they are

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return ",".join(self._known())

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        known = self._known()
        wanted = {name.strip() for name in value.split(",")} - {""}
        if unknown := sorted(wanted - set(known)):
            there = ", ".join(known)
            self.fail(f"There is no fault {', '.join(unknown)}. There are: {there}.", param, ctx)
        if not wanted:
            self.fail(f"--faults names none. There are: {', '.join(known)}.", param, ctx)
        return [kind for kind in known if kind in wanted]


def _backend(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from labkit.servers.choice import asked_for

    return asked_for(value)


backend: Callable[[F], F] = click.option(
    "--backend",
    metavar="NAME",
    callback=_backend,
    help="docker, swarm or process; by default Docker if an engine answers.",
)
claim: Callable[[F], F] = click.option(
    "--claim",
    default="lowest-free",
    metavar="NAME",
    help="lowest-free; original: the one with the bugs; or a server of yours, FILE.py:CLASS.",
)


def ensemble(default: int = 1) -> Callable[[F], F]:
    """How many ZooKeeper servers there are."""
    return click.option(
        "--ensemble",
        type=number(1, 5),
        default=default,
        help=f"How many ZooKeeper servers, 1 to 5; {default} by default.",
    )


seed: Callable[[F], F] = click.option(
    "--seed", type=number(), default=1, help="Draws the faults; the same seed, the same ones."
)
as_json: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for another program, and no table."
)


def faults(known: Callable[[], tuple[str, ...]]) -> Callable[[F], F]:
    """The option that names some of the kinds of faults."""
    return click.option("--faults", type=Kinds(known), help="Which kinds; all by default.")


def directory(name: str, help_: str) -> Callable[[F], F]:
    """An option that names a directory, which need not be there yet."""
    kind = click.Path(path_type=Path)
    return click.option(name, type=kind, metavar="DIRECTORY", help=help_)
