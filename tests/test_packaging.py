"""The wheel and the source distribution hold what they need, and run from where they are put."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

import alphatriangle

ROOT = Path(__file__).parent.parent


def run(*words: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions, built from what git has here and what is new."""
    if not (ROOT / ".git").exists():
        pytest.skip("git says which files the project has, and this is no checkout")
    folder = tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    source = folder / "source"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run("-m", "build", "--no-isolation", "--outdir", str(folder), str(source), cwd=folder)
    return folder


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == alphatriangle.__version__


def test_the_source_distribution_is_the_whole_project(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    source = built / "source"
    files = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()}
    # What the build itself leaves in the folder is no part of the project.
    missing = {f for f in files - names if not f.startswith(("build/", "alphatriangle.egg-info/"))}
    assert not missing


def test_the_wheel_runs_from_another_place(built: Path, tmp_path: Path) -> None:
    """Also what is not Python in it: the pages' templates."""
    (path,) = built.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(path) as archive:
        assert not [n for n in archive.namelist() if n.startswith(("tests/", "docs/"))]
        archive.extractall(site)
    where = run(
        "-c", "import alphatriangle as a; print(a.__file__)", cwd=tmp_path, PYTHONPATH=str(site)
    )
    assert Path(where.strip()).is_relative_to(site)
    program = """
import numpy as np
from alphatriangle.cli.app import app
from alphatriangle.game import GameState
from alphatriangle.utils.types import Episode
from alphatriangle.viewer.frames import frames
from alphatriangle.viewer.page import game_page
from importlib import resources
assert game_page(list(frames(Episode(0, 1, np.empty(0, np.int16), 0.0, 0, False))), "x")
assert resources.files("alphatriangle").joinpath("py.typed").is_file()
assert resources.files("alphatriangle.report").joinpath("page.html").is_file()
app(["runs", "list"])
"""
    shown = run("-c", program, cwd=tmp_path, PYTHONPATH=str(site))
    assert "no runs in" in shown


def test_the_lowest_versions_that_are_declared_are_those_that_are_tested() -> None:
    """``make test-minimum`` installs what constraints-minimum.txt says."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = (ROOT / "constraints-minimum.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert len(declared) == len(tested)
    for requirement in declared:
        name, lowest = requirement.split(">=")
        assert Version(tested[name]) == Version(lowest), name
