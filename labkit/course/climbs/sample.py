"""The C# sample's algorithm. Two that start at the same time are enough to break it."""

from itertools import pairwise

from kazoo.exceptions import KazooException


class Sample:
    def start(self, zk, name):
        self.zk = zk
        self.name = name
        self.number = 0
        zk.ensure_path("/sequence")

    def state(self, state):
        if state != "CONNECTED":
            self.number = 0

    def sequence(self):
        tries = 0
        while not self.number and tries < 5:
            number = next_number(self.zk.get_children("/sequence"))
            try:
                self.zk.create(f"/sequence/{number}", self.name.encode(), ephemeral=True)
                self.number = number
            except KazooException:
                tries += 1
        return self.number or number


def next_number(children):
    taken = [int(name) for name in children]
    for before, after in pairwise(taken):
        if after - before > 1:
            return before + 1
    return len(taken) + 1
