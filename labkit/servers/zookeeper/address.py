"""An ensemble that is there already: where its servers are, and how clients get in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError
from labkit.node.tls import Tls
from labkit.servers.base import Endpoint
from labkit.servers.zookeeper.config import CLIENT_PORT

# A name, an IPv4 address, or an IPv6 address in brackets; and a port, or 2181.
_SERVER = re.compile(
    r"(?:([\w-]{1,63}(?:\.[\w-]{1,63})*\.?)|\[([0-9a-fA-F:.]+)\])(?::([0-9]{1,5}))?", re.ASCII
)

#: kazoo's settings that a lab passes on to its nodes and clients.
_SETTINGS = ("auth_data", "use_ssl", "ca", "certfile", "keyfile", "verify_certs")


@dataclass(frozen=True)
class Attached:
    """Servers, and the `chroot` below which a lab works: "/some/path", or "" for all.

    `credential` is "user:password", or "" for none; `tls` None for connections in clear.
    """

    endpoints: tuple[Endpoint, ...]
    chroot: str = ""
    credential: str = ""
    tls: Tls | None = None

    @classmethod
    def read(cls, hosts: str, settings: Mapping[str, Any]) -> Attached:
        """What `Lab(zookeeper=…, kazoo=…)` names. Raises `ConfigError`."""
        names, slash, path = hosts.partition("/")
        matches = [_SERVER.fullmatch(host.strip()) for host in names.split(",")]
        found = [(m[1], m[2], int(m[3] or CLIENT_PORT)) for m in matches if m]
        endpoints = [Endpoint(name or address, port) for name, address, port in found]
        good = len(found) == len(matches) and all(
            1 <= port <= 65535 and (name or _is_ipv6(address)) for name, address, port in found
        )
        if not good or (slash and not all(part.strip(".") for part in path.split("/"))):
            raise ConfigError(
                f"zookeeper is {hosts!r}; it must be host:port, or several of them separated by "
                'commas, with at most one /path at the end: "zk1:2181,zk2:2181/some/chroot". An '
                'IPv6 address has brackets: "[::1]:2181".'
            )
        if unknown := [name for name in settings if name not in _SETTINGS]:
            raise ConfigError(
                f"kazoo has {unknown[0]!r}, which a lab doesn't pass on; it passes on "
                f"{', '.join(_SETTINGS)}."
            )
        return cls(tuple(endpoints), slash + path, _credential(settings), _tls(settings))

    @property
    def servers(self) -> str:
        """The connection string without the chroot."""
        return ",".join(map(str, self.endpoints))

    @property
    def named(self) -> dict[str, Endpoint]:
        """The servers by the names that they have in a lab."""
        return {f"zookeeper{n}": at for n, at in enumerate(self.endpoints, start=1)}


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def _credential(settings: Mapping[str, Any]) -> str:
    given = list(settings.get("auth_data") or [])
    if not given:
        return ""
    scheme, credential = given[0]
    if len(given) > 1 or scheme != "digest" or not all(credential.partition(":")):
        raise ConfigError(
            'kazoo\'s auth_data can be one digest here: [("digest", "user:password")].'
        )
    return str(credential)


def _tls(settings: Mapping[str, Any]) -> Tls | None:
    files = [str(settings.get(name) or "") for name in ("ca", "certfile", "keyfile")]
    if not settings.get("use_ssl"):
        if any(files):
            raise ConfigError("kazoo names files for TLS, and has no use_ssl=True.")
        return None
    for file in filter(None, files):
        if not Path(file).is_file():
            raise ConfigError(f"kazoo names {file}, and there is no such file.")
    if bool(files[1]) != bool(files[2]):
        raise ConfigError("kazoo's certfile and keyfile go together: name both, or none.")
    ca, certificate, key = (str(Path(file).resolve()) if file else "" for file in files)
    return Tls(ca, certificate, key, verify=bool(settings.get("verify_certs", True)))
