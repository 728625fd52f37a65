"""As before, and no reply is lost on it. But a follower answers reads for sessions that ended."""

from itertools import count

from kazoo.exceptions import NodeExistsError

from labkit.fire import Unavailable


class ReadsProveNothing:
    def start(self, zk, name):
        self.zk = zk
        self.name = name
        self.number = None
        self.connected = True
        self.doubt = False
        zk.ensure_path("/sequence")

    def state(self, state):
        self.connected = state == "CONNECTED"

    def sequence(self):
        if not self.connected:
            raise Unavailable("ZooKeeper is out of reach")
        if self.doubt:
            self.give_back()
        if not self.is_mine(self.number):
            self.doubt = True
            self.number = self.claim()
            self.doubt = False
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

    def give_back(self):
        self.zk.sync("/sequence")
        for number in self.zk.get_children("/sequence"):
            if self.is_mine(number):
                self.zk.delete(f"/sequence/{number}")
