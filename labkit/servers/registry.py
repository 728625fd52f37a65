"""The labs of this user on this machine, each registered in a directory of its own.

`labkit ps` and `labkit down` read it, and so does the reaper: the process that removes a lab when
its owner ends.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.errors import ConfigError
from labkit.servers import helper, owner
from labkit.servers.system import explained, put

_LAB_ID = re.compile("[0-9a-f]+")


@dataclass(frozen=True)
class Registration:
    """What is known of a lab by others than its owner."""

    lab_id: str
    backend: str  # "docker", "swarm" or "process"
    owner: int  # process id
    place: str  # where that id means a process, see `owner.place`
    nodes: dict[str, str]  # name → URL
    engines: tuple[str, ...] = ()  # of several machines, their URLs

    @property
    def orphaned(self) -> bool:
        """The owner is known to be dead."""
        return owner.has_ended(owner_file(self.lab_id))

    @property
    def is_here(self) -> bool:
        """Whether the owner, if it lives, is a process that this one can see."""
        return self.place == owner.place()


def is_lab_id(text: object) -> bool:
    """Whether a lab may be called that: hexadecimal digits, so that it is a name and no path."""
    return isinstance(text, str) and _LAB_ID.fullmatch(text) is not None


def directory(lab_id: str) -> Path:
    """The lab's directory: its registration, configuration, data and logs.

    Raises `ConfigError` for what is no lab's id: directories are removed by their labs' ids.
    """
    if not is_lab_id(lab_id):
        raise ConfigError(f"{lab_id!r} is no lab's id: one has hexadecimal digits only.")
    return home() / lab_id


def owner_file(lab_id: str) -> Path:
    """What the lab's owner holds while it lives; it outlives the lab's directory."""
    return directory(lab_id).with_suffix(".owner")


def home() -> Path:
    """Where everything is that this user's labs keep in files; nobody else may look or write there.

    Anybody could have made a directory of that name before us, and in it a lab that is not ours.
    Raises `ConfigError` if that has happened.
    """
    path = Path(tempfile.gettempdir()) / f"labkit-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise ConfigError(
            f"Labs keep their files in {path}, and it cannot be made ({error.strerror}). Set "
            "TMPDIR to a directory that you may write to."
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"Labs keep their files in {path}, and that is not a directory of yours. Find out "
            f"whose it is (`ls -ld {path}`) and have it removed, or set TMPDIR to a directory "
            "that nobody else may write to."
        )
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


@explained()
def register(lab_id: str, backend: str, nodes: dict[str, str] | None = None) -> None:
    """Write down (or update) that this process owns the lab."""
    path = directory(lab_id) / "lab.json"
    owner.hold(owner_file(lab_id))
    at = _engines.get(lab_id, ())
    entry = Registration(lab_id, backend, os.getpid(), owner.place(), nodes or {}, at)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    put(path, json.dumps(asdict(entry)).encode())


def registered() -> list[Registration]:
    """Every lab of this user on this machine."""
    found = []
    for path in sorted(home().glob("*/lab.json")):
        # A lab that is being removed right now is none.
        with suppress(OSError, ValueError, TypeError):
            entry = Registration(**json.loads(path.read_text()))
            if is_lab_id(entry.lab_id) and entry.lab_id == path.parent.name:
                found.append(entry)
    return found


@explained()
def arm(lab_id: str, backend: str, engines: Sequence[str] = ()) -> None:
    """Register the lab and start the process that removes it when this one ends, however it ends.

    The watchdog reads from a pipe that only this process writes to, so it learns of the end at
    once; a fork of this process may keep the pipe open, so it also looks whose child it is.
    """
    _engines[lab_id] = tuple(engines)
    register(lab_id, backend)
    told = [str(os.getpid()), lab_id, backend, *engines]
    command = helper.command("labkit.servers.reaper", *told)
    with open(directory(lab_id) / "watchdog.log", "ab") as log:
        _armed[lab_id] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )


_armed: dict[str, subprocess.Popen[bytes]] = {}
_engines: dict[str, tuple[str, ...]] = {}  # of this process's labs on several machines
CLOSED = b"."  # sent by an owner that has cleaned up by itself


def disarm(lab_id: str) -> None:
    """The lab is closed and has left nothing: its watchdog may go."""
    _engines.pop(lab_id, None)
    if (watchdog := _armed.pop(lab_id, None)) is not None:
        with suppress(BrokenPipeError):
            try:
                watchdog.communicate(CLOSED, timeout=2)
            except subprocess.TimeoutExpired:  # still starting, on a machine under load
                watchdog.kill()
                watchdog.communicate()
    owner.release(owner_file(lab_id))
