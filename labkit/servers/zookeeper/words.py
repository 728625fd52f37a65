"""What a running ZooKeeper says: four-letter words, and the official command line."""

from __future__ import annotations

import re
import socket

from labkit.errors import BackendError


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
    r"Connecting to .*|Welcome to ZooKeeper!|JLine support.*|\[zk: .*\d\] ?.*|WATCHER::|"
    r"(?:NOTE: )?Picked up \w+: .*|"
    r"WatchedEvent .*|SLF4J: .*|(\[\S+\] |\d{4}-\d\d-\d\d .* - )(INFO|WARN|ERROR)\b.*|\s*"
)
_JAVA_STACK = re.compile(r"^\s+at [\w.$/]+\(.*\)$", re.MULTILINE)
_THROWN = re.compile(r'(?:Exception in thread "\w+" )?(?:\w+\.)+(?:\w+\$)?(\w+): (.*)')


def cli_answer(command: str, output: str, code: int) -> str:
    """What a command of `zkCli.sh` answered, without its connection banner and its log.

    The command line ends with a code other than 0 also for a plain answer such as "Node does not
    exist: /x". Raises `BackendError` if it could not do its work: it lost its connection, or broke
    with a Java stack trace.
    """
    lines = (line.rstrip() for line in output.splitlines())
    answer = "\n".join(line for line in lines if not _CLI_NOISE.fullmatch(line))
    if code == 0:
        return answer
    if "ConnectionLoss" in answer:
        raise BackendError(
            f"zkCli.sh {command!r} lost its connection: ZooKeeper serves nobody at present. "
            "lab.zookeeper says what state its servers are in."
        )
    if _JAVA_STACK.search(answer):
        thrown = _THROWN.search(answer)
        said = f"{thrown[1]}: {thrown[2]}" if thrown else answer.splitlines()[0]
        raise BackendError(
            f"zkCli.sh {command!r} broke with {said}. Is every argument of the kind that the "
            "command expects? lab.zkcli('help') lists them."
        )
    return answer
