"""Carries a lab's links in a process of its own: whatever keeps Python busy in the owner's."""

from __future__ import annotations

from typing import Any

from labkit.servers import helper
from labkit.servers.links.fault import LinkFault
from labkit.servers.links.forwarder import Forwarder


def main() -> None:
    with Forwarder() as forwarder:
        helper.serve(lambda order: _carry_out(forwarder, **order))


def _carry_out(forwarder: Forwarder, verb: str, **given: Any) -> object:
    if given.get("fault") is not None:
        given["fault"] = LinkFault(**given["fault"])
    if "to" in given:
        given["to"] = tuple(given["to"])
    return getattr(forwarder, verb)(**given)


if __name__ == "__main__":
    main()
