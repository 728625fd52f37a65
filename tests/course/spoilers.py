"""Finds what gives a prediction's answer away before its question is asked.

Pure: a page and the labels of its diagrams in, problems out. What counts is all text above the
question: headings, sentences, comments in code, pictures' alternative texts, diagrams' labels. What
is true is taken from the saved output of the reveal.

A sentence gives an answer away if it has
- words that the page itself names as telling, in the metadata of the question's cell;
- all words of the true option that are neither in the question nor in another option, unless it has
  another option's words too;
- the true number, followed by what is counted; from 20 on, the number alone;
- all things of an order in the right order.

Words are compared without their endings. The metadata of a question's cell:

    "labkit": {"tells": ["regular expression", ...], "harmless": ["words of the page", ...]}

`tells` is never empty, and something from the question on has to match it, since a page does tell
in the end. `harmless` are words above that only look like the answer.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose

from nbformat import NotebookNode

from labkit.course.page import Page, calls

_ENDINGS = re.compile(r"(?:ing|ed|es|e|s|ly)$")
_SMALL = re.findall(
    r"\w+",
    "a an and are as at be by do does each for from has have how in is it its many no none not of "
    "on one or so than that the then there they this to was what which who will with yes",
)
_NAMES = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty",
)
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_LARGE = 20  # from here on a number is no coincidence


@dataclass(frozen=True)
class Question:
    """A prediction of a page, with what is true."""

    cell: int  # counted from 0
    text: str
    kind: str  # "options", "number" or "order"
    items: tuple[str, ...]  # the options, or the things to be put in order
    unit: str
    truth: str | None  # None if the saved page does not tell
    tells: tuple[str, ...]
    harmless: tuple[str, ...]


def questions(page: Page) -> Iterator[Question]:
    """The predictions of a page."""
    cells = page.notebook.cells
    for at, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        for call in calls(cell, "predict"):
            given = {word.arg: word.value for word in call.keywords}
            options = given.get("options", call.args[2] if len(call.args) > 2 else None)
            listed = given.get("order", options)
            items = ast.literal_eval(listed) if listed is not None else None
            kind = "order" if "order" in given else "options" if items is not None else "number"
            own = cell.metadata.get("labkit", {})
            yield Question(
                cell=at,
                text=ast.literal_eval(call.args[1]),
                kind=kind,
                items=tuple(map(str, items or ())),
                unit=ast.literal_eval(given["unit"]) if "unit" in given else "",
                truth=_truth(cells[at + 1 :]),
                tells=tuple(own.get("tells", ())),
                harmless=tuple(own.get("harmless", ())),
            )


def _truth(cells: Sequence[NotebookNode]) -> str | None:
    for cell in cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get("text/plain", "")
            if found := re.match(r"○ Not predicted\. It is (.+)\.$", shown, re.DOTALL):
                return found[1]
    return None


def problems(page: Page, labels: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong with a page's predictions. `labels` are the diagrams' texts, by file name."""
    return [
        f"{page.path.name}, cell {question.cell + 1} ({question.text}): {problem}"
        for question in questions(page)
        for problem in _problems(page, question, labels)
    ]


def _problems(page: Page, question: Question, labels: Mapping[str, Sequence[str]]) -> Iterator[str]:
    cells = page.notebook.cells
    if question.truth is None:
        yield "no reveal follows that says what was true"
        return
    if question.kind == "order" and _things(question.truth) == list(question.items):
        yield "its things are listed in the order that is right"
    tells = [re.compile(pattern, re.IGNORECASE) for pattern in question.tells]
    after = [text for _, text in _texts(cells[question.cell + 1 :], labels)]
    for pattern in tells:
        if not any(pattern.search(text) for text in after):
            yield f"nothing below tells {pattern.pattern!r}"
    if not tells:
        yield "its cell's metadata do not name what would tell the answer: labkit.tells"
    rules = [_rule(question), *(pattern.search for pattern in tells)]
    for place, text in _texts(cells[: question.cell], labels):
        for phrase in question.harmless:
            text = text.replace(phrase, "…")
        if any(rule(text) for rule in rules):
            yield f"{question.truth!r} is told by the {place}: {text}"


def _texts(
    cells: Sequence[NotebookNode], labels: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """All text in these cells: what kind of text, and a sentence of it."""
    for cell in cells:
        if cell.cell_type == "code":
            for comment in _comments(cell.source):
                yield "comment", comment
            continue
        for alt, path in _IMAGE.findall(cell.source):
            for sentence in _sentences(alt):
                yield "alternative text", sentence
            for label in labels.get(path.rsplit("/")[-1].removesuffix(".svg"), ()):
                yield "diagram's label", label
        for part in re.split(r"\n\n|\n(?=[-*|#>]|\d+\.)", _IMAGE.sub("", cell.source)):
            place = "heading" if part.startswith("#") else "text"
            for sentence in _sentences(part):
                yield place, sentence


def _sentences(text: str) -> list[str]:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # a link's words
    text = re.sub(r"[*`#>|]", " ", text)
    return [s.strip() for s in re.split(r"(?<=[.!?:;])\s", " ".join(text.split())) if s.strip()]


def _comments(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")


def _rule(question: Question) -> Callable[[str], object]:
    """Whether a sentence gives the answer away, as far as the answer's own words can say."""
    truth = question.truth or ""
    if question.kind == "order":
        return _in_order(_things(truth))
    if found := re.match(r"(-?\d+(?:\.\d+)?)(?: \w+)?$", truth):
        return _number(float(found[1]), question)
    return _option(truth, question)


def _things(truth: str) -> list[str]:
    return truth.split(", then ")


def _in_order(things: Sequence[str]) -> Callable[[str], bool]:
    pattern = re.compile(r"\b.*\b".join(map(re.escape, things)), re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


def _number(value: float, question: Question) -> Callable[[str], bool]:
    counted = re.search(r"\bhow many((?: \w+){1,4})", question.text, re.IGNORECASE)
    nouns = _stems(question.unit) | _stems(counted[1] if counted else "")
    others = {float(item) for item in question.items if _is_number(item)} - {value}

    def tells(text: str) -> bool:
        words = re.findall(r"\w+(?:\.\d+)?", text)
        found = ((at, _value(word)) for at, word in enumerate(words))
        numbers = {at: number for at, number in found if number is not None}
        if others & set(numbers.values()):
            return False  # it names another option as well
        exact = value.is_integer()
        for at, number in numbers.items():
            same = number == value if exact else isclose(number, value, rel_tol=0.1)
            follows = {_stem(word) for word in words[at + 1 : at + 3]}
            if same and (follows & nouns or (exact and abs(value) >= _LARGE)):
                return True
        return False

    return tells


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(?:\.\d+)?", text) is not None


def _value(word: str) -> float | None:
    if word.lower() in _NAMES:
        return float(_NAMES.index(word.lower()))
    return float(word) if _is_number(word) else None


def _option(truth: str, question: Question) -> Callable[[str], bool]:
    asked = _stems(question.text)
    every = {option: _stems(option) for option in {*question.items, truth}}
    own = {
        option: stems - asked - set().union(*(o for name, o in every.items() if name != option))
        for option, stems in every.items()
    }
    wanted = own.pop(truth)

    def tells(text: str) -> bool:
        words = _stems(text)
        if not wanted or not wanted <= words:
            return False
        return not any(other and other <= words for other in own.values())

    return tells


def _stems(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {_stem(word) for word in words if word not in _SMALL}


def _stem(word: str) -> str:
    word = word.lower()
    return _ENDINGS.sub("", word) if len(word) > 3 else word
