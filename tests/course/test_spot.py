"""Spot the bug: one code is right, and the others are seen to fail."""

from __future__ import annotations

import ast
import re

import pytest

from labkit.course import exercises
from labkit.course.exercises.exercise import Exercise
from labkit.course.spot import bare, defined
from labkit.course.task import exercise
from labkit.errors import ConfigError
from labkit.lab.lab import Lab


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.strip().splitlines()


def test_one_is_right_and_the_others_fail(
    zookeeper_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    s = exercise(zookeeper_lab, "claim").spot(seed=1)
    assert list(s.codes) == ["A", "B", "C"]
    assert len(set(s.codes.values())) == 3
    assert all("def claim(zk, root):" in code for code in s.codes.values())
    s.reveal()
    first, *others = told(capsys)
    assert re.fullmatch(r"○ Not predicted\. [ABC] is right\.", first)
    right = first.split()[3]
    assert [line[:2] for line in others if re.match(r"[ABC]\. ", line)] == [
        f"{name}." for name in "ABC" if name != right
    ]
    assert sum(line.startswith("failed: ") for line in others) == 2
    assert sum(line.startswith("→") for line in others) == 2, "each with its moment"
    assert s.right is None


def test_every_code_brings_along_what_it_uses() -> None:
    """Nothing is left behind in the module that it was written in."""
    for one in exercises.ALL:
        for function in (one.answer, *one.wrong):
            assert callable(defined(bare(function, one.name), one.name)), function


def test_the_code_that_was_chosen_comes_first(
    zookeeper_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    for guess in "ABC":
        s = exercise(zookeeper_lab, "lowest-free").spot(seed=1)
        with pytest.raises(ConfigError, match="none of the options"):
            s.guess("D")
        s.guess(guess)
        s.reveal()
        first, second, *_ = told(capsys)
        if s.right:
            assert first == f"✓ Right: {guess}."
        else:
            assert first.startswith(f"✗ Not so: you said {guess}, and ")
            assert second.startswith(f"{guess}. ")


def test_the_same_seed_draws_the_same(zookeeper_lab: Lab) -> None:
    task = exercise(zookeeper_lab, "claim")
    drawn = [repr(task.spot(seed)) for seed in range(6)]
    assert drawn == [repr(task.spot(seed)) for seed in range(6)]
    assert len(set(drawn)) > 3
    with pytest.raises(ConfigError, match="no exercise 'nothing'"):
        exercise(zookeeper_lab, "nothing")


def test_any_exercise_is_drawn(zookeeper_lab: Lab) -> None:
    assert len({exercise(zookeeper_lab).spot()._text() for _ in range(12)}) > 2


def test_it_is_words_and_codes_side_by_side_with_a_button_each(zookeeper_lab: Lab) -> None:
    s = exercise(zookeeper_lab, "claim").spot(seed=1)
    shown = s._repr_mimebundle_()
    assert shown["text/markdown"].count("```python\n") == 3
    assert shown["text/plain"].endswith("○ A  ○ B  ○ C")
    face = s.face()["html"]
    assert face.count("<pre>") == face.count('data-do="answer"') == 3
    assert "<mark>" in face  # where they differ
    s.hear("answer", "1")
    assert s.answer == "B"
    assert face.count('aria-pressed="true"') == 0
    assert s.face()["html"].count('aria-pressed="true"') == 1
    assert "You said B." in s.saved()


@pytest.mark.parametrize("wanted", exercises.ALL, ids=lambda wanted: wanted.id)
def test_a_code_does_not_tell_what_is_wrong(wanted: Exercise) -> None:
    assert len(wanted.wrong) >= 2
    for function in (wanted.answer, *wanted.wrong):
        code = bare(function, wanted.name)
        tree = ast.parse(code)
        defined = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert defined.count(wanted.name) == 1, code
        assert "#" not in code.replace("'#", "")
        assert '"""' not in code
        if function is not wanted.answer:
            assert not re.search(rf"\b{function.__name__}\b", code)
