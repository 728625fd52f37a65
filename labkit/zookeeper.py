"""ZooKeeper from the outside: find it, configure it, ask it, read its transaction log."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from labkit.errors import BackendUnavailable, HistoryError

# --- an installed ZooKeeper -------------------------------------------------------------------

INSTALL_HINT = (
    "Install it with `sudo apt-get install zookeeper` (Debian, Ubuntu) or `brew install zookeeper` "
    "(macOS), or unpack a release and set ZOOKEEPER_HOME to its directory."
)

_BREW_PREFIXES = ("/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew")
_SERVER_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_CLI_CLASS = "org.apache.zookeeper.ZooKeeperMain"

# A JVM that lives for minutes gains more from a quick start than from a good optimiser: with
# these a server answers 0.25 s after its launch.
_JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC", "-Xmx256m")


@dataclass(frozen=True)
class Installation:
    """A ZooKeeper on this machine, and the Java that runs it."""

    java: str
    jars: tuple[str, ...]
    version: str
    home: Path

    def server_command(self, directory: Path, config: Path) -> list[str]:
        """The command line of a server; `directory` holds the logging configuration."""
        return [*self._java(directory, "INFO"), _SERVER_CLASS, str(config)]

    def cli_command(self, directory: Path, hosts: str, command: Sequence[str]) -> list[str]:
        """The command line of one `zkCli.sh` command."""
        options = ["-waitforconnection", "-server", hosts]
        return [*self._java(directory, "OFF"), _CLI_CLASS, *options, *command]

    def _java(self, directory: Path, level: str) -> list[str]:
        classpath = os.pathsep.join([str(directory), *self.jars])
        logging = [f"-Dlabkit.log={level}", f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"]
        return [self.java, *_JVM_FLAGS, *logging, "-cp", classpath]


def find_installation(
    environ: Mapping[str, str] | None = None, root: Path = Path("/")
) -> Installation:
    """Find ZooKeeper and Java: $ZOOKEEPER_HOME first, then Debian's layout, then Homebrew's.

    Raises `BackendUnavailable`, whose message names what is missing and the command that brings
    it. `root` is where the file system begins.
    """
    environ = os.environ if environ is None else environ
    home, jars = _find_jars(environ, root)
    return Installation(_find_java(environ, root), jars, _version(jars), home)


def _find_jars(environ: Mapping[str, str], root: Path) -> tuple[Path, tuple[str, ...]]:
    if environ.get("ZOOKEEPER_HOME"):
        home = Path(environ["ZOOKEEPER_HOME"])
        if jars := _release_jars(home):
            return home, jars
        raise BackendUnavailable(
            f"ZOOKEEPER_HOME is {home}, but there is no lib/zookeeper-*.jar in it. Set it to the "
            "directory of an unpacked binary release, or unset it to use an installed package."
        )
    debian = root / "usr/share/java"
    if (debian / "zookeeper.jar").exists():
        # Debian's jar names its dependencies in its manifest, all but a logger.
        names = ("zookeeper.jar", "slf4j-simple.jar")
        jars = tuple(str(debian / name) for name in names if (debian / name).exists())
        return debian, jars
    for prefix in _BREW_PREFIXES:
        home = root / prefix.lstrip("/") / "opt/zookeeper/libexec"
        if jars := _release_jars(home):
            return home, jars
    raise BackendUnavailable(f"No ZooKeeper is installed. {INSTALL_HINT}")


def _release_jars(home: Path) -> tuple[str, ...]:
    if not any(home.glob("lib/zookeeper-[0-9]*.jar")):
        return ()
    return tuple(sorted(str(jar) for jar in home.glob("lib/*.jar")))


def _find_java(environ: Mapping[str, str], root: Path) -> str:
    candidates = [Path(environ["JAVA_HOME"]) / "bin/java"] if environ.get("JAVA_HOME") else []
    if found := shutil.which("java", path=environ.get("PATH")):
        candidates.append(Path(found))
    brew = (root / prefix.lstrip("/") for prefix in _BREW_PREFIXES)
    candidates += [prefix / "opt/openjdk/bin/java" for prefix in brew]
    for java in candidates:
        if os.access(java, os.X_OK):
            return str(java)
    raise BackendUnavailable(
        "ZooKeeper is installed, but Java is not. Install it with `sudo apt-get install "
        "default-jre-headless` (Debian, Ubuntu) or `brew install openjdk` (macOS), or set "
        "JAVA_HOME."
    )


def _version(jars: Iterable[str]) -> str:
    for jar in jars:
        # A package's unversioned jar has a versioned name beside it.
        for path in (Path(jar), *sorted(Path(jar).parent.glob("zookeeper-[0-9]*.jar"))):
            if match := re.fullmatch(r"zookeeper-(\d+\.\d+\.\d+)\.jar", path.name):
                return match[1]
    return "unknown"


# --- configuration ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """One server of an ensemble, as another one reaches it."""

    server_id: int
    host: str
    quorum_port: int
    election_port: int


def zoo_cfg(
    *,
    data: Path,
    client_port: int,
    tick_time: int,
    min_session_timeout: int,
    max_session_timeout: int,
    peers: Sequence[Peer] = (),
) -> str:
    """A server's configuration file; without `peers` it is standalone. Times in milliseconds."""
    lines = [
        f"tickTime={tick_time}",
        f"minSessionTimeout={min_session_timeout}",
        f"maxSessionTimeout={max_session_timeout}",
        f"dataDir={data}",
        f"clientPort={client_port}",
        "clientPortAddress=127.0.0.1",
        "admin.enableServer=false",
        "4lw.commands.whitelist=*",
        "maxClientCnxns=0",  # the default refuses one host's 61st client
        "preAllocSize=1024",  # KiB: the log is read whole, and by default it is 64 MiB of zeros
    ]
    if peers:
        lines += ["initLimit=50", "syncLimit=10"]
        lines += [f"server.{p.server_id}={p.host}:{p.quorum_port}:{p.election_port}" for p in peers]
    return "\n".join(lines) + "\n"


