"""Files of others: read as their format says, or told by name and reason, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.course import page, standing
from labkit.course.working_copy import refresh
from labkit.errors import HistoryError
from labkit.files import Unreadable, read_json
from labkit.node.program import BadProgram, Program
from labkit.story.event import VerbEvent
from labkit.story.timeline import Timeline

SERVER = "class Mine:\n    name = 'Zoë'\n    def sequence(self):\n        return 1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
def test_json_in_each_of_its_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes('{"who": "Zoë"}'.encode(encoding))
    assert read_json(path) == {"who": "Zoë"}


def test_why_it_cannot_be_read(tmp_path: Path) -> None:
    for data, why in (
        (b"", "it is empty"),
        (b'"\xff"', "byte 1 is no UTF-8"),
        (b"{\n", "it is no JSON"),
        (b"{\n>>>>>>> mine\n", "merge conflict, line 2"),
    ):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(Unreadable, match=why) as raised:
            read_json(tmp_path / "x")
        assert raised.value.path == tmp_path / "x"
    with pytest.raises(Unreadable, match="no such file"):
        read_json(tmp_path / "missing")
    with pytest.raises(Unreadable, match="is a directory"):
        read_json(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_timeline_of_another_machine(tmp_path: Path, encoding: str) -> None:
    timeline = Timeline()
    timeline.record(VerbEvent("node1", verb="kill", phase="begin", id=1))
    path = tmp_path / "run.jsonl"
    timeline.write(path)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert Timeline.read(path) == list(timeline)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("{}\n", "line 1"), ('{"epoch": 1}\nno event\n', "line 2")],
)
def test_no_timeline(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises((HistoryError, Unreadable), match=said) as raised:
        Timeline.read(path)
    assert str(path) in str(raised.value)


def test_a_server_is_read_as_python_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for data in (
        SERVER.encode("utf-8-sig"),
        b"# coding: latin-1\n" + SERVER.encode("latin-1"),
        SERVER.replace("\n", "\r\n").encode(),
    ):
        path.write_bytes(data)
        assert Program.read(str(path)).cls == "Mine"
    for data in (SERVER.encode("utf-16"), SERVER.encode("latin-1"), b"# coding: nothing\n"):
        path.write_bytes(data)
        with pytest.raises(BadProgram, match=r"mine\.py cannot be read"):
            Program.read(str(path))


def test_a_broken_page_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, *_ = page.files()
    broken = tmp_path / "01-broken.ipynb"
    broken.write_text("<<<<<<< HEAD\n")
    found, why = page.readable([broken, good])
    assert [one.path for one in found] == [good]
    assert "merge conflict" in str(why[0])
    monkeypatch.setattr(standing, "files", lambda: [broken, good])
    assert len(standing._course.__wrapped__()) == 1
    assert str(broken) in capsys.readouterr().err


def test_a_page_of_the_copy_that_cannot_be_read_stays_and_is_told(tmp_path: Path) -> None:
    mine = refresh(tmp_path / "mine")
    first, second, *_ = sorted(mine.pages.glob("*.ipynb"))
    first.write_text("")
    again = refresh(tmp_path / "mine")
    assert first.read_text() == ""
    assert again.behind == ()
    assert f"{first} can't be read: it is empty. It stays as it is." in again.news(second)
