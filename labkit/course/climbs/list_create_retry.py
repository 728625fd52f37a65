"""The create decides, and who loses tries again: unique, but too sure of itself after a pause."""

from itertools import count

from kazoo.exceptions import NodeExistsError


class ListCreateRetry:
    def start(self, zk, name):
        self.zk = zk
        self.name = name
        self.number = None
        zk.ensure_path("/sequence")

    def state(self, state):
        if state == "LOST":
            self.number = None

    def sequence(self):
        while self.number is None:
            taken = self.zk.get_children("/sequence")
            number = next(n for n in count(1) if str(n) not in taken)
            try:
                self.zk.create(f"/sequence/{number}", self.name.encode(), ephemeral=True)
            except NodeExistsError:
                continue
            self.number = number
        return self.number
