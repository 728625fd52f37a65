"""Claimants that are killed or paused in the middle of a claim, each a process of its own.

    python claimants.py HOSTS TIMEOUT SIGNAL

Starts one for every moment of a claim: before and after each request that it sends. Writes a line
for each: its process id. A claimant that lives writes its number (or why it has none) to its
standard output, which it shares with the others, and keeps it until standard input ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from probe import STEPS, Probe

from labkit.node.claimant import Refusal
from labkit.node.holder import Holder


def _claim(hosts: str, timeout: float, number: int, moment: str, step: int) -> None:
    def act(sent: int) -> None:
        if sent == step:
            if moment == "after":
                time.sleep(0.05)  # the server has done it by then, and perhaps it has answered
            os.kill(os.getpid(), number)

    probe = Probe(hosts, timeout, **{moment: act})
    holder = Holder(probe, b"{}", 1023)
    holder.start()
    assert holder.wait_connected(10)
    answer: int | str = "no answer"
    deadline = time.monotonic() + 20
    while isinstance(answer, str) and time.monotonic() < deadline:
        try:
            answer = holder.number(5).number
        except Refusal as refusal:
            answer = refusal.reason
            time.sleep(0.01)
    os.write(1, f"{moment} {step}: {answer}\n".encode())


def main(hosts: str, timeout: float, number: int) -> None:
    """Fork the claimants, and stay until standard input ends."""
    children = []
    for step in range(STEPS):
        for moment in ("before", "after"):
            child = os.fork()
            if child == 0:
                _claim(hosts, timeout, number, moment, step)
                sys.stdin.read()
                os._exit(0)
            children.append(child)
            os.write(1, f"{child}\n".encode())
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
