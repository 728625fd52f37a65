"""Processes that carry out orders, whatever else of a reader's machine runs in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.servers.helper import ENDED, Answer, Helper, HelperError

MODULE = """
from labkit.servers import helper
def carry_out(order):
    print("working")
    if order.get("verb") == "garble":
        import os, sys
        os.write(int(sys.argv[1]), b"this is no answer\\n")
    return order.get("what")
helper.serve(carry_out)
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helper]:
    """A helper whose module is on this process's import path and on no other's."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "echoes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "beside"))
    helper = Helper("echoes", "c0ffee8", tmp_path / "log")
    yield helper
    helper.close()


def order(helper: Helper, again: bool = True, **detail: Any) -> Any:
    answer: Answer = Answer()
    helper.order(answer, detail, again=again)
    return answer.result(timeout=20)


@pytest.mark.parametrize(
    "start_up",
    [
        "print('Welcome. Quota: 80 % used.')",
        "import sys; sys.stdout.write('no line end'); sys.stderr.write('nor here')",
        "import sys; print('read:', sys.stdin.readline())",
        "import os; os.write(1, bytes(range(256)))",
        "import sys; sys.path.clear()",
        "raise RuntimeError('a start-up file that is broken')",
    ],
)
def test_a_start_up_file_does_not_disturb(
    echo: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_up: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(start_up)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert [order(echo, what=number) for number in (1, 2)] == [1, 2]
    assert "working" in echo.last_words()


def test_a_helper_that_ends_at_its_start_fails_its_orders(
    echo: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(HelperError) as failed:
        order(echo)
    assert failed.value.kind == ENDED


def test_what_cannot_be_read_fails_the_orders_and_the_next_helper_serves(echo: Helper) -> None:
    with pytest.raises(HelperError) as failed:
        order(echo, verb="garble")
    assert failed.value.kind == ENDED
    assert order(echo, what="well again") == "well again"


def test_a_learners_files_do_not_stand_in_for_the_library(
    echo: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "socket.py").write_text("raise RuntimeError('a learner wrote this')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert order(echo, what="it works") == "it works"
