"""Scripts in a piece of HTML, which walk through a run or a schedule without a kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def parts(*names: str) -> str:
    """The scripts `see/NAME.js`, one after the other."""
    return "".join(files("labkit").joinpath(f"see/{name}.js").read_text() for name in names)


def script(uid: str, name: str, call: str) -> str:
    """The script `see/NAME.js`; `call` is made with each element `host` that waits as `uid`."""
    begin = f"each('[data-walk=\"{uid}\"]', (host) => {call});"
    return f"<script>(function () {{\n{parts('walk', name)}{begin}\n}})();</script>"


def in_script(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script it stands in, nor begin a comment or a script inside it."""
    text = json.dumps(data).replace("</", "<\\/")
    return re.sub(r"<(?=!|script)", r"\\u003c", text, flags=re.IGNORECASE)
