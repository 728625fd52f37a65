"""What a lab is given as `claim`, as the environment variables that make its nodes run it."""

from __future__ import annotations

import threading
from pathlib import Path

from labkit.errors import ConfigError
from labkit.lab.extract import Extract
from labkit.node.program import BadProgram, Program, require_server, show

ALGORITHMS = ("lowest-free", "original")

# Labs may start side by side, and Python 3.11 counts how deep a syntax tree is for all threads
# together: "AST constructor recursion depth mismatch", CPython's issue 106905.
_reading = threading.Lock()


def claim_environment(claim: str | Path | type) -> dict[str, str]:
    """The variables for a node: `claim` is an algorithm's name, a class, or FILE.py[:CLASS].

    Raises `ConfigError`, which says what is wrong with it. Nothing of a file runs here.
    """
    if isinstance(claim, str) and claim in ALGORITHMS:
        return {"CLAIM": claim}
    try:
        with _reading:
            program = _program(claim)
            packed = program.pack()
    except BadProgram as error:
        raise ConfigError(str(error)) from None
    origin = "notebook" if " " in program.pieces[-1].name else program.pieces[-1].name
    return {"CLAIM": f"{origin}:{program.cls}", "CLAIM_SOURCE": packed}


def written(cls: type) -> str:
    """A class of a cell as text for a file: what it uses, and its own lines, without its base.

    Raises `ConfigError` for what a file cannot have.
    """
    try:
        return "\n".join(piece.text.strip() for piece in Extract(cls).program().pieces).strip()
    except BadProgram as error:
        raise ConfigError(str(error)) from None


def _program(claim: object) -> Program:
    if isinstance(claim, type):
        if isinstance(whole := getattr(claim, "__program__", None), Program):
            return whole  # it was loaded from that, and is more than its own lines
        require_server(claim)
        return Extract(claim).program()
    if isinstance(claim, str | Path):
        if (found := program_in_file(claim)) is not None:
            return found
    elif callable(getattr(claim, "sequence", None)):
        name = type(claim).__name__
        raise ConfigError(f"claim is an object of {name}; each node makes its own: claim={name}.")
    raise ConfigError(
        f"claim is {show(claim)}; it can be 'lowest-free', 'original', a class with "
        "start(zk, name) and sequence(), or a file that has one: 'my_server.py:MyServer'."
    )


def program_in_file(claim: str | Path) -> Program | None:
    """The server in `FILE.py[:CLASS]`, of which nothing runs; None if that names no file.

    Raises `BadProgram`.
    """
    text = str(claim)
    file, _, cls = (text, "", "") if text.endswith(".py") else text.rpartition(":")
    return Program.read(file, cls) if file.endswith(".py") else None
