"""What the Docker backend has to get right before, or without, an engine's answer."""

from __future__ import annotations

import pytest

from labkit.backends.base import NodeSpec, ServerState
from labkit.backends.containers import DockerBackend
from labkit.errors import BackendError


def test_a_node_that_cannot_be_created_is_no_server() -> None:
    backend, other = DockerBackend("c0ffee4"), DockerBackend("c0ffee5")
    port = backend._ports.reserve()
    backend._ports.release(port)
    for _ in range(2):
        with pytest.raises(BackendError, match="not been prepared"):
            backend.create_node(NodeSpec("node1", port=port))
        assert backend.state("node1") is ServerState.GONE
        assert other._ports.reserve(port) == port
        other._ports.release(port)
