"""A session that tells what it sends, and lets a test act between two sends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from labkit.node.session import Session

QUIET = logging.getLogger("labkit.kazoo.test")
QUIET.setLevel(logging.CRITICAL)

#: What a claim sends when nothing goes wrong: a ticket, a listing, a transaction, a look.
STEPS = 4


class Probe(Session):
    """Counts the requests that it sends; calls `before(n)` and `after(n)` around the n-th."""

    def __init__(
        self,
        hosts: str,
        timeout: float,
        before: Callable[[int], None] | None = None,
        after: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(hosts, timeout, QUIET)
        self.requests: list[str] = []
        self._before, self._after = before, after

    def _call(self, request: Any, async_object: Any) -> Any:
        number = len(self.requests)
        self.requests.append(type(request).__name__)
        if self._before:
            self._before(number)
        result = super()._call(request, async_object)
        if self._after:
            self._after(number)
        return result
