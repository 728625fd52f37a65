"""Starts nodes by forking: what a node imports is loaded once for all of a lab's nodes.

Runs as a process of its own, single-threaded, so that a fork is safe whatever the notebook's
kernel is doing. An order is {"log": path, "environ": {…}}; its answer is the node's process id.
When it ends, its nodes live on.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback

from labkit.node import __main__ as node
from labkit.servers import helper


def main() -> None:
    """Fork a node for every order."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the nodes
    gc.freeze()  # the collector of a node leaves these pages alone, so they stay shared
    helper.serve(lambda order: _fork(**order))


def _fork(log: str, environ: dict[str, str]) -> int:
    child = os.fork()
    if child == 0:
        _become_node(log, environ)
    return child


def _become_node(log: str, environ: dict[str, str]) -> None:
    code = 1
    try:
        helper.leave()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.environ.update(environ)
        node.main(environ)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
