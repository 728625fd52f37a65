"""The images that containers run from."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils import parse_repository_tag

from labkit.errors import (
    BackendUnavailable,
)
from labkit.servers import project
from labkit.servers.base import (
    Progress,
)
from labkit.servers.docker.engine import RAISED, USE_PROCESSES, connect
from labkit.servers.docker.inside import archive


def zookeeper_image() -> str:
    return os.environ.get("LABKIT_ZOOKEEPER_IMAGE") or "zookeeper:3.9"


def python_image() -> str:
    return os.environ.get("LABKIT_PYTHON_IMAGE") or "python:3.12-slim"


def missing_images() -> dict[str, str]:
    """The images that the engine would first have to get, and what names others instead.

    Raises `BackendUnavailable` if no engine answers.
    """
    wanted = {zookeeper_image(): "LABKIT_ZOOKEEPER_IMAGE"}
    if ready := os.environ.get("LABKIT_NODE_IMAGE"):
        wanted[ready] = "LABKIT_NODE_IMAGE"
    else:
        wanted[python_image()] = "LABKIT_PYTHON_IMAGE"
    client = connect()
    try:
        return {i: name for i, name in wanted.items() if inspect_image(client, i) is None}
    finally:
        client.close()


def inspect_image(client: docker.DockerClient, image: str) -> dict[str, Any] | None:
    """What the engine knows of an image; None if it does not have it."""
    try:
        found: dict[str, Any] = client.api.inspect_image(image)
    except NotFound:
        return None
    return found


def pull(client: docker.DockerClient, image: str, variable: str, progress: Progress) -> None:
    """Have the engine get the image, unless it has it."""
    if inspect_image(client, image) is not None:
        return
    layers: dict[str, tuple[int, int]] = {}
    refused: list[str] = []
    try:
        for line in _to_the_end(_pulling(client.api, image, refused)):
            detail = line.get("progressDetail") or {}
            if detail.get("total"):
                layers[line["id"]] = (detail["current"], detail["total"])
                done, total = map(sum, zip(*layers.values(), strict=True))
                progress(f"pulling {image}", done / total)
    except RAISED as error:
        said = error.explanation if isinstance(error, APIError) else error
        raise BackendUnavailable(
            f"The image {image} is not here and cannot be pulled ({_one_line(said)})."
            f"{''.join(refused)} Connect to the network, or name an image that is here in "
            f"{variable}, {USE_PROCESSES}"
        ) from error


def _to_the_end(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the engine says, until it ends: else its connection would stay open.

    Raises `DockerException` with the error, if it has said one.
    """
    error = ""
    for line in lines:
        if "error" in line:
            error = line["error"]
        elif not error:
            yield line
    if error:
        raise DockerException(error)


def _pulling(api: docker.APIClient, image: str, refused: list[str]) -> Any:
    """What the engine says while it pulls, with the reader's credentials if they can be had; else
    `refused` is told why not.

    Most images are public, so a helper for credentials that does not work is no reason to fail.
    """
    repository, tag = parse_repository_tag(image)
    begin = partial(api.pull, repository, tag or "latest", stream=True, decode=True)
    try:
        return begin()
    except APIError:
        raise
    except Exception as error:  # whatever comes of running a program that settings name
        refused.append(f" It was asked for without credentials: {_one_line(error)}.")
        return begin(auth_config={})


