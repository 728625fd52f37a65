"""Which schedule breaks it? Every order of an algorithm's calls, notices and faults, on a model.

    explore(acquire, as_a="lock", users=2, faults=1)      # all that can happen to two users
    explore(MyServer, nodes=2, requests=2, faults=1)      # a server's numbers
    explore(specification)                                # one's own: see `specification`

The shortest schedule that breaks it comes first; if none does, all states were seen, within the
scope that `found.scope` tells.
"""

from labkit.explore.specification import Specification, like
from labkit.explore.verb import explore

__all__ = ["Specification", "explore", "like"]
