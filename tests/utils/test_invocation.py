"""A command that is named in a message works in the shell that the person sits at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alphatriangle.utils.invocation import command

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a virtual environment in it, as ``make`` leaves it."""
    scripts = tmp_path / "it's here" / ".venv" / "bin"
    scripts.mkdir(parents=True)
    python = scripts / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script = scripts / "alphatriangle"
    script.write_text(
        f"#!{sys.executable}\nfrom alphatriangle.utils.invocation import command\n"
        "import sys\nprint(command(*sys.argv[1:]))\n"
    )
    for file in (python, script):
        file.chmod(0o755)
    return scripts.parents[1]


def said(arguments: list[str], cwd: Path, path: str) -> str:
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_it_can_be_typed_where_it_was_started(project: Path) -> None:
    script = project / ".venv/bin/alphatriangle"
    plain = os.defpath
    assert said([".venv/bin/alphatriangle", "x y"], project, plain) == (
        ".venv/bin/alphatriangle 'x y'"
    )
    assert said([str(script)], project, plain) == ".venv/bin/alphatriangle"
    assert said(["./alphatriangle"], script.parent, plain) == "./alphatriangle"
    outside = said([str(script)], project.parent, plain)
    assert outside == "'it'\"'\"'s here/.venv/bin/alphatriangle'"
    assert subprocess.run(
        ["sh", "-c", outside],
        cwd=project.parent,
        env={**os.environ, "PATH": plain, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    ).returncode == 0  # fmt: skip
    on_path = f"{script.parent}:{plain}"
    assert said([str(script)], project.parent, on_path) == "alphatriangle"
    other = shutil.copy(script, project / "alphatriangle")
    assert said([str(other)], project, on_path) == "./alphatriangle", "not the one on the PATH"


def test_started_as_a_module_it_is_named_as_one(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[0] = '/x/alphatriangle/__main__.py'\n"
        "from alphatriangle.utils.invocation import command; print(command('runs', 'list'))"
    )
    python = Path(sys.executable)
    elsewhere = said([str(python), "-c", code], tmp_path, os.defpath)
    assert elsewhere == f"{python} -m alphatriangle runs list"
    there = said([str(python), "-c", code], tmp_path, str(python.parent))
    assert there == "python -m alphatriangle runs list"


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "argv", ["bin/alphatriangle"])
    assert command("train").endswith("alphatriangle train")
