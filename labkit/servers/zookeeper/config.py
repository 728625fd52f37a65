"""How a lab's ZooKeeper servers are configured, as files or as variables of the official image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kazoo.security import make_digest_acl_credential

from labkit.servers.base import ZooKeeperSettings

#: A local server's data, seen from the directory that it runs in. No path from further up is given
#: to Java: it would read some characters as escapes, and lacks others in the system's locale.
DATA = "./data"

#: Where a local server's copies of files are that its configuration names; and a container's.
FILES = "./files"
CONTAINER_FILES = "/lab"

#: Where a container's ZooKeeper listens for clients.
CLIENT_PORT = 2181

#: A JVM that lives for minutes gains more from a quick start than from a good optimiser: with
#: these a server answers 0.25 s after its launch.
JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC", "-Xmx256m")


@dataclass(frozen=True)
class Peer:
    """One server of an ensemble, as another one reaches it.

    `client` is where it listens for clients, "host:port" or a port. An observer has no vote.
    """

    server_id: int
    host: str
    quorum_port: int
    election_port: int
    client: str = ""
    observer: bool = False

    def __str__(self) -> str:
        """As in the configuration that all members of an ensemble share."""
        address = f"{self.host}:{self.quorum_port}:{self.election_port}"
        role = ":observer" if self.observer else ""
        return f"{address}{role};{self.client}" if self.client else address


def server_id(name: str) -> int:
    """The id of the server called "zookeeper4": 4."""
    found = re.search(r"\d+$", name)
    return int(found[0]) if found else 1


def properties(settings: ZooKeeperSettings, peers: bool, files: str = FILES) -> dict[str, str]:
    """What every server of a lab is told, by the names in `zoo.cfg`; `files` is where its copies
    of files are.
    """
    extra = {
        name: f"{files}/{name}" if isinstance(value, Path) else value
        for name, value in settings.extra.items()
    }
    shared = {
        "tickTime": str(settings.tick_time),
        "minSessionTimeout": str(settings.min_session_timeout),
        "maxSessionTimeout": str(settings.max_session_timeout),
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "*",
        "maxClientCnxns": "0",  # the default refuses one host's 61st client
        "preAllocSize": "1024",  # KiB: the log is read whole, and by default it is 64 MiB of zeros
    }
    if settings.superuser:
        user, _, password = settings.superuser.partition(":")
        digest = make_digest_acl_credential(user, password)
        shared["DigestAuthenticationProvider.superDigest"] = digest
    limits = {"initLimit": "50", "syncLimit": "10"} if peers else {}
    return {**shared, **limits, **extra}


def zoo_cfg(client_port: int, settings: ZooKeeperSettings, peers: Sequence[Peer] = ()) -> str:
    """A local server's configuration file; without `peers` it is standalone."""
    lines = {
        **properties(settings, bool(peers)),
        "dataDir": DATA,
    }
    if not any(peer.client for peer in peers):
        lines |= {"clientPort": str(client_port), "clientPortAddress": "127.0.0.1"}
    lines |= {f"server.{peer.server_id}": str(peer) for peer in peers}
    return "".join(f"{name}={value}\n" for name, value in lines.items())


#: The official image's variables for what it writes into `zoo.cfg` by itself.
_VARIABLES = {
    "tickTime": "ZOO_TICK_TIME",
    "initLimit": "ZOO_INIT_LIMIT",
    "syncLimit": "ZOO_SYNC_LIMIT",
    "maxClientCnxns": "ZOO_MAX_CLIENT_CNXNS",
    "admin.enableServer": "ZOO_ADMINSERVER_ENABLED",
    "4lw.commands.whitelist": "ZOO_4LW_COMMANDS_WHITELIST",
}


def environment(
    settings: ZooKeeperSettings, server_id: int, peers: Sequence[Peer]
) -> dict[str, str]:
    """The same configuration as variables of the official image.

    `peers` are an ensemble's servers; none or one for a standalone server. Source: the image's
    documentation.
    """
    wanted = properties(settings, len(peers) > 1, CONTAINER_FILES)
    variables = {
        variable: wanted.pop(name) for name, variable in _VARIABLES.items() if name in wanted
    }
    variables |= {
        "JVMFLAGS": " ".join(JVM_FLAGS),
        "ZOO_MY_ID": str(server_id),
        "ZOO_DATA_DIR": "/data",
        "ZOO_DATA_LOG_DIR": "/data",
        "ZOO_CFG_EXTRA": " ".join(f"{name}={value}" for name, value in wanted.items()),
    }
    if len(peers) > 1:
        variables["ZOO_SERVERS"] = " ".join(f"server.{peer.server_id}={peer}" for peer in peers)
    return variables


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

_LOG4J2 = """\
rootLogger = ${sys:labkit.log}, OUT
logger.words.name = org.apache.zookeeper.server.NIOServerCnxn
logger.words.level = WARN
appender.OUT.type = Console
appender.OUT.name = OUT
appender.OUT.layout.type = PatternLayout
appender.OUT.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
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
    (directory / "log4j2.properties").write_text(_LOG4J2)
    (directory / "simplelogger.properties").write_text(_SIMPLELOGGER)
