"""Two processes can play for one training only when they are the same where it matters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import alphatriangle
from alphatriangle.training.cluster.identity import difference, here, package_digest

SOURCES = Path(alphatriangle.__file__).parent


def test_a_process_can_play_for_itself() -> None:
    assert difference(here(), here()) is None
    assert "missing" not in here().versions.values()


def test_any_change_of_the_sources_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    digest = package_digest(copy)
    assert digest == package_digest(SOURCES) == here().package
    (copy / "rl/self_play.py").rename(copy / "rl/self_play_2.py")
    renamed = package_digest(copy)
    (copy / "rl/self_play_2.py").open("a").write("\n")
    assert len({digest, renamed, package_digest(copy)}) == 3


@pytest.mark.parametrize("library", ["python", "numpy", "torch", "numba", "ray"])
def test_another_version_of_what_computes_is_refused_by_name(library: str) -> None:
    theirs = here()._replace(versions={**here().versions, library: "0.1"})
    assert difference(here(), theirs) == f"it has {library} 0.1 (here {here().versions[library]})"


def test_another_processor_is_welcome() -> None:
    assert difference(here(), here()._replace(processor="riscv64 generic 0")) is None


def test_other_code_goes_before_other_versions() -> None:
    theirs = here()._replace(package="0" * 16, versions={})
    assert "other code (0000000000000000" in str(difference(here(), theirs))
