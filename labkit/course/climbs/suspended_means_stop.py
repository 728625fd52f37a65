"""No answer while kazoo says SUSPENDED, and none before ZooKeeper has confirmed the claim.

The first alone comes too late: of the requests that wait for a server when it wakes up, some are
answered before kazoo has looked at its connection.
"""

from itertools import count

from kazoo.exceptions import NodeExistsError

from labkit.fire import Unavailable


class SuspendedMeansStop:
    def start(self, zk, name):
        self.zk = zk
        self.name = name
        self.number = None
        self.connected = True
        zk.ensure_path("/sequence")

    def state(self, state):
        self.connected = state == "CONNECTED"
        if state == "LOST":
            self.number = None

    def sequence(self):
        if not self.connected:
            raise Unavailable("ZooKeeper is out of reach")
        if not self.is_mine(self.number):
            self.number = self.claim()
        return self.number

    def is_mine(self, number):
        found = number and self.zk.exists(f"/sequence/{number}")
        return bool(found) and found.ephemeralOwner == self.zk.client_id[0]

    def claim(self):
        while True:
            taken = self.zk.get_children("/sequence")
            number = next(n for n in count(1) if str(n) not in taken)
            try:
                self.zk.create(f"/sequence/{number}", self.name.encode(), ephemeral=True)
            except NodeExistsError:
                continue
            return number