# At INFO, NIOServerCnxn writes a line for each four-letter word, and the lab asks often.
_LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <logger name="org.apache.zookeeper.server.NIOServerCnxn" level="WARN"/>
  <root level="${labkit.log:-INFO}"><appender-ref ref="OUT"/></root>
</configuration>
"""

_LOG4J = """\
log4j.rootLogger=${labkit.log}, OUT
log4j.logger.org.apache.zookeeper.server.NIOServerCnxn=WARN
log4j.appender.OUT=org.apache.log4j.ConsoleAppender
log4j.appender.OUT.layout=org.apache.log4j.PatternLayout
log4j.appender.OUT.layout.ConversionPattern=%d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
"""

_SIMPLELOGGER = """\
org.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxn=warn
org.slf4j.simpleLogger.showDateTime=true
org.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS
org.slf4j.simpleLogger.showThreadName=false
org.slf4j.simpleLogger.showShortLogName=true
"""


def write_logging_configuration(directory: Path) -> None:
    """Log to the console, whichever logger the installed ZooKeeper comes with."""
    (directory / "logback.xml").write_text(_LOGBACK)
    (directory / "log4j.properties").write_text(_LOG4J)
    (directory / "simplelogger.properties").write_text(_SIMPLELOGGER)


# --- asking a server --------------------------------------------------------------------------


def four_letter(host: str, port: int, word: str, timeout: float = 1.0) -> str:
    """A server's answer to a four-letter word such as `srvr`; empty when nobody answers.

    Source: the administrator's guide, "The Four Letter Words". `timeout` in seconds.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(word.encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    except OSError:
        return ""


def parse_srvr(answer: str) -> dict[str, str]:
    """`srvr`'s lines as a mapping: "Mode" → "leader", "Zxid" → "0x100000002", …"""
    pairs = (line.split(": ", 1) for line in answer.splitlines() if ": " in line)
    return {key: value.strip() for key, value in pairs}


