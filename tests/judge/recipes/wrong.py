"""Recipes with a planted bug each."""

from __future__ import annotations

import time
from typing import Any

from kazoo.recipe.counter import Counter
from kazoo.recipe.lock import Lock
from kazoo.recipe.queue import LockingQueue, Queue


class NoLock(Lock):
    """Believes to have the lock without asking."""

    def acquire(self, *_: Any, **__: Any) -> bool:
        return True

    def release(self) -> bool:
        return True


class OldToken(Lock):
    """A lock with a token that is the same for all."""

    def token(self) -> int:
        return 7


class ForgetfulQueue(Queue):
    """Drops each fifth item."""

    count = 0

    def put(self, value: bytes, priority: int = 100) -> None:
        self.count += 1
        if self.count % 5:
            super().put(value, priority)


class NeverDone(LockingQueue):
    """Hands out the same item for ever."""

    def consume(self) -> bool:
        return False


class BlindCounter(Counter):
    """Reads, adds, and writes without a look at the version."""

    def _inner_change(self, value: Any) -> None:
        now, _ = self._value()
        time.sleep(0.05)  # for another's write to come between, also on a slow machine
        self.client.set(self.path, repr(now + value).encode())
