"""Page 15: an ACL guards one znode; whether that can be deleted, its parent decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.security import ACL, Id, Permissions

from labkit.course.exercises.exercise import HOLDS, Exercise
from labkit.course.exercises.harness import Harness

if TYPE_CHECKING:
    from kazoo.client import KazooClient

_ANYONE = Id("world", "anyone")
_ANN = Id("digest", "ann:bm9ib2R5IGtub3dzIHdoYXQ=")
_OPEN = [ACL(Permissions.ALL, _ANYONE)]

# What is made here has to go again: all of it can be read and deleted, or opened, by anyone.
_KEPT = Permissions.READ | Permissions.DELETE


# --- can a stranger delete it? ----------------------------------------------------------------


def deletable(zk: KazooClient, path: str) -> bool:
    parent = path.rpartition("/")[0] or "/"
    acls, _ = zk.get_acls(parent)
    return any(a.id.scheme == "world" and a.perms & Permissions.DELETE for a in acls)


def _own(zk: KazooClient, path: str) -> bool:
    """Looks at the znode's own ACL, whose DELETE is about its children."""
    acls, _ = zk.get_acls(path)
    return any(a.id.scheme == "world" and a.perms & Permissions.DELETE for a in acls)


def _all_or_none(zk: KazooClient, path: str) -> bool:
    """Sees nothing between all rights and none."""
    acls, _ = zk.get_acls(path.rpartition("/")[0] or "/")
    return any(a.id.scheme == "world" and a.perms == Permissions.ALL for a in acls)


def _anybodys(zk: KazooClient, path: str) -> bool:
    """Takes a right of Ann's for everybody's."""
    acls, _ = zk.get_acls(path.rpartition("/")[0] or "/")
    return any(a.perms & Permissions.DELETE for a in acls)


def _judge_deletable(harness: Harness) -> None:
    zk, you = harness.zk, harness.client()
    closed = Permissions.READ | Permissions.ADMIN
    for name, above, own, wanted, why in (
        ("open", _OPEN, _OPEN, True, "Anyone may delete children of its parent."),
        ("box", _OPEN, [ACL(closed, _ANYONE)], True, "Its parent is open, whatever its own ACL."),
        ("safe", [ACL(closed, _ANYONE)], _OPEN, False, "Its parent gives nobody DELETE."),
        ("some", [ACL(_KEPT | closed, _ANYONE)], _OPEN, True, "Its parent gives anyone DELETE."),
        (
            "ann",
            [ACL(Permissions.ALL, _ANN), ACL(closed, _ANYONE)],
            _OPEN,
            False,
            "Only Ann has DELETE at its parent.",
        ),
    ):
        parent = f"{harness.root}/{name}"
        zk.create(f"{parent}", b"")
        zk.create(f"{parent}/it", b"", acl=own)
        zk.set_acls(parent, above)
        try:
            harness.equal(harness.call(you, f"{parent}/it", kind=bool), wanted, why)
        finally:
            zk.set_acls(parent, _OPEN)


# --- what can anyone change? ------------------------------------------------------------------


def open_doors(zk: KazooClient, path: str) -> list[str]:
    acls, _ = zk.get_acls(path)
    writable = any(a.id.scheme == "world" and a.perms & Permissions.WRITE for a in acls)
    found = [path] if writable else []
    for name in zk.get_children(path):
        found += open_doors(zk, f"{path}/{name}")
    return sorted(found)


def _inherited(zk: KazooClient, path: str) -> list[str]:
    """Takes it that what is below a guarded znode is guarded, too."""
    acls, _ = zk.get_acls(path)
    if not any(a.id.scheme == "world" and a.perms & Permissions.WRITE for a in acls):
        return []
    found = [path]
    for name in zk.get_children(path):
        found += _inherited(zk, f"{path}/{name}")
    return sorted(found)


def _shallow(zk: KazooClient, path: str) -> list[str]:
    """Looks at the children and no further."""
    found = []
    for name in (path, *(f"{path}/{child}" for child in zk.get_children(path))):
        acls, _ = zk.get_acls(name)
        if any(a.id.scheme == "world" and a.perms & Permissions.WRITE for a in acls):
            found.append(name)
    return sorted(found)


def _first(zk: KazooClient, path: str) -> list[str]:
    """Looks at the first line of an ACL, and there may be several."""
    acl = zk.get_acls(path)[0][0]
    found = [path] if acl.id.scheme == "world" and acl.perms & Permissions.WRITE else []
    for name in zk.get_children(path):
        found += _first(zk, f"{path}/{name}")
    return sorted(found)


def _everything(zk: KazooClient, path: str) -> list[str]:
    """Finds only what is open altogether."""
    acls, _ = zk.get_acls(path)
    found = [path] if ACL(Permissions.ALL, Id("world", "anyone")) in acls else []
    for name in zk.get_children(path):
        found += _everything(zk, f"{path}/{name}")
    return sorted(found)


def _judge_doors(harness: Harness) -> None:
    zk, you, top = harness.zk, harness.client(), f"{harness.root}/top"
    guarded = [ACL(Permissions.ALL, _ANN), ACL(_KEPT, _ANYONE)]
    tree = (
        ("", guarded),
        ("/shut", guarded),
        ("/shut/forgotten", _OPEN),
        ("/shut/forgotten/shut", guarded),
        ("/some", [ACL(Permissions.ALL, _ANN), ACL(_KEPT | Permissions.WRITE, _ANYONE)]),
    )
    for path, _ in tree:
        zk.create(f"{top}{path}")
    for path, acls in tree:
        zk.set_acls(f"{top}{path}", acls)
    wanted = [f"{top}/shut/forgotten", f"{top}/some"]
    harness.equal(harness.call(you, top, kind=list), wanted, "ACLs are not inherited.")


EXERCISES = (
    Exercise(
        id="deletable",
        page="15",
        title="Can it be thrown away?",
        question=(
            "The znode at `path` has no children. Return whether a client that has shown no "
            "password may delete it: `True` or `False`. Don't try it out; look at ACLs. You may "
            f"read all of those that you need. {HOLDS}"
        ),
        hints=(
            "`acls, stat = zk.get_acls(path)`. Of each of the `acls`, `.id.scheme` says for whom "
            "it is (`world` is anyone) and `.perms` which rights it gives.",
            "`.perms` is a sum of `Permissions.READ`, `WRITE`, `CREATE`, `DELETE` and `ADMIN` "
            "(from `kazoo.security`): `acl.perms & Permissions.DELETE`.",
            "DELETE of which znode?",
        ),
        answer=deletable,
        wrong=(_own, _all_or_none, _anybodys),
        judge=_judge_deletable,
    ),
    Exercise(
        id="open-doors",
        page="15",
        title="Doors left open",
        question=(
            "Return the paths of all znodes, `path` itself and everything below it, whose data "
            f"anyone may change: a sorted list. {HOLDS}"
        ),
        hints=(
            "Anyone is the scheme `world`; to change data is `Permissions.WRITE` (from "
            "`kazoo.security`), which is one bit of an ACL's `.perms`.",
            "A znode may have several ACLs, and its children have their own.",
        ),
        answer=open_doors,
        wrong=(_inherited, _shallow, _first, _everything),
        judge=_judge_doors,
    ),
)
