"""A proxy is for the world outside: what runs on this machine is asked directly."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def reach_directly(*hosts: str, environ: MutableMapping[str, str] | None = None) -> None:
    """Have this process, and those that it starts, ask loopback and `hosts` without a proxy.

    A reader's own requests need that as well, by whatever library or program, so it is said where
    all of them look. Where no proxy is set nothing changes.

    >>> environ = {"HTTP_PROXY": "http://proxy", "NO_PROXY": "intranet"}
    >>> reach_directly(environ=environ)
    >>> environ["no_proxy"]
    'intranet,localhost,127.0.0.1,::1'
    """
    environ = os.environ if environ is None else environ
    proxies = [name for proxy in _PROXIES for name in (proxy, proxy.upper()) if environ.get(name)]
    before = {name: _entries(environ.get(name, "")) for name in ("no_proxy", "NO_PROXY")}
    if any("*" in entries for entries in before.values()):  # which not every library knows
        for name in proxies:
            del environ[name]
    elif proxies:
        for name, entries in before.items():
            told = entries or next(filter(None, before.values()), [])
            environ[name] = ",".join(dict.fromkeys([*told, *_LOOPBACK, *hosts]))


def _entries(told: str) -> list[str]:
    return [entry.strip() for entry in told.split(",") if entry.strip()]
