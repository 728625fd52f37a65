"""Pictures of runs, by what they show of runs of which it is known."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from itertools import combinations
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
import runs
from PIL import Image

from labkit.errors import ConfigError
from labkit.see import drawing, style
from labkit.see.picture import Picture, assignment, quorum, without_scripts
from labkit.see.scene import MIME
from labkit.story.event import Event, SessionEvent


def bars(picture: Picture) -> dict[str, list[tuple[float, float]]]:
    """Bars by node, number and word: when they begin and end."""
    found: dict[str, list[tuple[float, float]]] = {}
    for lane in picture.data()["lanes"]:
        for start, end, number, word, _ in lane["bars"]:
            found.setdefault(f"{lane['name']}:{number}:{word}", []).append((start, end))
    return found


def lanes(picture: Picture) -> list[str]:
    return [lane["name"] for lane in picture.data()["lanes"]]


def drawn(picture: Picture) -> Iterator[Element]:
    return ElementTree.fromstring(picture.svg()).iter()


def texts(picture: Picture) -> list[str]:
    return [e.text or "" for e in drawn(picture) if e.tag.endswith("}text")]


def classed(picture: Picture, name: str) -> list[Element]:
    return [e for e in drawn(picture) if e.get("class") == name]


def test_numbers_pass_from_dead_nodes_to_new_ones() -> None:
    picture = assignment(runs.passing_on())
    assert lanes(picture) == [f"node{i}" for i in range(1, 7)]
    assert bars(picture) == {
        "node1:1:both": [(1.1, 3.06)],
        "node1:1:zookeeper": [(3.06, 8.1)],
        "node2:2:both": [(1.2, 3.11)],
        "node2:2:zookeeper": [(3.11, 8.1)],
        "node3:3:both": [(1.3, 12.0)],
        "node4:4:both": [(1.4, 12.0)],
        "node5:1:both": [(9.55, 12.0)],
        "node6:2:both": [(9.56, 12.0)],
    }
    assert texts(picture).count("1") == 3  # on both of node1's bars and on node5's
    assert texts(picture).count("kill") == 2
    assert "ZooKeeper holds it, no answer" in texts(picture)
    assert "answers it, does not hold it" not in texts(picture)


def test_one_number_has_one_colour_and_the_two_words_look_different() -> None:
    look = {
        (e.get("data-number"), e.get("data-word")): e
        for e in classed(assignment(runs.zombie()), "bar")
    }
    solid, hollow, false = (look["2", word] for word in ("both", "zookeeper", "node"))
    assert {e.get("fill") for e in (solid, hollow, false)} == {style.colour(2)}
    assert look["1", "both"].get("fill") == style.colour(1)
    # In black and white too: dashes for what is only held, a hatch for what is only answered.
    assert [bool(e.get("stroke-dasharray")) for e in (solid, hollow, false)] == [False, True, False]
    assert len({e.get("fill-opacity") for e in (solid, hollow, false)}) == 3


def test_what_was_done_and_what_was_asked_is_marked() -> None:
    picture = assignment(runs.zombie())
    assert {"pause", "resume", "partition", "heal", "503 session lost"} <= set(texts(picture))
    asked = {lane["name"]: lane["asked"] for lane in picture.data()["lanes"] if lane["asked"]}
    assert asked == {"node1": [[10.21, "fail"]], "node2": [[8.51, "ok"]], "node3": [[7.51, "ok"]]}
    assert {"asked: answered", "asked: no number", "frozen", "link cut, slow or flaky"} <= set(
        texts(picture)
    )


def test_zookeepers_absence_is_a_band() -> None:
    picture = assignment(runs.outage())
    assert picture.data()["down"] == [[2.2, 5.5]]
    (band,) = classed(picture, "down")
    assert [e.text for e in band] == ["ZooKeeper down, 2.20 to 5.50 s"]
    assert "ZooKeeper down" in texts(picture)
    assert picture.alt.endswith("ZooKeeper down from 2.2 to 5.5 s.")


def _box(e: Element) -> tuple[float, float, float, float]:
    x, y, width, height = (float(e.get(name, 0)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_claims_that_stand_beside_each_other_do_not_meet() -> None:
    run = runs.Script()
    run.says(0.5, "node1", None, "", seen=0)
    for number in (1, 9, 10):  # each of a session that has gone, and whose claim has not
        run.claims(number / 10 + 1, number, "node1")
    run.says(3.0, "node1", 10)
    run.says(3.0, "node2", 2)
    for picture in (assignment(run.in_order()), assignment(runs.outage())):
        boxes = [_box(e) for e in classed(picture, "bar")]
        assert len(boxes) >= 3
        for a, b in combinations(boxes, 2):
            assert a[2] <= b[0] + 0.11 or b[2] <= a[0] + 0.11 or a[3] <= b[1] or b[3] <= a[1]


def test_a_part_of_a_run() -> None:
    picture = assignment(runs.passing_on(), since=5.0, until=9.0)
    assert (picture.data()["since"], picture.data()["until"]) == (5.0, 9.0)
    assert set(bars(picture)) == {
        "node1:1:zookeeper",
        "node2:2:zookeeper",
        "node3:3:both",
        "node4:4:both",
    }


def test_the_future_is_not_known() -> None:
    picture = assignment(runs.passing_on(), until=5.0)
    assert bars(picture)["node1:1:zookeeper"] == [(3.06, 5.0)]
    assert lanes(picture) == ["node1", "node2", "node3", "node4"]


def test_modes_of_an_ensemble() -> None:
    picture = quorum(runs.ensemble())
    assert lanes(picture) == ["zookeeper1", "zookeeper2", "zookeeper3", "node1"]
    modes = [e.get("data-mode") for e in classed(picture, "mode")]
    assert (modes.count("leader"), modes.count("follower")) == (3, 4)
    assert "no majority" in texts(picture)
    failed = [t for t, outcome in picture.data()["lanes"][-1]["asked"] if outcome == "fail"]
    assert [5.2 < t < 8 for t in failed] == [True] * 5
    assert "Leaders in turn: zookeeper2, zookeeper3, zookeeper2." in picture.alt
    assert "serves nobody" in texts(picture)


def test_the_measured_gap_is_marked() -> None:
    picture = quorum(runs.ensemble())
    assert picture.data()["leaderless"] == [[2.01, 2.6]]
    assert picture.data()["down"] == [[5.21, 7.9]]
    assert "no leader for 0.6 s" in texts(picture)
    assert "3.00 s" in texts(picture)  # from node1's last answer to its next one
    assert "node1: 17 of 22 requests answered, without an answer for 3.00 s." in picture.alt


def test_a_part_of_an_ensembles_run_tells_of_that_part() -> None:
    picture = quorum(runs.ensemble(), since=8.5)
    assert picture.alt == "Leaders in turn: zookeeper2. node1: 6 of 6 requests answered."


def test_what_was_done_to_zookeepers_servers_is_marked() -> None:
    run = runs.Script()
    run.mode(0.1, "zookeeper1", "leader")
    run.mode(0.1, "zookeeper2", "follower")
    run.verb(1.0, "pause", "zookeeper1", took=0.01)
    run.verb(2.0, "partition", "zookeeper2")
    run.verb(3.0, "heal", "lab")
    picture = quorum(run.in_order())
    assert {"pause", "partition", "heal"} <= set(texts(picture))
    (broken,) = (lane["broken"] for lane in picture.data()["lanes"] if lane["broken"])
    assert broken == [[2.01, 3.0, "cut"]]


def test_requests_that_come_thick_are_thinned_out_where_they_would_cover_each_other() -> None:
    run = runs.Script()
    run.says(0.0, "node1", 1, seen=0)
    for i in range(2000):
        run.asks(i / 200, "node1", 1, took=0.001)
    marks, _ = classed(assignment(run.in_order()), "ok")  # and the key's
    assert 100 < marks.get("d", "").count("M") < 420


def _extents(picture: Picture) -> list[tuple[str, float, float, float, float]]:
    """What each text takes of the drawing, by the widths that the drawing counts with."""
    found = []
    for group in ElementTree.fromstring(picture.svg()):
        moved = re.fullmatch(r"translate\(([\d.]+) ([\d.]+)\)", group.get("transform", ""))
        right, down = map(float, moved.groups()) if moved else (0.0, 0.0)
        for e in group.iter():
            if e.tag.endswith("}text") and "rotate" not in e.get("transform", ""):
                size, text = float(e.get("font-size", 12)), e.text or ""
                wide = style.wide(text, size) - 4
                shift = {"middle": wide / 2, "end": wide}.get(e.get("text-anchor", ""), 0)
                x, y = right + float(e.get("x", 0)) - shift, down + float(e.get("y", 0))
                found.append((text, x, y - size * 0.75, x + wide, y))
    return found


@pytest.mark.parametrize("draw", [assignment, quorum])
@pytest.mark.parametrize("name", ["passing_on", "zombie", "outage", "ensemble", "machines"])
def test_no_words_cover_each_other_or_leave_the_picture(
    name: str, draw: Callable[..., Picture]
) -> None:
    names = ("a", "b", "c") if name == "machines" else ()
    found = _extents(draw(getattr(runs, name)(*names)))
    for (one, *a), (other, *b) in combinations(found, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{one} and {other}"
    assert all(left >= 0 and right <= drawing.WIDTH for _, left, _, right, _ in found)


@pytest.mark.parametrize("step", [0.0, 0.02, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("start", [0.5, 11.9])
def test_every_fault_has_its_word_and_none_covers_another(step: float, start: float) -> None:
    verbs = ("partition", "pause", "resume", "heal", "pause", "resume", "kill")
    run = runs.Script()
    run.says(0.1, "node1", 1)
    run.ends(12.0 + step * len(verbs))
    for i, verb in enumerate(verbs):
        run.verb(start + i * step, verb, "node1", took=0.001)
    captions = classed(assignment(run.in_order()), "mark")
    said = [e.text or "" for e in captions]
    count = sum(
        1 + int(more[1]) if (more := re.search(r"and (\d+) more", text)) else text.count(",") + 1
        for text in said
    )
    assert count == len(verbs), said
    marks = [word for word in _extents(assignment(run.in_order())) if word[0] in said]
    for (one, *a), (other, *b) in combinations(marks, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"{one}, {other}"


@pytest.mark.parametrize("name", ["passing_on", "zombie", "outage"])
def test_in_black_and_white_every_bar_is_seen(name: str) -> None:
    picture = assignment(getattr(runs, name)())
    for paper in ("white", "black"):
        image = Image.open(io.BytesIO(picture.png())).convert("RGBA")
        ground = Image.new("RGBA", image.size, paper)
        grey = np.asarray(Image.alpha_composite(ground, image).convert("L"))
        for e in classed(picture, "bar"):
            left, top, right, bottom = (2 * at for at in _box(e))
            if right - left < 8:
                continue
            middle = round((top + bottom) / 2)
            across = grey[middle, round(left) - 3 : round(left) + 8]
            assert int(across.max()) - int(across.min()) > 40, e.attrib


def test_a_picture_shows_itself_says_what_it_shows_and_has_its_data() -> None:
    picture = assignment(runs.zombie())
    bundle, about = picture._repr_mimebundle_()
    size = Image.open(io.BytesIO(b64decode(bundle["image/png"]))).size
    assert size[0] > 1.5 * about["image/png"]["width"]  # sharp on a dense screen
    assert about["image/png"]["width"] <= 900  # as wide as a notebook
    assert len(b64decode(bundle["image/png"])) < 60_000
    assert "node2: 2 from 1.0 to 2.0 s" in about["image/png"]["alt"]
    assert "2 from 8.1 to 9.0 s (answered, not held)" in bundle["text/plain"]
    node2 = next(lane for lane in bundle[MIME]["lanes"] if lane["name"] == "node2")
    assert [2, "node"] in [bar[2:4] for bar in node2["bars"]]
    assert [mark[1] for mark in node2["marks"]] == ["pause", "session ends", "resume"]
    # Where scripts run it is SVG; where they don't, and where tags are taken out, the PNG stays.
    html = bundle["text/html"]
    assert re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).count("<") == 3
    assert re.search(r'<img [^>]*alt="Numbers of each node over time', html)
    inline = without_scripts(html)
    assert "<script" not in inline
    assert picture.svg() in inline


@pytest.mark.parametrize("draw", [assignment, quorum])
def test_no_colour_of_a_picture_needs_white_paper(draw: Callable[..., Picture]) -> None:
    """Outside of bars, which have colours of their own, the ink is the page's."""
    for name in ("zombie", "ensemble"):
        svg = draw(getattr(runs, name)()).svg()
        shades = set(re.findall(r'(?:fill|stroke)="(#\w+)"', svg))
        plates = {"#FFFFFF", "#000000"}  # numbers on bars, and what is behind them
        assert shades <= {*style.PALETTE, style.ALARM, style.QUIET, *plates}


