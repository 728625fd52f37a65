"""What a page's cells become when they are read and not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import zip_longest
from typing import cast

import nbformat
from nbformat import NotebookNode

from labkit.course import exercises
from labkit.course.exercises.exercise import Exercise
from labkit.course.page import Page, alternative, calls, exercise_calls, tags
from labkit.see.picture import PICTURES

GUESS = "guess"  # in the metadata of an output that asks, and in the fold of its answer


def prepared(page: Page) -> NotebookNode:
    """The page's notebook with everything that needs a kernel turned into plain cells."""
    notebook = cast(NotebookNode, nbformat.from_dict(page.notebook))
    tasks: dict[str, Exercise] = {}
    asked: dict[str, str] = {}
    cells = [cell for cell in _without_progress(notebook.cells) if "nav" not in tags(cell)]
    notebook.cells = [
        fresh
        for before, cell, following in zip([None, *cells], cells, [*cells[1:], None], strict=False)
        for fresh in _plain(cell, before, following, page, tasks, asked)
    ]
    for at, cell in enumerate(notebook.cells):
        cell.id = f"cell-{at}"
    return notebook


def _without_progress(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """Nobody makes progress on paper: drop the line that tells, and what introduces it."""
    for cell, following in zip_longest(cells, cells[1:]):
        if following is not None and _tells_progress(following) and cell.cell_type == "markdown":
            *kept, last = cell.source.rstrip().split("\n\n")
            cell.source = "\n\n".join(kept if last.endswith(":") else [*kept, last])
        if not _tells_progress(cell):
            yield cell


def _tells_progress(cell: NotebookNode) -> bool:
    return (
        cell.cell_type == "code" and re.fullmatch(r"progress\(\)", cell.source.strip()) is not None
    )


def _explains(cell: NotebookNode | None, before: NotebookNode | None) -> bool:
    """Whether a text explains the answer of a prediction: it comes right after the reveal."""
    return (
        cell is not None
        and before is not None
        and cell.cell_type == "markdown"
        and before.cell_type == "code"
        and bool(calls(before, "reveal"))
        and not re.search(r"^#{1,6} ", cell.source, re.MULTILINE)
    )


def _plain(
    cell: NotebookNode,
    before: NotebookNode | None,
    following: NotebookNode | None,
    page: Page,
    tasks: dict[str, Exercise],
    asked: dict[str, str],  # which question each of the page's names asks
) -> Iterator[NotebookNode]:
    if cell.cell_type != "code":
        if not _explains(cell, before):
            yield cell
        return
    for output in cell.outputs:
        if "data" in output:
            output.output_type = "display_data"  # how it came to be shown is of no interest
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
            output.metadata["alt"] = alternative(output)
    code, shown = _part(cell, outputs=False), _part(cell, source=False)
    if calls(cell, "controls"):
        shown.outputs = [o for o in shown.outputs if _is_picture(o)]
        yield code
        yield _text(
            "*In the notebook, this is a panel of sliders and buttons over the running servers. "
            "Here is what had happened to them until then. To break them yourself: "
            f"`make lab`, and open page {page.number}.*"
        )
        yield shown
    elif _questions(cell) and shown.outputs:
        if set_up := _before_question(cell):
            yield nbformat.v4.new_code_cell(set_up)
        _name_questions(cell, shown, asked)
        yield from _boxed([shown])
    elif reveals := calls(cell, "reveal"):
        yield code
        about = asked.get(ast.unparse(reveals[0].func).removesuffix(".reveal"), "")
        why = [following] if following is not None and _explains(following, cell) else []
        yield from _folded("What happened", [_without_verdict(shown), *why], about=about)
    elif exercise_calls(cell):
        for name, exercise in _exercises(cell):
            tasks[name] = exercise
            yield from _boxed([_text(f"**Exercise: {exercise.heading}** {exercise.question}")])
    elif checks := calls(cell, "ex.check"):
        yield code
        for check in checks:
            if (task := tasks.get(ast.unparse(check.func).split(".")[0])) is not None:
                yield from _answers(task)
    elif "hide-input" in tags(cell):
        yield from _folded("Code", [code], "source")
        yield shown
    elif "solution" in tags(cell):
        yield from _folded("Answer", [code, shown])
    else:
        yield code
        yield shown


def _is_picture(output: NotebookNode) -> bool:
    """Whether it is what the controls showed last, or their recording, and no words about them."""
    html = output.get("data", {}).get("text/html", "")
    recorded = output.get("metadata", {}).get("labkit") == "recording"
    return recorded or any(mark in html for mark in PICTURES)


def _questions(cell: NotebookNode) -> list[ast.Call]:
    """The calls by which a cell asks for a prediction, or for a bug."""
    return [*calls(cell, "predict"), *calls(cell, "spot")]


def _name_questions(cell: NotebookNode, shown: NotebookNode, asked: dict[str, str]) -> None:
    """Give what a cell asks a name of its own, by which the answer's fold knows it."""
    given = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Assign))
    names = [ast.unparse(node.targets[0]) for node in given if _asks(node.value)]
    questions = [o for o in shown.outputs if o.get("data", {}).get("text/plain")]
    for name, output in zip(names, questions, strict=False):
        new = f"{GUESS}-{len(asked) + 1}"
        asked[name] = asked[new] = output.metadata[GUESS] = new  # a page asks by one name again


def _asks(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Call)
        and re.search(r"\b(predict|spot)$", ast.unparse(value.func)) is not None
    )


def _before_question(cell: NotebookNode) -> str:
    """What a cell does before it asks."""
    first = min(call.lineno for call in _questions(cell))
    return "\n".join(cell.source.split("\n")[: first - 1]).strip()


def _exercises(cell: NotebookNode) -> Iterator[tuple[str, Exercise]]:
    """The exercises that a cell shows, with the names that the page has for them."""
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call = node.value
            if ast.unparse(call.func) == "exercise":
                found = exercises.find(ast.literal_eval(call.args[1]))
                yield ast.unparse(node.targets[0]), found


def _answers(exercise: Exercise) -> Iterator[NotebookNode]:
    for number, hint in enumerate(exercise.hints, start=1):
        yield from _folded(f"Hint {number} of {len(exercise.hints)}", [_text(hint)])
    yield from _folded("One answer", [nbformat.v4.new_code_cell(exercise.solution)])


def _without_verdict(shown: NotebookNode) -> NotebookNode:
    """What happened, without the remark that nobody had predicted it when the page was run."""
    for output in shown.outputs:
        for kind, text in output.get("data", {}).items():
            if kind.startswith("text/"):
                output.data[kind] = text.replace("Not predicted. ", "")
    return shown


def _part(cell: NotebookNode, *, source: bool = True, outputs: bool = True) -> NotebookNode:
    part = cast(NotebookNode, nbformat.from_dict(cell))
    part.source = cell.source if source else ""
    part.outputs = part.outputs if outputs else []
    return part


def _text(text: str) -> NotebookNode:
    return cast(NotebookNode, nbformat.v4.new_markdown_cell(text))


def _folded(
    summary: str, cells: Sequence[NotebookNode], kind: str = "answer", about: str = ""
) -> Iterator[NotebookNode]:
    told = f' data-{GUESS}="{about}"' if about else ""
    yield _text(f'<details class="{kind}"{told}>\n<summary>{escape(summary)}</summary>')
    yield from cells
    yield _text("</details>")


def _boxed(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    yield _text('<div class="task">')
    yield from cells
    yield _text("</div>")
