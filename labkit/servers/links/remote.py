"""Links in a process of their own, which goes on while the owner's Python is busy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from labkit.errors import BackendError, ServerNotFound
from labkit.servers.helper import ENDED, Answer, Helper, HelperError
from labkit.servers.links.fault import LinkFault

_ERRORS = {"ServerNotFound": ServerNotFound, "ValueError": ValueError}


class RemoteForwarder:
    """A `Forwarder` in another process; the methods that both have promise the same.

    A cell of a notebook that holds Python's lock, as a long regular expression does, stops every
    thread of its process: links in one of them would stop too, and every node lose its session.
    The process carries the lab's id for the reaper, and ends with its owner.
    """

    def __init__(self, lab_id: str, log: Path) -> None:
        self._helper = Helper("labkit.servers.links", lab_id, log)

    def start(self) -> RemoteForwarder:
        """Launch the process; does not wait until it is loaded."""
        self._helper.launch()
        return self

    def link(
        self,
        source: str,
        target: str,
        to: tuple[str, int],
        channel: str = "",
        retry: float = 0.0,
    ) -> int:
        """See `Forwarder.link`."""
        port: int = self._order(
            "link", source=source, target=target, to=to, channel=channel, retry=retry
        )
        return port

    def translate(self, source: str, target: str, channel: str, old: str, new: str) -> None:
        """See `Forwarder.translate`."""
        self._order("translate", source=source, target=target, channel=channel, old=old, new=new)

    def fault(self, source: str, target: str, fault: LinkFault | None) -> None:
        """See `Forwarder.fault`."""
        detail = None if fault is None else asdict(fault)
        self._order("fault", source=source, target=target, fault=detail)

    def heal(self) -> None:
        """See `Forwarder.heal`."""
        self._order("heal")

    def unlink(self, server: str) -> None:
        """See `Forwarder.unlink`."""
        self._order("unlink", server=server)

    def close(self) -> None:
        """End the process, and with it every connection and port. Idempotent."""
        self._helper.close()

    def __enter__(self) -> RemoteForwarder:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, verb: str, **given: Any) -> Any:
        answer: Answer = Answer()
        self._helper.order(answer, {"verb": verb, **given})
        try:
            return answer.result()
        except HelperError as error:
            if error.kind == ENDED:
                raise BackendError(
                    "The process that carries the links between nodes and ZooKeeper does not run, "
                    f"so no node reaches ZooKeeper: {error} Close the lab and start another one."
                ) from error
            raise _ERRORS.get(error.kind, BackendError)(str(error)) from error
