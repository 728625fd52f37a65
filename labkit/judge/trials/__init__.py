"""The rungs of the ladder: seeded trials, each with a lab of its own."""

from labkit.judge.trials import claiming
from labkit.judge.trials.trial import Rung

RUNGS = (
    Rung(1, "alone", "one server, asked 21 times", "04", claiming.alone),
    Rung(2, "all at once", "all servers asked at the same moment", "05", claiming.all_at_once),
    Rung(3, "stop and start", "servers end in order, others come", "04", claiming.stop_and_start),
    Rung(4, "crash", "servers killed, two of them while they claim", "02", claiming.crash),
)
