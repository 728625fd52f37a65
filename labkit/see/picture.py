"""Pictures of a run: who had which number when, and what was done to whom.

A picture is SVG in the colours of the page around it. Beside it stands the same as PNG, for what
shows no SVG (a code host, a mail, a notebook that is not trusted), in a grey that is legible on
white and on black.
"""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import resvg_py
from PIL import Image

from labkit.errors import ConfigError
from labkit.see import style
from labkit.see.drawing import Look, draw
from labkit.see.scene import MIME, Scene
from labkit.story.event import Event
from labkit.story.run import Story

# What stands for the paper, in the words of JupyterLab, VS Code and the exported site.
_PAPER = "var(--jp-layout-color0,var(--vscode-editor-background,var(--paper,transparent)))"


# What the HTML of a picture has in it: a saved one, a replay, a panel's last one.
PICTURES = ("labkit-figure", "labkit-replay", "<svg")


class Shown(ABC):
    """A figure that shows itself in a notebook, and says in words (`alt`) what it shows."""

    alt: str = ""

    @abstractmethod
    def svg(self) -> str:
        """The figure as SVG, in the colours of the page around it."""

    @abstractmethod
    def mark(self, at: float, axis: Literal["x", "y"], text: str) -> None:
        """A dashed line at that number of the axis, with words."""

    def data(self) -> dict[str, Any]:
        """What it shows, for programs; empty if nobody has to know."""
        return {}

    def png(self, zoom: float = 2.0) -> bytes:
        """The figure as PNG, on no ground."""
        return as_png(self.svg(), zoom)

    def html(self) -> str:
        """The figure for a page: the SVG where scripts run, else the PNG, with its words."""
        return shown(self.svg(), self.png(), self.alt)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        svg, png = self.svg(), self.png()
        bundle: dict[str, Any] = {
            "text/html": shown(svg, png, self.alt),
            "image/png": b64encode(png).decode(),
            "text/plain": self.alt,
        }
        if data := self.data():
            bundle[MIME] = data
        width, height = _size(svg)
        return bundle, {"image/png": {"width": width, "height": height, "alt": self.alt}}


@dataclass
class Picture(Shown):
    """A run, or a part of it. A notebook shows it by itself."""

    scene: Scene
    look: Look

    def __post_init__(self) -> None:
        self.alt = self.look.label

    def svg(self) -> str:
        return draw(self.scene, self.look)

    def data(self) -> dict[str, Any]:
        return self.scene.data()

    def mark(self, at: float, axis: Literal["x", "y"], text: str) -> None:
        """A dashed line at a second. Raises `ConfigError` for an axis that is none of seconds."""
        if axis != "x":
            raise ConfigError('A picture of a run has seconds on its axis "x", and no other.')
        self.alt = f"{self.alt} {text}."
        self.look = replace(self.look, lines=[*self.look.lines, (at, text)], label=self.alt)


