"""How a client knows ZooKeeper over TLS, and shows who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tls:
    """Files in PEM: who is trusted, and the client's certificate and key. "" names no file.

    `verify` is whether ZooKeeper has to show a certificate that is trusted.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True

    def settings(self) -> dict[str, Any]:
        """The same, as kazoo's client takes it."""
        return {
            "use_ssl": True,
            "ca": self.ca or None,
            "certfile": self.certificate or None,
            "keyfile": self.key or None,
            "verify_certs": self.verify,
        }
