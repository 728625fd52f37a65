"""The ladder: what is right climbs, what is wrong falls where it has to, and says why."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from left import labs_of, processes_of

from labkit.course import climbs
from labkit.errors import ConfigError, ServerNotFound, StartTimeout
from labkit.explore import explore
from labkit.fire import ladder
from labkit.judge.ladder import TOP, Attempt, Climb, SideBySide, Step, attempt, climb, search
from labkit.judge.rungs import RUNGS
from labkit.judge.rungs.trial import Cancelled, Finding, Rung, Trial
from labkit.servers import registry

CLIMBS = Path(climbs.__file__).parent
LADDER = [sys.executable, "-m", "labkit.cli", "ladder"]


def test_the_labs_own_algorithm_climbs_the_first_rungs() -> None:
    result = climb("lowest-free", rung=4, seed=3, backend="process")
    assert result.ok, str(result)
    assert result.reached == 4
    assert [step.rung.name for step in result.steps] == [
        "alone",
        "all at once",
        "stop and start",
        "crash",
    ]
    assert result.steps[3].figures["freed_after_s"] <= 1.4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_samples_algorithm_falls_on_rung_2(seed: int) -> None:
    result = climb("original", seed=seed, backend="process")
    assert not result.ok
    assert result.reached == 1, str(result)
    red = result.first_red
    assert red is not None
    assert red.rung.number == 2
    assert red.finding is not None
    assert red.finding.message.endswith(".")
    assert "\n" not in red.finding.message
    assert result.summary.startswith("original falls on rung 2, all at once: ")


def test_all_rungs_are_tried_if_asked() -> None:
    result = climb("original", rung=3, every=True, backend="process")
    assert [step.rung.number for step in result.steps] == [1, 2, 3]
    assert result.reached == 1
    assert not result.ok


def test_a_notebook_shows_a_table_and_the_moment() -> None:
    result = ladder("original", rung=2, seed=1, backend="process")
    shown = result._repr_html_()  # type: ignore[attr-defined]
    assert shown.count("<tr>") == 3  # its head and two rungs
    assert "seed=1" in shown
    assert result.first_red is not None
    assert result.first_red.verdict.split(" ")[0] in shown
    picture = re.search(r'<img src="data:image/png;base64,(\S{1000,})" .* alt="(.+)">', shown)
    assert picture, "the moment is drawn"


def test_what_the_search_found_is_told_and_the_climb_ends_as_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In text, as JSON and as HTML: a file's schedules are searched, with another verdict."""
    monkeypatch.setattr("labkit.judge.ladder.SEARCH", 60.0)  # however busy the machine is
    result = ladder(CLIMBS / "list_create_retry.py", rung=1, backend="process")
    assert result.ok
    assert result.searched is not None
    assert result.searched.violation == "node1 answers 1, which nobody holds"
    assert str(result).startswith("ListCreateRetry: node1 answers 1, which nobody holds, after")
    told = result.to_json()["explore"]
    assert told["schedule"] == [step["sentence"] for step in result.searched.schedule]
    assert json.loads(json.dumps(told))["states"] > 50
    assert [rung["rung"] for rung in result.to_json()["rungs"]] == [1]
    shown = result._repr_html_()  # type: ignore[attr-defined]
    assert "labkit-player" in shown
    assert f"{told['states']:,} states" in shown


def test_a_search_that_finds_nothing_says_so() -> None:
    found = explore(CLIMBS / "reads_prove_nothing.py", requests=1)  # however busy the machine is
    climbed = Climb("x", 1, 1, (), found)
    assert re.search(r": all [\d,]+ states are right\. Scope: 2 nodes, one request", str(climbed))
    assert search("original", lambda what, fraction: None) is None
    assert search("/nowhere/mine.py", lambda what, fraction: None) is None


@pytest.mark.parametrize("rung", [0, -1, TOP + 1])
def test_a_rung_that_is_not_there_is_refused(rung: int) -> None:
    with pytest.raises(ConfigError, match=f"rungs 1 to {TOP}"):
        climb("lowest-free", rung=rung)


def _step(number: int, *, red: bool = False, untested: tuple[str, ...] = ()) -> Step:
    finding = Finding("measured", 1.0, 2.0, "node1", "It was wrong.") if red else None
    return Step(RUNGS[number - 1], 1.0, finding, untested, {"servers": 3}, "process", "3.8.0")


def test_a_rung_that_could_not_test_its_promise_is_not_green() -> None:
    steps = (_step(1), _step(2, untested=("nobody was asked",)), _step(3))
    result = Climb("mine", 1, 3, steps)
    assert not result.ok
    assert result.reached == 1
    rung = result.to_json()["rungs"][1]
    assert rung["ok"] is False
    assert rung["violation"] is None
    assert rung["figures"] == {"servers": 3, "untested": ["nobody was asked"]}
    assert "not tested: nobody was asked" in str(result)