def assignment(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Picture:
    """Who had which number when: one lane a node, one bar a number.

    `assignment(lab.history(), since=2.5)`

    A solid bar is a number that the node answers and ZooKeeper holds for it. Where the two differ
    both are seen: a pale bar is held for a node that does not answer it, a hatched one is answered
    by a node that does not hold it any more. Of an ensemble, what each server was stands above.
    `since` and `until` choose a part, in seconds since the timeline began. Of a crew (`lab.crew`),
    workers stand for nodes and what they work on for numbers.
    """
    scene = scene_of(events, since, until)
    return Picture(scene, Look(new_id(), scene.says(), title or scene.terms.title))


def quorum(
    events: Iterable[Event],
    *,
    since: float | None = None,
    until: float | None = None,
    title: str | None = None,
) -> Picture:
    """What each ZooKeeper server was (leader, follower, without a quorum) and who got answers.

    `quorum(lab.history(), until=20)`

    Where nobody led, and where a node's clients got no answer, it says for how long. Nodes that
    nobody asked are left out.
    """
    scene = scene_of(events, since, until)
    silent = {lane.name for lane in scene.lanes if not lane.is_server and not lane.asked}
    scene = scene.without(silent)
    title = title or "Which server leads, and who gets an answer"
    return Picture(scene, Look(new_id(), scene.tells(), title, gaps=True))


def scene_of(
    events: Iterable[Event], since: float | None = None, until: float | None = None
) -> Scene:
    """What a picture of these events shows, of all or of a part."""
    if until is not None:
        events = (event for event in events if event.t <= until)
    spans = Story(events)
    since = min(spans.start, spans.end) if since is None else since
    return Scene.of(spans, since, spans.end if until is None else until)


def new_id() -> str:
    """Ids on one page, and of a page that is put together out of several runs, must not meet."""
    return f"labkit-{uuid4().hex[:8]}"


# --- how a figure is shown --------------------------------------------------------------------


def shown(svg: str, png: bytes, alt: str) -> str:
    """HTML that shows an SVG where scripts run; where they don't, the PNG stays.

    JupyterLab takes SVG out of a notebook that is not trusted and leaves its words standing about;
    in an `<img>` it would not follow the theme.
    """
    uid = new_id()
    width, height = _size(svg)
    return (
        f'<div class="labkit-figure" data-figure="{uid}" style="overflow-x:auto">'
        f'<img src="data:image/png;base64,{b64encode(png).decode()}" width="{width}" '
        f'height="{height}" style="max-width:100%;height:auto" alt="{escape(alt)}"></div>'
        f'<script type="image/svg+xml" data-of="{uid}">{svg}</script>'
        f"<script>(function () {{ const of = document.querySelector('[data-of=\"{uid}\"]');"
        f"for (const figure of document.querySelectorAll('[data-figure=\"{uid}\"]')) "
        "figure.innerHTML = of.textContent; })();</script>"
    )


_SHOWN = re.compile(
    r'<div class="labkit-figure".*?<script type="image/svg\+xml"[^>]*>(.*?)</script><script>.*?'
    r"</script>",
    re.DOTALL,
)


def without_scripts(html: str) -> str:
    """The HTML with its figures as SVG, for a page that follows the theme by itself."""
    return _SHOWN.sub(lambda found: frame(found[1]), html)


def frame(svg: str) -> str:
    """An SVG in a page, which scrolls inside its frame where it would get too small."""
    return f'<span class="figure" tabindex="0" role="group" aria-label="Figure">{svg}</span>'


def themed(svg: str, uid: str, alt: str) -> str:
    """An SVG of matplotlib's in the colours of the page around it, fit to stand in HTML.

    `uid` keeps its ids apart from those of others on the page; `alt` says what it shows.
    """
    svg = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
    svg = re.sub(style.INK, "currentColor", svg, flags=re.IGNORECASE)
    svg = re.sub(style.PAPER, _PAPER, svg, flags=re.IGNORECASE)
    svg = re.sub(r'<path (id="[^"]*" transform="[^"]*")/>', r'<path d="" \1/>', svg)  # a blank
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{uid}-", svg)
    look = 'stroke-linejoin="round" stroke-linecap="butt" style="width:100%;height:auto;'
    size = re.search(r'<svg[^>]* width="([\d.]+)pt"', svg)
    width = f"max-width:{float(size[1]) * 4 / 3:.0f}px" if size else ""
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    head = (
        f'<svg {view[0]} role="img" aria-label="{escape(alt)}" xmlns="http://www.w3.org/2000/svg"'
    )
    return re.sub(r"<svg[^>]*>", f'{head} {look}{width}">', svg, count=1).strip() + "\n"


def as_file(svg: str) -> str:
    """An SVG to be shown in an `<img>`, which does not know the theme of the page around it."""
    return svg.replace("<svg ", f'<svg color="{style.MIDDLE}" ', 1)


def from_file(svg: str) -> str:
    """What `as_file` was made of, to stand in HTML."""
    return svg.replace(f' color="{style.MIDDLE}"', "", 1)


def as_png(svg: str, zoom: float = 2.0) -> bytes:
    """An SVG as PNG on no ground, its ink a grey that is legible on white and on black."""
    png = resvg_py.svg_to_bytes(
        svg_string=svg.replace(_PAPER, "none"),
        zoom=zoom,
        style_sheet=f"svg {{ color: {style.MIDDLE} }}",
        skip_system_fonts=True,
        font_files=_fonts(),
        font_family="DejaVu Sans",
        sans_serif_family="DejaVu Sans",
    )
    few = Image.open(io.BytesIO(png)).quantize(64, method=Image.Quantize.FASTOCTREE)
    small = io.BytesIO()  # a quarter of the bytes, in a notebook that is full of pictures
    few.save(small, "PNG", optimize=True)
    return small.getvalue()


@cache
def _fonts() -> list[str]:
    """The fonts that matplotlib brings, so that every machine draws the same."""
    home = find_spec("matplotlib")
    assert home is not None
    assert home.origin is not None
    fonts = Path(home.origin).parent / "mpl-data/fonts/ttf"
    return [str(fonts / f"DejaVuSans{kind}.ttf") for kind in ("", "-Bold", "Mono")]


def _size(svg: str) -> tuple[int, int]:
    """How large an SVG is by itself, in pixels of CSS."""
    found = re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    width, height = float(found[1]), float(found[2])
    wide = re.search(r"max-width:(\d+)px", svg)
    by = min(int(wide[1]) if wide else width, 900) / width
    return round(width * by), round(height * by)
