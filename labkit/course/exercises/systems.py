"""Page 17: who can be used, by Solr's layout; and how one becomes the controller, by Kafka's."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import ConnectionLoss, KazooException, NodeExistsError, NoNodeError

from labkit.course.exercises.exercise import BREAKS, HOLDS, LAGS, Exercise
from labkit.course.exercises.harness import Harness
from labkit.course.exercises.orders import Code, in_every_order, lagging, users
from labkit.explore.actor import Me
from labkit.explore.specification import Specification
from labkit.explore.world import World

if TYPE_CHECKING:
    from kazoo.client import KazooClient


# --- which replicas can be asked? -------------------------------------------------------------


def usable(zk: KazooClient, root: str, collection: str) -> list[str]:
    try:
        data, _ = zk.get(f"{root}/collections/{collection}/state.json")
    except NoNodeError:
        return []
    live = zk.get_children(f"{root}/live_nodes")
    found = []
    for shard in json.loads(data)[collection]["shards"].values():
        for name, replica in shard["replicas"].items():
            if replica["state"] == "active" and replica["node_name"] in live:
                found.append(name)
    return sorted(found)


def _believing(zk: KazooClient, root: str, collection: str) -> list[str]:
    """Believes what the state says of the dead."""
    data, _ = zk.get(f"{root}/collections/{collection}/state.json")
    shards = json.loads(data)[collection]["shards"].values()
    replicas = [item for shard in shards for item in shard["replicas"].items()]
    return sorted(name for name, replica in replicas if replica["state"] == "active")


def _living(zk: KazooClient, root: str, collection: str) -> list[str]:
    """Takes a server that lives for one that is ready: it may still be recovering."""
    data, _ = zk.get(f"{root}/collections/{collection}/state.json")
    live = zk.get_children(f"{root}/live_nodes")
    shards = json.loads(data)[collection]["shards"].values()
    replicas = [item for shard in shards for item in shard["replicas"].items()]
    return sorted(name for name, replica in replicas if replica["node_name"] in live)


def _one_shard(zk: KazooClient, root: str, collection: str) -> list[str]:
    """Looks at one shard, and there may be several."""
    data, _ = zk.get(f"{root}/collections/{collection}/state.json")
    live = zk.get_children(f"{root}/live_nodes")
    replicas = json.loads(data)[collection]["shards"]["shard1"]["replicas"]
    return sorted(
        name
        for name, replica in replicas.items()
        if replica["state"] == "active" and replica["node_name"] in live
    )


def _expecting(zk: KazooClient, root: str, collection: str) -> list[str]:
    """Expects a znode that need not be there."""
    data, _ = zk.get(f"{root}/collections/{collection}/state.json")
    live = zk.get_children(f"{root}/live_nodes")
    shards = json.loads(data)[collection]["shards"].values()
    replicas = [item for shard in shards for item in shard["replicas"].items()]
    return sorted(
        name
        for name, replica in replicas
        if replica["state"] == "active" and replica["node_name"] in live
    )


def _judge_usable(harness: Harness) -> None:
    zk, you, root = harness.zk, harness.client(), harness.root
    nodes = {name: f"{name}:8983_solr" for name in ("ant", "bee", "cat")}
    zk.create(f"{root}/live_nodes")
    for node in nodes.values():
        zk.create(f"{root}/live_nodes/{node}", ephemeral=True)

    def replica(node: str, state: str = "active") -> dict[str, Any]:
        return {"node_name": nodes[node], "state": state}

    shards = {
        "shard1": {
            "replicas": {
                "core_node1": replica("ant"),
                "core_node2": replica("bee"),
                "core_node3": replica("cat", "recovering"),
            }
        },
        "shard2": {"replicas": {"core_node4": replica("bee"), "core_node5": replica("ant")}},
    }
    path = f"{root}/collections/films/state.json"
    zk.create(path, json.dumps({"films": {"shards": shards}}).encode(), makepath=True)

    def judge(wanted: list[str], why: str, collection: str = "films") -> None:
        harness.equal(harness.call(you, root, collection, kind=list), wanted, why)

    first, second = ["core_node1", "core_node2"], ["core_node4", "core_node5"]
    judge([*first, *second], "One of five is recovering, all servers live.")
    harness.note("ZooKeeper", "bee's session has ended")
    zk.delete(f"{root}/live_nodes/{nodes['bee']}")
    judge(["core_node1", "core_node5"], "bee is dead, and nobody has written so.")
    judge([], "There is no such collection.", "books")


# --- become the controller --------------------------------------------------------------------


def lead(zk: KazooClient, root: str, broker: bytes) -> int | None:
    while True:
        data, stat = zk.retry(zk.get, f"{root}/controller_epoch")
        epoch = int(data) + 1
        change = zk.transaction()
        change.create(f"{root}/controller", broker, ephemeral=True)
        change.set_data(f"{root}/controller_epoch", b"%d" % epoch, version=stat.version)
        with suppress(ConnectionLoss):
            if not any(isinstance(result, Exception) for result in change.commit()):
                return epoch
        leader = zk.retry(zk.exists, f"{root}/controller")
        if leader and leader.ephemeralOwner == zk.client_id[0]:
            return int(zk.retry(zk.get, f"{root}/controller_epoch")[0])
        if leader:
            return None


def _attempt(zk: KazooClient, root: str, broker: bytes) -> int | None:
    data, stat = zk.get(f"{root}/controller_epoch")
    epoch = int(data) + 1
    change = zk.transaction()
    change.create(f"{root}/controller", broker, ephemeral=True)
    change.set_data(f"{root}/controller_epoch", b"%d" % epoch, version=stat.version)
    refused = any(isinstance(result, Exception) for result in change.commit())
    return None if refused else epoch


def _two_steps(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Leads before it has an epoch: a crash between the two leaves a leader under the old one."""
    try:
        zk.create(f"{root}/controller", broker, ephemeral=True)
    except NodeExistsError:
        return None
    epoch = int(zk.get(f"{root}/controller_epoch")[0]) + 1
    zk.set(f"{root}/controller_epoch", b"%d" % epoch)
    return epoch


