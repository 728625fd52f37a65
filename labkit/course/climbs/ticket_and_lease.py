"""The lab's own idea on a page: a ticket, a lease by one's own clock, and a fencing token."""

import threading
from itertools import count, islice
from time import monotonic, sleep

from labkit.fire import Unavailable


class TicketAndLease:
    def start(self, zk, name):
        self.zk, self.name, self.half = zk, name, zk.timeout / 2  # of the session's timeout
        self.session = self.number = self.czxid = self.doubt = self.until = self.row = self.last = 0
        zk.ensure_path("/sequence")

    def sequence(self):
        session = self.zk.client_id and self.zk.client_id[0]
        if session and session != self.session:
            self.claim(session)
        if not session or monotonic() >= self.until:
            raise Unavailable("the lease has lapsed")
        return self.number

    def token(self):
        return self.czxid

    def claim(self, session):
        if self.doubt:  # a reply was lost: give back whatever this session has got
            self.zk.sync("/sequence")
            for path in [f"/sequence/{name}" for name in self.zk.get_children("/sequence")]:
                if (stat := self.zk.exists(path)) and stat.ephemeralOwner == session:
                    self.zk.delete(path)
        self.doubt = True
        ticket = self.zk.create(f"/sequence/ticket-{self.name}-", ephemeral=True, sequence=True)
        while True:  # a finished claim takes its ticket along, so the ranks of others stay right
            names = sorted(self.zk.get_children("/sequence"), key=lambda name: name[-10:])
            rank = [name for name in names if "ticket" in name].index(ticket[10:])
            number = next(islice((n for n in count(1) if str(n) not in names), rank, None))
            sent, both = monotonic(), self.zk.transaction()
            both.create(f"/sequence/{number}", b"", ephemeral=True)
            both.delete(ticket)
            if not any(isinstance(result, Exception) for result in both.commit()):
                break
        self.number, self.czxid = number, self.zk.exists(f"/sequence/{number}").czxid
        self.session, self.until = session, sent + self.half
        self.last, self.doubt = sent, False
        threading.Thread(target=self.keep, args=[session], daemon=True).start()

    def keep(self, session):  # only a write that was acknowledged proves that the session lives
        while session == self.session:  # and after a silence it takes two, half a timeout apart
            sleep(self.half / 5)
            sent, write = monotonic(), self.zk.set_async(f"/sequence/{self.number}", b"")
            try:
                kept = write.get(timeout=self.half).czxid == self.czxid
            except Exception:
                kept = False
            self.row = self.row if sent - self.last < self.half else sent
            self.last = sent if kept else 0.0
            if kept and sent - self.row >= self.half:
                self.until = sent + self.half
