"""What a lab can't be made with is said at once, with the value and what it must be."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.errors import ConfigError
from labkit.lab.lab import Lab


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nodes": "x"}, "nodes is 'x'; it must be a whole number from 0 to 1023"),
        ({"nodes": 2.5}, "nodes is 2.5; it must be a whole number from 0 to 1023"),
        ({"nodes": True}, "nodes is True; it must be a whole number from 0 to 1023"),
        ({"nodes": None}, "nodes is None; it must be a whole number"),
        ({"nodes": -1}, "nodes is -1; it must be from 0 to 1023"),
        ({"ensemble": "3"}, "ensemble is '3'; it must be a whole number from 1 to 5"),
        ({"session_timeout": "5"}, "session_timeout is '5'; it must be a number from 0.4 to 600"),
        ({"request_deadline": None}, "request_deadline is None; it must be a number from 0.01"),
        ({"max_number": 0}, "max_number is 0; it must be from 1 to"),
        ({"max_number": "x"}, "max_number is 'x'; it must be a whole number"),
        ({"backend": "nope"}, "no backend 'nope'. Choose one of: docker, swarm, process"),
        ({"backend": 3}, "backend is 3"),
        ({"engines": "tcp://x"}, "engines is 'tcp://x'; it must be a list"),
        ({"env": 3}, "env is 3; it must be a dict"),
        ({"zookeeper": 3}, "zookeeper is 3; it must be a text"),
    ],
)
def test_a_setting_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Lab(**settings)
    assert said in str(raised.value)
