"""The names that every page imports: `from labkit import Lab, predict`.

Others live where their name explains itself: `labkit.charts`, `labkit.fire`, `labkit.story`. A name
is loaded when it is first used, so that `import labkit` costs nothing and a node never imports
matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import names_of

if TYPE_CHECKING:
    from labkit.course.growing import my_server as my_server
    from labkit.course.predict import predict as predict
    from labkit.course.task import exercise as exercise
    from labkit.course.task import progress as progress
    from labkit.errors import LabError as LabError
    from labkit.judge.rules import check as check
    from labkit.lab.lab import Lab as Lab
    from labkit.see.controls import controls as controls
    from labkit.see.picture import assignment as assignment
    from labkit.see.replay import replay as replay
    from labkit.see.verdict import verdict as verdict

__getattr__, __dir__ = names_of(__name__, __file__)
