"""Finds what gives a prediction's answer away before its question is asked.

Pure: a page and the labels of its diagrams in, problems out. What counts is all text above the
question: headings, sentences, comments in code, pictures' alternative texts, diagrams' labels. What
is true is taken from the saved output of the reveal. A saved picture may show nothing that a later
cell has done.

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
from typing import Any

from nbformat import NotebookNode

from labkit.course.page import Page, calls, tags
from labkit.see.scene import MIME

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


# --- saved pictures ---------------------------------------------------------------------------

_BY = {  # the calls that do what is drawn as done to a server, where they are named otherwise
    "kill": ("kill", "scale", "power_cut", "die"),
    "stop": ("stop", "restart"),
    "start": ("start", "restart", "scale", "again", "join", "add_node"),
}


def later_deeds(page: Page) -> Iterator[str]:
    """What saved controls show that only a later cell has done, by the data of the picture.

    They end before each picture below of the same lab, and what was done to a server in them is
    something that a cell above can have done since the lab was made.
    """
    cells = page.notebook.cells
    labs = [at for at, cell in enumerate(cells) if _makes_lab(cell)]
    for at, cell in enumerate(cells):
        if cell.cell_type != "code" or "controls" not in tags(cell):
            continue
        made = max((lab for lab in labs if lab <= at), default=0)
        gone = min((lab for lab in labs if lab > at), default=len(cells))
        below = [shown["until"] for later in cells[at + 1 : gone] for shown in _pictures(later)]
        for shown in _pictures(cell):
            for until in below:
                if shown["until"] >= until:
                    yield (
                        f"{page.path.name}, cell {at + 1}: the controls were saved at "
                        f"{shown['until']} s, and a picture below at {until} s"
                    )
            for verb in sorted(_done(shown)):
                if not any(_can(above, verb) for above in cells[made : at + 1]):
                    yield f"{page.path.name}, cell {at + 1}: no cell above has done: {verb}"


def _makes_lab(cell: NotebookNode) -> bool:
    return bool(calls(cell, "Lab.only") or calls(cell, "Lab") or calls(cell, "follow"))


def _pictures(cell: NotebookNode) -> Iterator[Mapping[str, Any]]:
    for output in cell.get("outputs", []):
        if MIME in output.get("data", {}):
            yield output.data[MIME]


def _done(shown: Mapping[str, Any]) -> set[str]:
    """The verbs that a picture's marks name."""
    return {verb for lane in shown["lanes"] for _, verb in lane["marks"]} - {"session ends"}


def _can(cell: NotebookNode, verb: str) -> bool:
    return cell.cell_type == "code" and any(calls(cell, call) for call in _BY.get(verb, {verb}))


# --- where the truth comes from ---------------------------------------------------------------


def unmeasured(page: Page) -> Iterator[str]:
    """The reveals of a page whose truth is not taken from its run.

    A truth is measured if it comes, by whatever names, from something that the lab or the page's
    own functions do; or if it is a word, and the run decides which of several reveals is reached.
    One that is reckoned by a rule (a majority, from a number of members) is not.
    """
    known: dict[str, set[str]] = {}
    for at, cell in enumerate(page.notebook.cells):
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        _learn(tree, known)
        reveals = [call for call in calls(cell, "reveal") if call.args]
        for call in reveals:
            truth = call.args[0]
            decided = isinstance(truth, ast.Constant) and len(reveals) > 1
            reckoned = any(isinstance(node, ast.FloorDiv) for node in ast.walk(truth))
            if reckoned or not (decided or _runs(_names(truth), known)):
                said = ast.unparse(truth)
                yield f"{page.path.name}, cell {at + 1}: reveal({said}) takes no truth from the run"


def _learn(tree: ast.AST, known: dict[str, set[str]]) -> None:
    """Note for each name what it is made from; what is imported from the lab is the run itself."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=module) if (module or "").startswith("labkit"):
                known.update({alias.asname or alias.name: {_RUN} for alias in node.names})
            case ast.Assign(targets=targets, value=value):
                for name in {name for target in targets for name in _names(target)}:
                    known.setdefault(name, set()).update(_names(value))
            case (
                ast.AugAssign(target=target, value=value)
                | ast.NamedExpr(target=target, value=value)
            ):
                for name in _names(target):
                    known.setdefault(name, set()).update(_names(value))
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                for name in _names(target):
                    known.setdefault(name, set()).update(_names(value))
                _decide(node, _names(value), known)
            case ast.With(items=items):
                for item in items:
                    for name in _names(item.optional_vars) if item.optional_vars else ():
                        known.setdefault(name, set()).update(_names(item.context_expr))
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                known[name] = {_RUN}
                for call in ast.walk(node):  # what it notes while it runs
                    match call:
                        case ast.Call(func=ast.Attribute(value=ast.Name(id=kept), attr="append")):
                            known.setdefault(kept, set()).add(_RUN)
            case ast.Import(names=names):
                known.update({alias.asname or alias.name: {_RUN} for alias in names})  # a clock
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=args):
                known.setdefault(name, set()).update(n for arg in args for n in _names(arg))
            case ast.Call(func=ast.Attribute() as called):
                for arg in [*node.args, *(word.value for word in node.keywords)]:
                    if isinstance(arg, ast.Attribute):  # such as watch=notices.append
                        for name in _names(arg):
                            known.setdefault(name, set()).update(_names(called))
            case ast.If(test=value) | ast.While(test=value):
                _decide(node, _names(value), known)
            case ast.Try(body=body):
                _decide(node, {name for line in body for name in _names(line)}, known)


def _decide(block: ast.AST, by: set[str], known: dict[str, set[str]]) -> None:
    """What is assigned in a block is made from what decides whether the block runs, too."""
    for node in ast.walk(block):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AugAssign) else []
        for name in {name for target in targets for name in _names(target)}:
            known.setdefault(name, set()).update(by)


_RUN = "(the run)"


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _runs(names: set[str], known: Mapping[str, set[str]]) -> bool:
    seen: set[str] = set()
    while names:
        seen |= names
        names = set().union(*(known.get(name, set()) for name in names)) - seen
    return _RUN in seen


# --- the words of an answer -------------------------------------------------------------------


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
