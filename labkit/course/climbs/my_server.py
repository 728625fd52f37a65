"""The server that grows on pages 04 to 09b: what each page adds, one class on top of the other."""

from itertools import count, islice
from threading import Thread
from time import monotonic, sleep

from labkit.fire import Unavailable


# --- page 04: one claim
class MyServer:
    def start(self, zk, name):
        self.zk, self.number = zk, None
        zk.ensure_path("/sequence")

    def sequence(self):
        if self.number is None:
            self.number = self.claim()
        return self.number

    def claim(self):
        taken = self.zk.get_children("/sequence")
        number = next(n for n in count(1) if str(n) not in taken)
        self.zk.create(f"/sequence/{number}", ephemeral=True)
        return number


# --- page 05: a ticket
class MyServer(MyServer):
    def claim(self):
        ticket = self.zk.create("/sequence/ticket-", ephemeral=True, sequence=True)
        while True:
            names = sorted(self.zk.get_children("/sequence"), key=lambda name: name[-10:])
            ahead = [name for name in names if "ticket" in name].index(ticket[10:])
            number = next(islice((n for n in count(1) if str(n) not in names), ahead, None))
            both = self.zk.transaction()
            both.create(f"/sequence/{number}", ephemeral=True)
            both.delete(ticket)
            if not any(isinstance(result, Exception) for result in both.commit()):
                return number


# --- page 06: a number belongs to a session
class MyServer(MyServer):
    session = None

    def sequence(self):
        if not self.zk.connected:
            raise Unavailable("ZooKeeper is out of reach")
        session = self.zk.client_id[0]
        if session != self.session:
            self.number, self.session = self.claim(), session
        return self.number


# --- page 07: a lease
class MyServer(MyServer):
    until = 0  # by this server's own clock

    def claim(self):
        sent = monotonic()
        self.number, self.session = super().claim(), self.zk.client_id[0]
        self.until = sent + self.zk.timeout / 2
        Thread(target=self.keep, args=[self.session], daemon=True).start()
        return self.number

    def sequence(self):
        number = super().sequence()
        if monotonic() >= self.until:
            raise Unavailable("the lease has lapsed")
        return number

    def keep(self, session):
        while self.session == session:  # also while there is no connection
            sleep(self.zk.timeout / 10)
            sent = monotonic()
            if self.confirmed(session):
                self.until = sent + self.zk.timeout / 2

    def confirmed(self, session):  # by a write: reads prove nothing
        write = self.zk.set_async(f"/sequence/{self.number}", b"")
        try:
            return write.get(timeout=self.zk.timeout / 2).ephemeralOwner == session
        except Exception:
            return False


# --- page 08: a token
class MyServer(MyServer):
    czxid = None

    def claim(self):
        number = super().claim()
        self.czxid = self.zk.exists(f"/sequence/{number}").czxid
        return number

    def token(self):
        return self.czxid


# --- page 09b: in doubt
class MyServer(MyServer):
    doubt = False  # whether a claim has begun of which nobody knows what came

    def claim(self):
        if self.doubt:
            self.zk.sync("/sequence")
            for path in [f"/sequence/{name}" for name in self.zk.get_children("/sequence")]:
                stat = self.zk.exists(path)
                if stat and stat.ephemeralOwner == self.zk.client_id[0]:
                    self.zk.delete(path)
        self.doubt = True
        number = super().claim()
        self.doubt = False
        return number

    def keep(self, session):  # after a silence it takes two writes, half a timeout apart
        half, row, last = self.zk.timeout / 2, 0, monotonic()
        while self.session == session:  # also while there is no connection
            sleep(half / 5)
            sent = monotonic()
            kept = self.confirmed(session)
            row = row if sent - last < half else sent
            last = sent if kept else 0
            if kept and sent - row >= half:
                self.until = sent + half
