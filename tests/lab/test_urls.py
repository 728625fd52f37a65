"""Links are for the person who reads; programs use the endpoint."""

from __future__ import annotations

import pytest

from labkit.lab.lab import Lab
from labkit.lab.urls import link
from labkit.servers.base import Endpoint

HERE = Endpoint("127.0.0.1", 5001)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "http://127.0.0.1:5001"),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/ann/"}, "/user/ann/proxy/5001"),
        (
            {
                "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/",
                "JUPYTERHUB_PUBLIC_URL": "https://hub.example/user/ann/",
            },
            "https://hub.example/user/ann/proxy/5001",
        ),
        ({"LABKIT_BASE_URL": "/lab-7"}, "/lab-7/proxy/5001"),
        ({"CODESPACE_NAME": "glad-owl"}, "https://glad-owl-5001.app.github.dev"),
        (
            {"CODESPACE_NAME": "o", "GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN": "dev.example"},
            "https://o-5001.dev.example",
        ),
    ],
)
def test_a_link(environ: dict[str, str], expected: str) -> None:
    assert link(HERE, environ) == expected


def test_a_lab_behind_a_hub(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann/")
    node = lab.node(1)
    there = f"/user/ann/proxy/{node.endpoint.port}"
    assert node.sequence() == 1  # the lab itself asks the endpoint
    assert there in repr(lab)
    assert f'<a href="{there}/swagger">' in lab._repr_html_()
    tree = repr(lab.tree("/sequence"))
    assert f'"url": "{there}"' in tree
    assert node.url not in tree
