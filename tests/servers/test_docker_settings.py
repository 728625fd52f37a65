"""Docker's settings on a reader's machine, in all the states in which they are found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from unittest.mock import Mock

import docker
import pytest
from docker.errors import APIError, DockerException

from labkit.errors import BackendUnavailable
from labkit.servers.docker import images
from labkit.servers.docker.engine import available, explained

SETTINGS = [
    "",
    "[]",
    "3",
    "\x00\x01",
    '{"auths": []}',
    '{"auths": {"https://index.docker.io/v1/": "me"}}',
    '{"credHelpers": []}',
    '{"credHelpers": {"docker.io": 3}}',
    '{"credsStore": "desktop.exe"}',
    '{"credsStore": 5}',
    '{"proxies": []}',
    '{"currentContext": "gone"}',
    '{"currentContext": 3}',
    '{"currentContext": "broken"}',
]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's settings, which name no engine."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


@pytest.mark.parametrize("text", SETTINGS)
def test_no_settings_are_a_bug_of_ours(nowhere: Path, text: str) -> None:
    nowhere.write_text(text)
    meta = nowhere.parent / "contexts" / "meta" / hashlib.sha256(b"broken").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text("{")
    why = available()  # an engine answers here, or there is a reason in words
    assert why is None or "No Docker engine answers" in why or "Docker's settings" in why


def test_a_context_that_cannot_be_read_is_told(nowhere: Path) -> None:
    nowhere.write_text('{"currentContext": "broken"}')
    meta = nowhere.parent / "contexts" / "meta" / hashlib.sha256(b"broken").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text("{")
    why = available()
    assert why is None or "corrupted" in why or "No Docker engine" in why


@pytest.mark.parametrize(
    "error",
    [
        docker.credentials.errors.StoreError("docker-credential-desktop.exe not installed"),
        docker.credentials.errors.InitializationError("docker-credential-x is gone"),
        docker.errors.ContextException("a context"),
        docker.errors.StreamParseError("a stream"),
        DockerException("an error"),
    ],
)
def test_every_error_of_the_library_is_told(error: Exception) -> None:
    with pytest.raises(BackendUnavailable), explained():
        raise error


PUBLIC = [{"status": "Downloaded"}]


@pytest.mark.parametrize(
    "error", [DockerException("Credentials store error"), FileNotFoundError("x"), ValueError("{")]
)
def test_public_images_need_no_credentials(error: Exception) -> None:
    client = Mock()
    client.api.inspect_image.side_effect = docker.errors.NotFound("none")
    client.api.pull.side_effect = [error, iter(PUBLIC)]
    images.pull(client, "python:3.12-slim", "LABKIT_PYTHON_IMAGE", lambda what, fraction: None)
    first, second = client.api.pull.call_args_list
    assert "auth_config" not in first.kwargs
    assert second.kwargs["auth_config"] == {}


def test_an_image_that_needs_the_missing_credentials_says_both_reasons() -> None:
    client = Mock()
    client.api.inspect_image.side_effect = docker.errors.NotFound("none")
    denied = APIError("denied", explanation="pull access denied")
    client.api.pull.side_effect = [DockerException("no helper here"), denied]
    with pytest.raises(BackendUnavailable, match=r"access denied.*credentials: no helper here"):
        images.pull(client, "corp/python:1", "X", lambda what, fraction: None)


def test_what_begins_with_an_image_that_is_here_asks_for_no_credentials(nowhere: Path) -> None:
    nowhere.write_text(json.dumps({"credsStore": "desktop.exe"}))
    api = docker.APIClient("unix:///nowhere.sock", version="1.44")
    assert api._auth_configs.creds_store == "desktop.exe"
    with images._without_credentials(api):
        headers: dict[str, str] = {}
        api._set_auth_headers(headers)  # as it does for each build
        assert "desktop" not in str(headers)
    assert api._auth_configs.creds_store == "desktop.exe"
    api.close()