@contextmanager
def _without_credentials(api: docker.APIClient) -> Iterator[None]:
    """What is built here begins with an image that is here, so no registry is asked for any."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as settings:
        settings.write('{"auths": {"nowhere": {}}}')  # with none at all it would look again
        settings.flush()
        api.reload_config(settings.name)
    try:
        yield
    finally:
        api.reload_config()


def hand_over(
    source: docker.DockerClient,
    target: docker.DockerClient,
    images: Sequence[str],
    progress: Progress,
) -> None:
    """Give an engine images that another one has, by their ids."""
    for image in images:
        if inspect_image(target, image) is not None:
            continue
        progress("handing images to the machines", None)
        for _ in target.api.load_image(source.api.get_image(image)):
            pass
        if inspect_image(target, image) is None:
            raise BackendUnavailable(
                f"The engine at {target.api.base_url} gives an image another id than the engine "
                "that it comes from, as engines with different image stores do. Set them up alike."
            )


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300].rstrip(".")


def build_context() -> dict[str, bytes]:
    """The files that a node's image is built from, by their names in the project."""
    code = project.PACKAGE.parent
    sources = (path for path in (project.PACKAGE / "node").rglob("*") if path.is_file())
    sources = (path for path in sources if "__pycache__" not in path.parts)
    files = {str(path.relative_to(code)): path for path in sources}
    for name in ("__init__.py", "lazy.py", "fire.py"):  # a reader's server imports labkit.fire
        files[f"labkit/{name}"] = project.PACKAGE / name
    files |= {name: project.root() / name for name in ("Dockerfile.node", "deploy/constraints.txt")}
    # With the same line ends wherever they were checked out: so the image has the same name, too.
    return {name: files[name].read_bytes().replace(b"\r\n", b"\n") for name in sorted(files)}


def node_image(client: docker.DockerClient, progress: Progress) -> str:
    """The image of a node as its source is now; built if the engine does not have it."""
    if ready := os.environ.get("LABKIT_NODE_IMAGE"):
        pull(client, ready, "LABKIT_NODE_IMAGE", progress)
        return ready
    return build(client, "sequencenode", build_context(), "Dockerfile.node", progress)


def build(
    client: docker.DockerClient,
    name: str,
    context: Mapping[str, bytes],
    dockerfile: str,
    progress: Progress,
) -> str:
    """The image that a Dockerfile, one of the files in `context`, makes of the Python image.

    It is called `name`, with a tag that says what it was made of; one that is there is not built.
    """
    digest = hashlib.sha256(python_image().encode())
    for file, content in context.items():
        digest.update(f"\0{file}\0{len(content)}\0".encode() + content)
    image = f"{name}:{digest.hexdigest()[:12]}"
    if inspect_image(client, image) is None:
        pull(client, python_image(), "LABKIT_PYTHON_IMAGE", progress)
        _build(client, image, context, dockerfile, progress)
    return image


def _build(
    client: docker.DockerClient,
    image: str,
    context: Mapping[str, bytes],
    dockerfile: str,
    progress: Progress,
) -> None:
    what = f"image {image.partition(':')[0]}"
    step = "its first step"
    printed: list[str] = []
    try:
        with _without_credentials(client.api):
            lines = client.api.build(
                fileobj=io.BytesIO(archive(".", context)),
                custom_context=True,
                dockerfile=dockerfile,
                target="prod",
                tag=image,
                buildargs={"PYTHON_IMAGE": python_image()},
                rm=True,
                forcerm=True,
                decode=True,
            )
        for line in _to_the_end(lines):
            text = line.get("stream", "").strip()
            if match := re.match(r"Step (\d+)/(\d+) : (\S+)", text):
                step = f"step {match[1]}, {match[3]}"
                progress(f"building the {what}", int(match[1]) / int(match[2]))
            elif text:
                printed.append(text)
    except RAISED as error:
        said = error.explanation if isinstance(error, APIError) else error
        last = next((line for line in reversed(printed) if "ERROR" in line), "")
        raise BackendUnavailable(
            f"The {what} cannot be built: {step} failed ({_one_line(last or said)}). The first "
            f"build needs the network. Try again, {USE_PROCESSES}"
        ) from error


def version_of(image: Mapping[str, Any], name: str) -> str:
    """ZooKeeper's version: the official image's PATH leads into a directory named after it."""
    environment = " ".join(image.get("Config", {}).get("Env") or [])
    match = re.search(r"apache-zookeeper-(\d+\.\d+\.\d+)", environment)
    match = match or re.search(r":(\d+\.\d+(?:\.\d+)?)$", name)
    return match[1] if match else "unknown"
