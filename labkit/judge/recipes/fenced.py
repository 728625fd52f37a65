"""kazoo's lock and election with a fencing token: the number of the znode that stands in line."""

from __future__ import annotations

from kazoo.recipe.election import Election
from kazoo.recipe.lock import Lock


def _place(lock: Lock) -> int:
    """The sequence number that ZooKeeper gave this contender."""
    if lock.node is None:
        raise ValueError("a lock that is not held has no token")
    return int(lock.node[-10:])


class FencedLock(Lock):
    """A lock whose `token` grows with each holder, for the resource to refuse older ones."""

    def token(self) -> int:
        """Grows with each holder."""
        return _place(self)


class FencedElection(Election):
    """An election whose `token` grows with each leader: its epoch."""

    def token(self) -> int:
        """The leader's epoch."""
        return _place(self.lock)
