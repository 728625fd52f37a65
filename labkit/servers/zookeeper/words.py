"""What a running ZooKeeper says: four-letter words, and the official command line."""

from __future__ import annotations

import re
import socket


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