_CLI_NOISE = re.compile(
    r"Connecting to .*|Welcome to ZooKeeper!|JLine support.*|WATCHER::|WatchedEvent .*|"
    r"SLF4J: .*|\s*"
)


def tidy_cli_output(output: str) -> str:
    """What `zkCli.sh` printed, without its connection banner."""
    lines = (line.rstrip() for line in output.splitlines())
    return "\n".join(line for line in lines if not _CLI_NOISE.fullmatch(line))


# --- the transaction log ----------------------------------------------------------------------


@dataclass(frozen=True)
class Transaction:
    """One change that ZooKeeper made: exact, and in ZooKeeper's own order.

    The parts of a `multi` share its zxid. A session that ends is one `closeSession`, and the
    ephemeral znodes it takes along follow as `delete`s with the same zxid.
    `time` is the server's wall clock in seconds, exact to a millisecond.
    """

    zxid: int
    time: float
    session: int
    cxid: int
    op: str
    path: str | None = None
    data: bytes | None = None
    ephemeral: bool = False


# Record types: org.apache.zookeeper.ZooDefs.OpCode.
_CREATES = (1, 15, 19, 21)  # create, create2, container, with a time to live
_OPS = {2: "delete", 5: "setData", 7: "setACL", 13: "check", -1: "error", 16: "reconfig"}
_DELETE_CONTAINER, _MULTI, _CREATE_SESSION, _CLOSE_SESSION = 20, 14, -10, -11


class _Reader:
    """Reads jute, ZooKeeper's record format: big-endian, strings and buffers behind a length."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def unpack(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(">" + form, self._data, self._at)
        self._at += struct.calcsize(">" + form)
        return values

    def int(self) -> int:
        return self.unpack("i")[0]

    def buffer(self) -> bytes | None:
        length = self.int()
        if length < 0:
            return None
        self._at += length
        return self._data[self._at - length : self._at]

    def string(self) -> str:
        return (self.buffer() or b"").decode()

    def boolean(self) -> bool:
        return self.unpack("b")[0] != 0

    @property
    def exhausted(self) -> bool:
        return self._at >= len(self._data)


def _records(data: bytes) -> Iterator[Transaction]:
    if not data:
        return
    if data[:4] != b"ZKLG":
        raise HistoryError("This is not a ZooKeeper transaction log: it does not begin with ZKLG.")
    at = 16
    while at + 12 <= len(data):
        length = struct.unpack_from(">i", data, at + 8)[0]
        body = data[at + 12 : at + 12 + length]
        if length <= 0 or len(body) < length:
            return  # the padding, or a record that is being written
        at += 12 + length + 1
        record = _Reader(body)
        session, cxid, zxid, millis, kind = record.unpack("qiqqi")
        yield from _decode(record, kind, (zxid, millis / 1000, session, cxid))


def _decode(record: _Reader, kind: int, head: tuple[int, float, int, int]) -> Iterator[Transaction]:
    if kind in _CREATES:
        path, data = record.string(), record.buffer()
        for _ in range(max(record.int(), 0)):  # the access list
            record.int(), record.string(), record.string()
        ephemeral = record.boolean() if kind in (1, 15) else False
        yield Transaction(*head, "create", path, data, ephemeral)
    elif kind == 5:
        yield Transaction(*head, "setData", record.string(), record.buffer())
    elif kind in (2, _DELETE_CONTAINER):
        yield Transaction(*head, "delete", record.string())
    elif kind == _CREATE_SESSION:
        yield Transaction(*head, "createSession")
    elif kind == _CLOSE_SESSION:
        yield Transaction(*head, "closeSession")
        if not record.exhausted:  # since 3.6: the paths that go with the session
            for _ in range(max(record.int(), 0)):
                yield Transaction(*head, "delete", record.string())
    elif kind == _MULTI:
        parts: list[Transaction] = []
        for _ in range(max(record.int(), 0)):
            part_kind, part = record.int(), record.buffer() or b""
            parts.extend(_decode(_Reader(part), part_kind, head))
        # One part that fails undoes all, but those before it are logged as if they had been done.
        failed = any(part.op == "error" for part in parts)
        yield from (Transaction(*head, "error") for _ in parts) if failed else parts
    else:
        yield Transaction(*head, _OPS.get(kind, f"op{kind}"))


def _with_implied_deletes(records: Iterable[Transaction]) -> Iterator[Transaction]:
    """Add the deletes that an older server's `closeSession` leaves unsaid."""
    owner: dict[str, int] = {}
    closing: Transaction | None = None
    for txn in records:
        if closing is not None and not (txn.zxid == closing.zxid and txn.op == "delete"):
            yield from _unsaid(owner, closing)
            closing = None
        if txn.op == "create" and txn.ephemeral and txn.path is not None:
            owner[txn.path] = txn.session
        elif txn.op == "delete" and txn.path is not None:
            owner.pop(txn.path, None)
        elif txn.op == "closeSession":
            closing = txn
        yield txn
    if closing is not None:
        yield from _unsaid(owner, closing)


