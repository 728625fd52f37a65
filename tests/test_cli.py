"""The command line: what it prints, and how it exits on good days and bad ones."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from click.testing import CliRunner

from labkit.cli import labs, terminal
from labkit.cli.commands import labkit
from labkit.course.page import HOME, ROOT
from labkit.errors import ConfigError
from labkit.judge import chaos
from labkit.judge.schedule import FAULT_KINDS
from labkit.servers import reaper, registry
from labkit.story.event import FaultEvent, RequestEvent
from labkit.story.pulse import Pulse
from labkit.story.timeline import Timeline

LABKIT = [sys.executable, "-m", "labkit.cli"]


def run(*arguments: str, timeout: float = 90, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LABKIT, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "200", "LABKIT_BACKEND": "process", **environ},
    )


def test_the_tour_shows_what_was_expected() -> None:
    done = run("tour", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    assert result["backend"] == "process"
    assert re.fullmatch(r"3\.\d+\.\d+", result["zookeeper"])
    observed = [step["observed"] for step in result["steps"]]
    kept = "node1: 1, node2: 4, node3: 3, node4: 2"
    refused = "node1: 503, node2: 503, node3: 503, node4: 503"
    assert observed == ["1", "2", "3", "1, 3", "2", "4", refused, kept, refused, kept]
    assert observed == [step["expected"] for step in result["steps"]]
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| step | observed |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| ([^-].*?) \| (.*) \|$", table, re.MULTILINE)
    assert told == [(step["step"], step["observed"]) for step in result["steps"]]


def test_the_tour_tells_a_difference() -> None:
    from labkit.tour import Step

    assert not Step("node2 asks", "2", "503").ok


@pytest.mark.parametrize("nodes", ["0", "-1", "9999", "many"])
def test_up_refuses_a_silly_number_of_nodes(nodes: str) -> None:
    done = run("up", "--nodes", nodes)
    assert done.returncode == 2
    assert "--nodes" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1000"])
def test_up_refuses_a_silly_session_timeout(seconds: str) -> None:
    done = run("up", "--session-timeout", seconds)
    assert done.returncode == 2
    assert "it must be from 0.4 to 600." in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "inf"], "--seconds"),
        (["--seconds", "nan"], "seconds"),
        (["--faults", ""], "--faults names none"),
        (["--faults", "kill, earthquake"], "There is no fault earthquake. There are: kill"),
    ],
)
def test_chaos_refuses_what_it_cannot_do(arguments: list[str], said: str) -> None:
    done = run("chaos", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "bug" not in done.stderr


def test_lines_are_not_broken_for_another_program() -> None:
    missing = f"/nowhere/{'x' * 100}"
    assert missing in run("tour", ZOOKEEPER_HOME=missing, COLUMNS="40").stderr


def test_the_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", run("--version").stdout)


@pytest.mark.parametrize("page", ["nosuch", "../README.md", "README.md", "99"])
def test_lab_names_the_pages_there_are(page: str) -> None:
    done = run("lab", page, "--no-browser")
    assert done.returncode == 2
    assert f"There is no page {page}. There are: 00-start-here, 01-" in done.stderr


def test_lab_names_the_pages_that_stay_as_the_reader_has_changed_them(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "jupyterlab.py").write_text("import sys; print(sys.argv[1:])")
    (tmp_path / "mine" / "pages").mkdir(parents=True)
    notebook = json.loads((HOME / "03-watches.ipynb").read_text("utf-8"))
    notebook["cells"][1]["source"] = "what a reader has made of it"
    (tmp_path / "mine" / "pages" / "03-watches.ipynb").write_text(json.dumps(notebook))
    paths = {"PYTHONPATH": str(tmp_path / "bin")}
    done = run("lab", "3", "--no-browser", "--copy", str(tmp_path / "mine"), **paths)
    assert done.returncode == 0, done.stderr
    news, where, started, *_ = done.stdout.splitlines()
    assert news.startswith("You have changed 03-watches.ipynb, and there is a newer one: yours sta")
    assert f"03-watches.ipynb, in your copy of the pages: {tmp_path}/mine/pages" in where
    assert f"root_dir={tmp_path}/mine'" in started
    assert "/lab/tree/pages/03-watches.ipynb" in started
    assert (tmp_path / "mine" / "pages" / "04-the-sequence-node.ipynb").exists()


def test_nothing_to_run_on() -> None:
    done = run("tour", ZOOKEEPER_HOME="/nowhere")
    assert done.returncode == 1
    assert "ZOOKEEPER_HOME is /nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_backend() -> None:
    done = run("tour", "--backend", "cloud")
    assert done.returncode == 2
    assert "Choose one of: docker, swarm, process" in done.stderr


def test_what_is_in_brackets_is_printed_too() -> None:
    done = run("up", "--backend", "process", ZOOKEEPER_HOME="/nowhere/[/myid:1]")
    assert done.returncode == 1
    assert "/nowhere/[/myid:1]" in " ".join(done.stderr.split())


def test_doctor_knows_this_machine_and_a_poorer_one() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "A lab can run here." in done.stdout
    poor = run("doctor", ZOOKEEPER_HOME="/nowhere", DOCKER_HOST="tcp://127.0.0.1:1")
    assert poor.returncode == 1
    assert "ZOOKEEPER_HOME is /nowhere" in re.sub(r"\s+", " ", poor.stdout)


def test_an_output_without_some_letters_is_printed_to() -> None:
    done = run("doctor", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "A lab can run here." in done.stdout
    assert re.search(r"Python .*yes", done.stdout)
    assert done.stdout.isascii()


def test_an_output_that_is_closed_is_no_bug() -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = ["sh", "-c", f'"$@" {closed}', "sh", *LABKIT, "ps"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), closed


def test_the_authors_command_line() -> None:
    command = [sys.executable, "-m", "labkit.course"]
    help_ = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert all(verb in help_.stdout for verb in ("run", "write", "check"))
    done = subprocess.run([*command, "check", "99"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "99" in done.stderr
    assert "Traceback" not in done.stderr
    drawn = subprocess.run(
        [sys.executable, "img/draw.py", "no such name"], capture_output=True, text=True, timeout=60
    )
    assert (drawn.returncode, drawn.stdout) == (0, "")


@pytest.fixture
def running(tmp_path: Path) -> subprocess.Popen[str]:
    """`labkit up --nodes 2`, when it has printed its URLs."""
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(
            [*LABKIT, "up", "--nodes", "2", "--backend", "process"],
            stdout=out,
            stderr=out,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )
    deadline = time.monotonic() + 30
    while "Ctrl-C" not in (tmp_path / "out").read_text():
        assert process.poll() is None, (tmp_path / "out").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def lab_of(process: subprocess.Popen[str]) -> registry.Registration:
    [lab] = [lab for lab in registry.registered() if lab.owner == process.pid]
    return lab


def gone(lab: registry.Registration, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while reaper.processes_of(lab.lab_id) or registry.directory(lab.lab_id).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_up_serves_and_leaves_nothing(
    running: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    lab = lab_of(running)
    urls = list(lab.nodes.values())
    assert [requests.get(url + "/sequence", timeout=5).json() for url in urls] == [1, 2]
    assert "swagger" in requests.get(urls[0] + "/swagger", timeout=5).text.lower()
    assert lab.lab_id in run("ps").stdout
    running.send_signal(number)
    assert running.wait(10) == code
    assert gone(lab)


@pytest.mark.slow
def test_down_asks_before_it_takes_what_somebody_uses(
    running: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(running)
    try:
        refused = run("down")
        assert refused.returncode == 2
        assert lab.lab_id in refused.stderr  # beside others that this machine may have
        assert "may be in use" in refused.stderr
        assert f"process {running.pid}" in refused.stdout
        monkeypatch.setattr(labs, "_is_asked", lambda: True)
        kept = CliRunner().invoke(labkit, ["down"], input="n\n")
        assert "Remove" in kept.output
        assert running.poll() is None
        assert lab_of(running) == lab
    finally:
        done = run("down", lab.lab_id)
    assert (done.returncode, done.stdout) == (0, f"Removed lab {lab.lab_id}.\n")
    assert running.wait(10) == 0


@pytest.mark.long
def test_down_takes_it_down_from_elsewhere(running: subprocess.Popen[str]) -> None:
    lab = lab_of(running)
    assert run("down", lab.lab_id).returncode == 0
    assert running.wait(10) == 0
    assert gone(lab)
    again = run("down", lab.lab_id)
    assert again.returncode == 2
    assert f"There is no lab {lab.lab_id}" in again.stderr


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])  # a script's job ignores it
def test_ctrl_c_while_it_starts(before: signal.Handlers) -> None:
    process = subprocess.Popen(
        [*LABKIT, "up", "--nodes", "8", "--backend", "process"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, before),
    )
    deadline = time.monotonic() + 20
    while not (found := [e for e in registry.registered() if e.owner == process.pid]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=20)
    assert process.returncode == 130
    assert message.strip().endswith("labkit: interrupted; nothing is left running.")
    assert "Traceback" not in message
    assert gone(found[0])


@pytest.mark.long
@pytest.mark.parametrize("command", ["tour", "chaos"])
def test_ctrl_c_while_it_runs(command: str) -> None:
    process = subprocess.Popen(
        [*LABKIT, command, "--backend", "process"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not (found := [e for e in registry.registered() if e.owner == process.pid and e.nodes]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)  # into the steps, or the faults
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert message.strip().endswith("labkit: interrupted; nothing is left running.")
    assert "Traceback" not in message
    assert gone(found[0])


@pytest.mark.parametrize("name", sorted(labkit.commands))
def test_help_speaks_words(name: str) -> None:
    [shown, also] = [CliRunner().invoke(labkit, [name, how]).output for how in ("-h", "--help")]
    assert shown == also
    assert not re.search(r"<|list\[|RANGE|TEXT|PATH|FLOAT|INTEGER|Sentinel", shown)


def test_each_command_is_listed_with_a_whole_sentence() -> None:
    lines = CliRunner().invoke(labkit, ["--help"], terminal_width=80).output.splitlines()
    listed = [line for line in lines[lines.index("Commands:") + 1 :] if line]
    assert len(listed) == len(labkit.commands)
    assert not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize("command", [["--help"], ["ps"], ["progress"]])
def test_a_short_command_loads_little(command: list[str]) -> None:
    """It is done in a quarter of a second: nothing that draws, serves or checks types is loaded."""
    code = f"import sys; sys.argv[1:] = {command}\nfrom labkit.cli import main\n"
    code += "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    heavy = {"rich", "pydantic", "docker", "kazoo", "matplotlib", "IPython", "nbformat", "requests"}
    assert heavy & set(done.stderr.split()) == set()


@pytest.mark.parametrize("command", ["ps", "doctor", "progress"])
def test_another_program_reads_json(command: str) -> None:
    said = json.loads(CliRunner().invoke(labkit, [command, "--json"]).stdout)
    assert said or command == "ps"


def test_a_table_without_a_terminal_fits_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for command in ("doctor", "progress"):
        lines = CliRunner().invoke(labkit, [command]).stdout.splitlines()
        assert max(map(len, lines)) <= 100 or "This is kept in" in lines[-1]


@pytest.mark.parametrize(
    "command",
    [
        *(["tour"], ["up"], ["chaos"], ["ladder", "original"], ["judge", "lock", "m:C"]),
        ["export", "--out", "there"],
    ],
)
def test_an_unknown_backend_starts_nothing(command: list[str]) -> None:
    for done in (
        CliRunner().invoke(labkit, [*command, "--backend", "cloud"]),
        CliRunner().invoke(labkit, command, env={"LABKIT_BACKEND": "cloud"}),
    ):
        assert isinstance(done.exception, ConfigError)
        assert "Choose one of: docker, swarm, process." in str(done.exception)


RIGHT, WRONG = (
    ROOT / "labkit/course/climbs/suspended_means_stop.py",
    """
