"""The rungs of the ladder: seeded trials, each with a lab of its own."""

from labkit.judge.rungs import claiming, costs, outages, quorums, replies
from labkit.judge.rungs.trial import Rung

RUNGS = (
    Rung(1, "alone", "one server, asked 21 times", "04", claiming.alone, seconds=2),
    Rung(
        2,
        "all at once",
        "all servers asked at the same moment",
        "05",
        claiming.all_at_once,
        seconds=3,
    ),
    Rung(
        3,
        "stop and start",
        "servers end in order, others come",
        "04",
        claiming.stop_and_start,
        seconds=3,
    ),
    Rung(
        4, "crash", "servers killed, two of them while they claim", "02", claiming.crash, seconds=7
    ),
    Rung(
        5,
        "ZooKeeper restarts",
        "ZooKeeper goes for a moment, and for long",
        "06",
        outages.zookeeper_restarts,
        seconds=14,
    ),
    Rung(
        6,
        "frozen",
        "servers sleep past their timeout while requests queue",
        "07",
        outages.frozen,
        seconds=8,
    ),
    Rung(
        7,
        "cut off",
        "links to ZooKeeper break while all are asked",
        "07",
        outages.cut_off,
        seconds=15,
    ),
    Rung(
        8,
        "lost replies",
        "each reply of a claim is lost once, then two of them",
        "03b",
        replies.lost_replies,
        seconds=9,
    ),
    Rung(
        9,
        "ensemble",
        "one of three ZooKeeper servers dies, freezes, is isolated",
        "09",
        quorums.ensemble,
        seconds=30,
        labs=2,
    ),
    Rung(
        10,
        "everything",
        "everything at random, for 30 s, on one ZooKeeper server and on three",
        "13",
        quorums.everything,
        seconds=40,
        labs=2,
    ),
    Rung(
        11,
        "cheap",
        "8 and 63 servers claim at once, and requests are counted",
        "05",
        costs.cheap,
        measures=True,
    ),
    Rung(12, "fast", "servers start by turns with the lab's own", "04", costs.fast, measures=True),
)
