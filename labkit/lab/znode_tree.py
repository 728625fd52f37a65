"""The znodes at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from labkit.errors import BackendError

_TIMEOUT = 2.0  # seconds for an answer of ZooKeeper's


@dataclass(frozen=True)
class TreeLine:
    """One znode: its path, data, depth below the root shown, and the session that owns it."""

    path: str
    data: str
    depth: int
    owner: int  # 0: persistent


class Tree:
    """The znodes at one moment, printed as a tree.

    A notebook breaks a line where its window ends, even inside of a URL: a claim's is short.
    """

    def __init__(
        self,
        lines: Sequence[TreeLine],
        names: Mapping[str | None, str],
        links: Mapping[str, str] | None = None,
    ) -> None:
        self.lines = lines
        self._names = names
        self._links = links or {}  # what a reader follows instead of a server's own URL

    def __repr__(self) -> str:
        return "\n".join(self._format(line) for line in self.lines)

    def _format(self, line: TreeLine) -> str:
        name = line.path if line.depth == 0 else line.path.rsplit("/", 1)[-1]
        text = "    " * line.depth + name
        if line.owner:
            session = f"0x{line.owner:x}"
            who = self._names.get(session)
            text += f"  ephemeral of {f'{who} ({session})' if who else f'session {session}'}"
        if line.data:
            data = line.data[:80]
            for url, link in self._links.items():
                data = data.replace(f'"{url}"', f'"{link}"')
            text += f"  {data}"
        return text


def look(zk: KazooClient, path: str) -> list[TreeLine]:
    """The znodes below `path`, read by the lab's own client.

    Raises `BackendError` when ZooKeeper does not answer.
    """
    try:
        return list(walk(zk, path, depth=0))
    except ConnectionClosedError as error:
        raise BackendError(
            "lab.zk, the client that the lab looks with, was stopped. Connect it again: "
            "lab.zk.start()"
        ) from error
    except (KazooException, KazooTimeoutError) as error:
        raise BackendError(
            "ZooKeeper does not answer, so nobody can say what it holds. If it is stopped, "
            "start it: lab.zookeeper.start()"
        ) from error


def walk(zk: KazooClient, path: str, depth: int) -> Iterator[TreeLine]:
    try:
        # kazoo keeps a request until it is connected again: for ever, if nobody sets a limit.
        data, stat = zk.get_async(path).get(timeout=_TIMEOUT)
        children = zk.get_children_async(path).get(timeout=_TIMEOUT)
    except NoNodeError:
        return  # it went while we looked
    yield TreeLine(path, data.decode(errors="replace"), depth, stat.ephemeralOwner)
    for child in sorted(children, key=lambda name: (not name.isdigit(), name.zfill(12))):
        if path == "/" and child == "zookeeper":
            continue  # ZooKeeper's own
        yield from walk(zk, f"{path.rstrip('/')}/{child}", depth + 1)
