"""What both backends need."""

from __future__ import annotations

import threading
import time

import pytest

from labkit.servers.base import each


def test_each_does_it_to_all_at_once() -> None:
    together = threading.Barrier(3, timeout=5)
    each(lambda _: together.wait(), range(3))
    each(lambda _: pytest.fail("there is nobody"), [])


def test_each_raises_the_first_error_when_all_are_done() -> None:
    done = []

    def work(item: int) -> None:
        if item < 2:
            raise ValueError(item)
        time.sleep(0.1)
        done.append(item)

    with pytest.raises(ValueError, match="0"):
        each(work, iter(range(4)))
    assert sorted(done) == [2, 3]