print("loaded")
class MyServer:
    def start(self, zk, name):
        self.zk, self.number = zk, None
    def sequence(self):
        print("asked")
        if self.number is None:
            self.zk.create("/sequence/1", ephemeral=True)
            self.number = 1
        return self.number
""",
)


def explored(*arguments: str) -> int:
    """The exit code of `labkit explore`."""
    return int(labkit.main(["explore", *arguments], standalone_mode=False))


def test_explore_prints_the_shortest_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(WRONG)
    assert explored(str(mine)) == 1
    first, *steps, last = capsys.readouterr().out.splitlines()
    count = len(steps)
    assert re.fullmatch(rf"MyServer: .+, after {count} steps:", first)
    assert [line.split()[0] for line in steps] == [str(n) for n in range(1, count + 1)]
    assert re.search(r"has seen [\d,]+ states\. Scope: 2 nodes, 2 requests each, one fault", last)
    assert explored(f"{mine}:MyServer", "--json", "--faults", "0", "--nodes", "1") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is said["complete"] is True
    assert said["violation"] is said["real"] is None
    assert said["scope"].startswith("1 node, 2 requests each, no fault")


def test_explore_says_whether_all_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert explored(str(RIGHT), "--requests", "1") == 0
    assert re.match(r"\S+: all [\d,]+ states are right\.", capsys.readouterr().out)
    assert explored(str(RIGHT), "--nodes", "3", "--faults", "3", "--seconds", "0.3") == 0
    assert "not all were seen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("class A: pass\n", "no class has a method sequence()"),
        ("class A:\n    def sequence(self): 1\n", "A has no method start(zk, name)"),
        (
            "import nowhere\nclass A:\n    def sequence(self): 1\n",
            "loaded: it raised Mod",
        ),
        ("raise SystemExit\nclass A:\n    def sequence(self): 1\n", "it called sys.exit()"),
        ("class", "is not Python"),
    ],
)
def test_explore_refuses_a_file_without_a_server(
    tmp_path: Path, text: str | None, said: str
) -> None:
    mine = tmp_path / "mine.py"
    if text is not None:
        mine.write_text(text)
    with pytest.raises(ConfigError) as error:
        explored(str(mine))
    assert said in str(error.value)


def test_explore_takes_files_only() -> None:
    with pytest.raises(ConfigError, match="only a file's schedules are searched"):
        explored("lowest-free")


def test_explore_ends_code_that_does_not_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("while True: pass\nclass A:\n    def sequence(self): 1\n")
    began = time.monotonic()
    assert explored(str(mine), "--seconds", "0.5") == 1
    assert time.monotonic() - began < 1.5
    assert capsys.readouterr().out.startswith("A does not come back")


@pytest.mark.slow
def test_explore_repeats_what_it_has_found_on_a_real_zookeeper(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(WRONG)
    assert explored(str(mine), "--real", "--backend", "process") == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("Confirmed by ZooKeeper's own log: ")
    assert explored(str(mine), "--real", "--backend", "process", "--json") == 1
    assert json.loads(capsys.readouterr().out)["real"]["confirmed"] is True


@pytest.mark.parametrize("arguments", [["--seconds", "3"], ["--seconds", "1"]])
def test_chaos_without_time_for_a_fault_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(chaos, "Lab", None)
    done = CliRunner().invoke(labkit, ["chaos", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert "leave no time" in str(done.exception)


def test_progress_is_a_plain_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 1.0, 5.0, 5.0, 6.0, 11.0, 11.0])
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: next(times)))
    with terminal.progress() as report:
        for second in (1, 5, 6, 11):
            report(f"second {second}", second / 20)
    assert capsys.readouterr().err == " 25%  second 5\n 55%  second 11\n"
    with terminal.progress(quiet=True) as report:
        report("silent", 0.5)
    assert capsys.readouterr().err == ""


def test_chaos_says_which_fault_there_is_and_how_many_answers_come() -> None:
    clock = SimpleNamespace(now=0.0)
    timeline = Timeline(clock=lambda: clock.now)
    pulse = Pulse(timeline)
    assert pulse.line(0.0) == "no fault; 0 answers a second"
    pause = FaultEvent("node1,node2", fault="pause", phase="begin", id=1)
    timeline.record(pause)
    for clock.now in (0.5, 1.5, 1.9):
        timeline.record(RequestEvent("node3", phase="ok", id=2, number=3))
        timeline.record(RequestEvent("node1", phase="fail", id=3))
    assert pulse.line(2.0) == "pause node1, node2; 2 answers a second"
    timeline.record(replace(pause, phase="end"))
    assert pulse.line(2.6) == "no fault; 1 answer a second"


def test_help_lists_the_faults() -> None:
    shown = run("chaos", "--help").stdout
    assert all(kind in shown for kind in FAULT_KINDS)


@pytest.mark.long
def test_chaos_speaks_json() -> None:
    done = run(
        "chaos", "--nodes", "2", "--seconds", "8", "--faults", " kill,", "--json", "--seed", "7"
    )
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert (result["ok"], result["seed"], result["backend"]) == (True, 7, "process")
    assert re.fullmatch(r"3\.\d+\.\d+", result["zookeeper"])
    assert result["answered"] > 0
    assert result["violations"] == []
    assert result["vacuous"] is False
    assert {fault["kind"] for fault in result["faults"]} == {"kill"}