def _epoch_first(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Takes an epoch before it knows that it leads: whoever does lead is locked out by that."""
    data, stat = zk.get(f"{root}/controller_epoch")
    epoch = int(data) + 1
    zk.set(f"{root}/controller_epoch", b"%d" % epoch, version=stat.version)
    try:
        zk.create(f"{root}/controller", broker, ephemeral=True)
    except NodeExistsError:
        return None
    return epoch


def _unchecked(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Takes a commit that returns for one that was carried out."""
    epoch = int(zk.get(f"{root}/controller_epoch")[0]) + 1
    change = zk.transaction()
    change.create(f"{root}/controller", broker, ephemeral=True)
    change.set_data(f"{root}/controller_epoch", b"%d" % epoch)
    change.commit()
    return epoch


def _unguarded(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Writes the epoch over whatever came since: two have led under the same one."""
    epoch = int(zk.get(f"{root}/controller_epoch")[0]) + 1
    change = zk.transaction()
    change.create(f"{root}/controller", broker, ephemeral=True)
    change.set_data(f"{root}/controller_epoch", b"%d" % epoch)
    return None if any(isinstance(r, Exception) for r in change.commit()) else epoch


def _giving_up(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Takes every refusal for a leader: here the epoch had moved, and nobody leads."""
    return _attempt(zk, root, broker)


def _losing(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Lets a lost reply through, and doesn't know that it leads."""
    while True:
        if (epoch := _attempt(zk, root, broker)) or zk.exists(f"{root}/controller"):
            return epoch


def _unaware(zk: KazooClient, root: str, broker: bytes) -> int | None:
    """Tries again after a lost reply, and takes itself for somebody else who leads."""
    while True:
        with suppress(ConnectionLoss):
            if (epoch := _attempt(zk, root, broker)) or zk.exists(f"{root}/controller"):
                return epoch


def _leads(code: Code, root: str, many: int = 2) -> Specification:
    controller, counter = f"{root}/controller", f"{root}/controller_epoch"

    def use(me: Me) -> None:
        epoch = code(me, root, me.name.encode(), kind=int, none=True)
        me.says(returns=repr(epoch))
        if epoch is not None:
            me.knows(leads=epoch, had=epoch)
            me.pause("leads")
            me.knows(leads=None)
            with suppress(KazooException):
                me.zk.stop()  # its znode goes with its session

    def never(world: World) -> str | None:
        owner, now = world.owner(controller), int(world.data(counter) or 0)
        had = [actor.believes("had") for actor in world.actors]
        if had[0] is not None and had[0] == had[-1] and len(had) > 1:
            return f"both have led under epoch {now}"
        for actor in world.actors:
            epoch, mine = actor.believes("leads"), owner == actor.session
            if mine and (now == 4 or now in [e for e in had if e != actor.believes("had")]):
                return f"{actor.name} leads without an epoch of its own: write both at once"
            if actor.says("returns") == "None" and (mine or owner is None):
                return f"{actor.name} returned None, and {'it leads' if mine else 'nobody leads'}"
            if epoch is not None and not mine:
                return f"{actor.name} returned {epoch}, and does not lead"
            if epoch is not None and epoch != now:
                return f"{actor.name} leads under {epoch}, and the epoch has become {now}"
        return None

    return users(code, use, many, never=never, znodes=[(root, b""), (counter, b"4")])


def _leads_lagging(code: Code, root: str) -> Specification:
    return lagging(_leads(code, root, 1))


EXERCISES = (
    Exercise(
        id="usable-replicas",
        page="17",
        title="Whom can I ask?",
        question=(
            "By Solr's layout: the JSON in `root/collections/NAME/state.json` is `{NAME: "
            '{"shards": {shard: {"replicas": {replica: {"node_name": ..., "state": ...}}}}}}`; '
            "the children of `root/live_nodes` are the nodes that live. Return the names of all "
            "replicas of `collection`, over all shards, that are `active` on a node that lives: a "
            f"sorted list. If there is no such collection, return an empty list. {HOLDS}"
        ),
        hints=(
            "`json.loads(data)[collection]['shards'].values()` are the shards; each has "
            "`['replicas'].items()`.",
            "A replica counts if its `state` is `active` *and* its `node_name` is among "
            "`zk.get_children(f'{root}/live_nodes')`.",
            "`zk.get` of a znode that isn't there raises `NoNodeError`, from `kazoo.exceptions`.",
        ),
        answer=usable,
        wrong=(_believing, _living, _one_shard, _expecting),
        judge=_judge_usable,
    ),
    Exercise(
        id="lead",
        page="17",
        title="Who leads, and since when?",
        question=(
            "By Kafka's layout: whoever creates the ephemeral `root/controller` leads, and "
            "`root/controller_epoch` holds the number of the last one who led, as text. Try to "
            "lead, with `broker` (bytes) as data: create the one and increase the other in one "
            "transaction, so that no epoch is ever had twice. Return your epoch, an int, when you "
            "lead, and `None` when somebody else does; if nobody does, try again. "
            f"{BREAKS} {LAGS} Find out: your session is `zk.client_id[0]`."
        ),
        hints=(
            "Read the epoch with its `stat`, and write it with `version=stat.version`: if a rival "
            "has led meanwhile, the whole transaction is refused.",
            "A refused `commit()` returns a list with exceptions in it. Refused can mean that "
            "somebody leads, or that the epoch has moved; `zk.exists` tells the two apart.",
            "After `ConnectionLoss`, look at `controller` with `zk.retry`: is its "
            "`ephemeralOwner` your session?",
        ),
        answer=lead,
        wrong=(
            _two_steps,
            _epoch_first,
            _unchecked,
            _unguarded,
            _giving_up,
            _losing,
            _unaware,
        ),
        judge=in_every_order(_leads, _leads_lagging),
    ),
)
