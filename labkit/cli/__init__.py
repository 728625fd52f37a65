"""The command line: the same verbs as a notebook's, and what to do when something is missing.

Exit codes: 0, done, or ended as it was told to be; 1, an expected error or a run that differs from
what it should be; 2, wrong usage or a bug of ours; 130, interrupted.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # nothing is loaded where an interrupt would show Python's traceback
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, turning errors into messages and exit codes."""
    code: int | str | None = 130
    try:
        # What is loaded from here on may take a while, and may be interrupted like all else.
        import signal

        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)  # which a script's background job would ignore
        from labkit.cli import terminal

        terminal.prepare()
        code = _run()
    except KeyboardInterrupt:
        print("labkit: interrupted; nothing is left running.", file=sys.stderr)
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # no traceback out of Python's own end
    sys.exit(code)


def course() -> NoReturn:
    """Open the course: what the package's own name does when nothing else is asked for."""
    if len(sys.argv) == 1:
        sys.argv.append("lab")
    main()


def _run() -> int:
    """The exit code of the command that the arguments name."""
    import click

    from labkit.cli import terminal
    from labkit.cli.commands import labkit

    try:
        code = labkit.main(prog_name="labkit", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        return terminal.explain(error)
    return int(code or 0)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
