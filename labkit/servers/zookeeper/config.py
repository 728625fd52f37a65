"""The files that a ZooKeeper server is configured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