def _unsaid(owner: dict[str, int], closing: Transaction) -> Iterator[Transaction]:
    for path in [path for path, session in owner.items() if session == closing.session]:
        del owner[path]
        yield Transaction(closing.zxid, closing.time, closing.session, closing.cxid, "delete", path)


def parse_transaction_logs(files: Iterable[bytes]) -> list[Transaction]:
    """The transactions in a server's `log.<zxid>` files, oldest first, in ZooKeeper's order.

    The official tool, TxnLogToolkit, prints times to the second and garbles what a `multi` holds;
    the claim is a `multi` and the checker needs milliseconds, so the records are read here, and a
    test holds the result to the official tool's. The layout is FileTxnLog's: a header of 16
    bytes, then records of checksum (long), length (int), body, and one byte 'B'; zeros at the end.
    """
    return _in_order(_by_zxid(files))


def agreed_transactions(servers: Iterable[Iterable[bytes]]) -> list[Transaction]:
    """What an ensemble agreed on, from each server's log files; the leader's come first.

    One server's log is not enough. A follower that was given a snapshot has a hole in its log, and
    a leader that was cut off may keep proposals that nobody else accepted: the last of an epoch (a
    leader's reign, the upper half of a zxid). Holes are filled from the other logs. Where an epoch
    ended is told by the servers that were there when the next one began.
    """
    logs = [_by_zxid(files) for files in servers]
    known = {zxid: parts for log in reversed(logs) for zxid, parts in log.items()}
    reigns = {zxid >> 32: zxid for zxid in sorted(known, reverse=True)}  # epoch → its first zxid
    for epoch, following in pairwise(sorted(reigns)):
        heirs = [log for log in logs if reigns[following] in log]
        ends = Counter(
            max(own) for log in heirs if (own := [zxid for zxid in log if zxid >> 32 == epoch])
        )
        if ends:
            end = max(ends, key=lambda zxid: (ends[zxid], zxid))
            known = {z: parts for z, parts in known.items() if z >> 32 != epoch or z <= end}
    last = max(reigns, default=0)
    if logs and (of_leader := [zxid for zxid in logs[0] if zxid >> 32 == last]):
        known = {z: parts for z, parts in known.items() if z <= max(of_leader)}
    return _in_order(known)


def _by_zxid(files: Iterable[bytes]) -> dict[int, list[Transaction]]:
    parts: dict[int, list[Transaction]] = {}
    for data in files:
        last = None
        for txn in _records(data):
            if txn.zxid != last:
                parts[txn.zxid] = []  # a later file may repeat what an earlier one ended with
            parts[txn.zxid].append(txn)
            last = txn.zxid
    return parts


def _in_order(parts: Mapping[int, list[Transaction]]) -> list[Transaction]:
    return list(_with_implied_deletes(txn for zxid in sorted(parts) for txn in parts[zxid]))
