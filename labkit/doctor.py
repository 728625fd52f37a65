"""What a machine has for running the lab, what it lacks, and the command that brings it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata

from rich.markup import escape
from rich.table import Table

from labkit.errors import BackendError, BackendUnavailable, ConfigError
from labkit.servers import registry
from labkit.servers.docker import engine, engines, images
from labkit.servers.docker.nested import Machines
from labkit.servers.zookeeper import install

#: Programs that the tests can look at the pages with.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked for."""

    what: str
    ok: bool
    found: str
    fix: str = ""
    required: bool = False


def examine() -> list[Diagnosis]:
    """Look at everything that a lab, its pages and its tests can use."""
    docker = _docker()
    images = [_images()] if docker.ok else []
    here = [_python(), _zookeeper(), docker, *images]
    return [*here, *_machines(), _jupyter(), _ports(), _labs(), _chromium()]


def can_run(findings: Iterable[Diagnosis]) -> bool:
    """Whether a lab can run here: on processes, or in Docker."""
    ok = {finding.what: finding.ok for finding in findings}
    return ok["Python"] and (ok["ZooKeeper"] or ok["Docker"])


def as_table(findings: Iterable[Diagnosis], yes: str, no: str) -> Table:
    """The findings as a terminal shows them."""
    table = Table("what", "", "found", "what to do")
    for finding in findings:
        mark = f"[green]{yes}[/]" if finding.ok else f"[red]{no}[/]" if finding.required else "-"
        table.add_row(finding.what, mark, escape(finding.found), escape(finding.fix))
    return table


def _python() -> Diagnosis:
    version = ".".join(map(str, sys.version_info[:3]))
    fix = "" if sys.version_info >= (3, 11) else "Install Python 3.11 or later."
    return Diagnosis("Python", not fix, version, fix, required=True)


def _zookeeper() -> Diagnosis:
    try:
        found = install.find_installation()
    except BackendUnavailable as error:
        return Diagnosis("ZooKeeper", False, "not usable", str(error), required=True)
    return Diagnosis("ZooKeeper", True, f"{found.version} in {found.home}, Java {found.java}")


def _docker() -> Diagnosis:
    reason = engine.available()
    if reason is None:
        return Diagnosis("Docker", True, "an engine answers")
    return Diagnosis(
        "Docker", False, "no engine", f"{reason} (Without one, labs run as processes.)"
    )


def _images() -> Diagnosis:
    missing = images.missing_images()
    if not missing:
        return Diagnosis("Docker images", True, "here")
    pull = " and ".join(f"`docker pull {image}`" for image in missing)
    fix = (
        f"The first lab gets them. If the engine can't, labs run as processes; {pull} says why "
        f"it can't. Images that are here can be named in {' and '.join(missing.values())}."
    )
    return Diagnosis("Docker images", False, f"to be pulled: {', '.join(missing)}", fix)


def _machines() -> Iterator[Diagnosis]:
    """Those that are named, or that `labkit machines up` has made; no word of them without any."""
    if not os.environ.get(engines.VARIABLE) and not Machines().all():
        return
    try:
        found, _ = engines.join(engines.named())
    except (BackendError, ConfigError) as error:
        yield Diagnosis("machines", False, "not usable", str(error))
        return
    for machine in found:
        machine.client.close()
    yield Diagnosis("machines", True, f"a Swarm: {', '.join(machine.name for machine in found)}")


def _jupyter() -> Diagnosis:
    try:
        return Diagnosis("JupyterLab", True, metadata.version("jupyterlab"))
    except metadata.PackageNotFoundError:
        fix = "Run `make lab`, or install the lab: pip install zookeeper-sequence-lab."
        return Diagnosis("JupyterLab", False, "missing", fix)


def _ports() -> Diagnosis:
    taken = [str(port) for port in range(5001, 5005) if _listens(port)]
    if not taken:
        return Diagnosis("ports 5001–5004", True, "free")
    fix = "Nothing: nodes get other ports. `lsof -i :PORT` names who has them."
    return Diagnosis("ports 5001–5004", False, f"in use: {', '.join(taken)}", fix)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _labs() -> Diagnosis:
    orphans = [lab.lab_id for lab in registry.registered() if lab.orphaned]
    if not orphans:
        return Diagnosis("leftovers", True, "none")
    return Diagnosis("leftovers", False, f"labs {', '.join(orphans)}", "Run `labkit down`.")


def _chromium() -> Diagnosis:
    for name in BROWSERS:
        if path := shutil.which(name):
            return Diagnosis("Chromium", True, path)
    fix = "Only the tests need it: `sudo apt-get install chromium`, or `make test`."
    return Diagnosis("Chromium", False, "missing", fix)