def test_a_guess_is_drawn_where_it_is() -> None:
    picture = assignment(runs.zombie())
    picture.mark(4.0, "x", "you: 2 s")
    assert "you: 2 s" in texts(picture)
    assert picture.alt.endswith("you: 2 s.")
    picture.mark(99.0, "x", "you: 97 s")
    assert "you: 97 s (outside)" in texts(picture)
    with pytest.raises(ConfigError, match='axis "x"'):
        picture.mark(4.0, "y", "you: 2")


NODES = ["node1", "node4", "node2", "node5", "node3", "node6"]


def test_rows_stand_by_machine() -> None:
    picture = assignment(runs.machines("a", "b", "c"))
    assert [name for name in lanes(picture) if name in NODES] == NODES
    assert [text for text in texts(picture) if text.startswith("machine")] == [
        "machine a",
        "machine b",
        "machine c",
    ]
    assert "node4 on machine a: 4 from 0.8" in picture.alt
    low = quorum(runs.machines("b", "c", "a"))
    assert lanes(low) == [
        *("zookeeper3", "node3", "node6"),
        *("zookeeper1", "node1", "node4"),
        *("zookeeper2", "node2", "node5"),
    ]


@pytest.mark.parametrize("draw", [assignment, quorum])
def test_on_one_machine_nothing_is_said_of_it(draw: Callable[..., Picture]) -> None:
    without, one = draw(runs.machines()), draw(runs.machines("a", "a", "a"))
    assert "machine" not in without.alt + " ".join(texts(without))
    assert without.png() == one.png()


@pytest.mark.parametrize("draw", [assignment, quorum], ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("events", [[], [SessionEvent("lab", t=1.0, state="CONNECTED")]])
def test_nothing_happened(draw: Callable[..., Picture], events: list[Event]) -> None:
    assert draw(events).png()
