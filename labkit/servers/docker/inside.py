"""What is put into a container, read from it, and run in it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from docker import APIClient

from labkit.errors import BackendError


def archive(directory: str, files: Mapping[str, bytes]) -> bytes:
    """Files in a directory, as an engine takes them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{directory.lstrip('/')}/{name}")
            entry.size, entry.mode = len(content), 0o444  # its reader is not root
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def logs_in(archived: bytes) -> list[bytes]:
    """The transaction logs of a ZooKeeper server in an archive of its data, oldest first."""
    files: dict[int, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archived)) as tar:
        for member in tar:
            name, _, zxid = PurePosixPath(member.name).name.partition(".")
            content = tar.extractfile(member) if name == "log" else None
            if content is not None:
                files[int(zxid, 16)] = content.read()
    return [files[zxid] for zxid in sorted(files)]


def run_zkcli(
    api: APIClient, container: str, hosts: str, told: str, command: str, timeout: float
) -> tuple[str, int]:
    """The output of ZooKeeper's command line when `told` is its input, and its exit code.

    Raises `BackendError` if it does not end within `timeout` seconds.
    """
    run = f'printf %s "$TOLD" | exec timeout {timeout:g} zkCli.sh -server {hosts}'
    # JLine, which the official image has, would take a "!" for a command's number.
    environment = {"TOLD": told, "CLIENT_JVMFLAGS": "-Djline.expandevents=false"}
    job = api.exec_create(container, ["sh", "-c", run], user="zookeeper", environment=environment)
    # One after the other, because both at once tear each other's lines.
    streams: tuple[bytes | None, bytes | None] = api.exec_start(job["Id"], demux=True)
    code: int = api.exec_inspect(job["Id"])["ExitCode"]
    if code == 124:  # timeout(1)
        raise BackendError(
            f"zkCli.sh {command!r} gave no answer in {timeout:g} s. Has ZooKeeper a quorum?"
        )
    return b"".join(filter(None, streams)).decode(errors="replace"), code