def test_reached_is_the_end_of_the_unbroken_row() -> None:
    def reached(*steps: Step) -> int:
        return Climb("mine", 1, 3, steps).reached

    assert reached(_step(1, red=True), _step(2), _step(3)) == 0
    assert reached(_step(1), _step(2), _step(3, red=True)) == 2
    assert reached(_step(1), _step(2), _step(3)) == 3


def test_the_command_line_prints_what_programs_read() -> None:
    done = subprocess.run(
        [*LADDER, "original", "--seed", "5", "--backend", "process", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() == {"ok", "reached", "seed", "backend", "zookeeper", "explore", "rungs"}
    assert (result["ok"], result["reached"], result["seed"]) == (False, 1, 5)
    first, second = result["rungs"]
    assert first.keys() == {"rung", "name", "ok", "seconds", "violation", "figures"}
    assert (first["rung"], first["name"], first["ok"], first["violation"]) == (
        1,
        "alone",
        True,
        None,
    )
    assert second["ok"] is False
    assert isinstance(second["violation"], str)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lowest-free", "--rung", "0"],
        ["lowest-free", "--rung", "99"],
        ["lowest-free", "--backend", "cloud"],
        ["no-such-algorithm"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    done = subprocess.run([*LADDER, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


SERVER = """class MyServer:
    def start(self, zk, name):
        {start}

    def sequence(self):
        {sequence}
"""


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("class MyServer\n", ConfigError, "my_server.py, line 1 is not Python: expected ':'."),
        ("", ConfigError, "In my_server.py no class has a method sequence()"),
        (
            SERVER + SERVER.replace("MyServer", "Other"),
            ConfigError,
            "In my_server.py the classes MyServer, Other have a method sequence(): name one",
        ),
        (
            "raise SystemExit\n" + SERVER,
            StartTimeout,
            "node1: loading MyServer called sys.exit() (line 1 of my_server.py).",
        ),
        (
            SERVER.replace("{start}", "exit()"),
            StartTimeout,
            "node1: MyServer.start called sys.exit() (line 3 of my_server.py).",
        ),
        (
            SERVER.replace("{start}", "while True: pass"),
            StartTimeout,
            "node1: MyServer.start has not returned for 2.0 s (line 3 of my_server.py)",
        ),
    ],
)
def test_what_cannot_start_says_why(
    source: str,
    error: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labkit.lab.node.START_TIMEOUT", 8.0)
    path = tmp_path / "my_server.py"
    path.write_text(source.format(start="pass", sequence="return 1"))
    with pytest.raises(error) as caught:
        climb(path, rung=1, backend="process")
    # The two seconds begin before the class is loaded, and start is called after it.
    assert said in re.sub(r"for [12]\.\d s", "for 2.0 s", str(caught.value))


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ("return '1'", "MyServer.sequence returned '1' (str); it must be an int from 1 to"),
        ("raise SystemExit", "MyServer.sequence called sys.exit() (line 6 of my_server.py)"),
        ("return 1 / 0", "MyServer.sequence raised ZeroDivisionError: division by zero (line 6"),
        ("while True: pass", "MyServer.sequence has not returned for"),
    ],
)
def test_what_never_answers_falls_at_once_and_says_why(
    sequence: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.judge.rungs.claiming._TIMEOUT", 3.0)
    path = tmp_path / "my_server.py"
    path.write_text(SERVER.format(start="pass", sequence=sequence))
    result = climb(path, rung=1, backend="process")
    assert result.reached == 0
    assert said in result.summary
    assert "\n" not in result.summary


def test_an_interrupt_waits_until_the_trial_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()

    def trial(trial: Trial) -> None:
        try:
            trial.pause(30)
        finally:
            time.sleep(0.3)
            left.set()

    rungs = (Rung(1, "endless", "nothing", "04", trial),)
    monkeypatch.setattr("labkit.judge.ladder.RUNGS", rungs)
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        attempt(1, "lowest-free")
    assert left.is_set()


def test_the_part_that_fails_first_says_why() -> None:
    trial = Trial("lowest-free", 1, 1, None)

    def waits() -> None:
        trial.pause(30)

    def fails() -> None:
        raise ServerNotFound("node1 is gone.")

    def falls() -> None:
        with suppress(Cancelled):
            trial.pause(30)
        trial.fall("This comes of the end.")

    with pytest.raises(ServerNotFound):
        trial.side_by_side(waits, falls, fails)


class Rungs:
    """Rungs of a test's own: each is over when it is told to, or when it is cancelled."""

    def __init__(self, count: int, red: set[int], measures: set[int]) -> None:
        self.red, self.began, self.cancelled = red, list[int](), set[int]()
        self.finish = {number: threading.Event() for number in range(1, count + 1)}
        self.all = tuple(
            Rung(n, f"rung {n}", "", "04", self.trial, measures=n in measures) for n in self.finish
        )
        self.most = self.at_once = 0

    def trial(self, trial: Trial) -> None:
        number = int(trial.claim)  # type: ignore[arg-type]
        self.began.append(number)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            while not self.finish[number].wait(0.01):
                if trial.stop.is_set():
                    self.cancelled.add(number)
                    return
        finally:
            self.at_once -= 1
        if number in self.red:
            trial.fall(f"{number} fell.")

    def run(self, every: bool = False) -> list[Step]:
        side = SideBySide([Attempt(rung, Trial(str(rung.number), 1, 1, None)) for rung in self.all])
        side.room = 3
        return side.run(every, lambda what, fraction: None)


def _after(seconds: float, *events: threading.Event) -> None:
    timer = threading.Timer(seconds, lambda: [event.set() for event in events])
    timer.daemon = True
    timer.start()


def test_the_answer_is_the_lowest_red_rung_also_if_a_higher_one_was_first() -> None:
    rungs = Rungs(5, red={2, 3}, measures=set())
    _after(0.05, rungs.finish[3])
    _after(0.3, rungs.finish[2])
    _after(0.5, rungs.finish[1])
    steps = rungs.run()
    assert [step.rung.number for step in steps] == [1, 2]
    assert [step.ok for step in steps] == [True, False]
    assert steps[1].verdict == "2 fell."
    assert rungs.cancelled <= {4, 5}
    assert 5 not in rungs.began


def test_what_is_above_a_red_rung_is_cancelled() -> None:
    rungs = Rungs(3, red={1}, measures=set())
    _after(0.1, rungs.finish[1])
    assert [step.rung.number for step in rungs.run()] == [1]
    assert rungs.cancelled == {2, 3}


def test_all_are_told_if_all_are_wanted_and_what_measures_is_alone() -> None:
    rungs = Rungs(5, red={1}, measures={5})
    for number, event in rungs.finish.items():
        _after(0.05 * number, event)
    steps = rungs.run(every=True)
    assert [step.ok for step in steps] == [False, True, True, True, True]
    assert rungs.most == 3
    assert rungs.began[-1] == 5
    alone = Rungs(2, red=set(), measures={1, 2})
    _after(0.05, *alone.finish.values())
    assert len(alone.run()) == 2
    assert alone.most == 1


@pytest.mark.alone
@pytest.mark.parametrize("after", [0.1, 1.0, 3.0])
def test_an_interrupt_ends_a_climb_and_leaves_nothing(after: float) -> None:
    process = subprocess.Popen(
        [*LADDER, "lowest-free", "--backend", "process"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not labs_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    labs = labs_of(process.pid)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 2.0
    assert process.returncode == 130, said
    assert "interrupted; nothing is left running" in said
    assert labs_of(process.pid) == []
    for lab in labs:
        assert not registry.directory(lab).exists()
        assert processes_of(lab) == []


FALLS = [
    ("sample.py", 2),
    ("list_create_retry.py", 6),
    ("suspended_means_stop.py", 8),
    ("reads_prove_nothing.py", 9),
]


@pytest.mark.parametrize(("file", "rung"), FALLS)
def test_a_reference_climb_stands_below_its_rung_and_falls_there(file: str, rung: int) -> None:
    path = CLIMBS / file
    before = attempt(rung - 1, path, seed=1, backend="process")
    assert before.ok, before.verdict
    fallen = attempt(rung, path, seed=1, backend="process")
    assert fallen.finding is not None, fallen.verdict


@pytest.mark.docker
@pytest.mark.usefixtures("docker_images")
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("file", "rung"), FALLS)
def test_it_falls_there_in_containers_too(file: str, rung: int) -> None:
    fallen = attempt(rung, CLIMBS / file, seed=1, backend="docker")
    assert fallen.finding is not None, fallen.verdict
    assert fallen.backend == "docker"


@pytest.mark.docker
@pytest.mark.usefixtures("docker_images")
@pytest.mark.timeout(400)
@pytest.mark.alone  # two ensembles in containers, and leases to hold
def test_the_reference_that_is_right_stands_in_containers_too() -> None:
    step = attempt(9, CLIMBS / "ticket_and_lease.py", seed=1, backend="docker")
    assert step.ok, step.verdict
