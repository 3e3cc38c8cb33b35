"""Imports point one way, and the parts that meet only in ``training`` do not know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "alphatriangle"
LAYERS = {
    "utils": 0,
    "config": 1,
    "game": 2,
    "features": 2,
    "nn": 3,
    "search": 3,
    "ntuple": 3,
    "rl": 3,
    "data": 3,
    "stats": 3,
    "training": 4,
    "viewer": 5,
    "report": 5,
    "cli": 6,
}
STRANGERS = {"data", "stats", "rl"}
# Within a package that has rooms, likewise: from the lowest to the highest.
ROOMS = {
    "data": [
        "errors",
        "storage",
        "records json_files path_manager dtypes",
        "stores",
        "state_types",
        "schemas safe_pickle places",
        "replay",
        "serializer",
        "commits",
        "runs parts",
        "elsewhere replica",
        "data_manager",
        "saver",
    ],
    "training": [
        "process profiling progress courses players",
        "cluster",
        "play display judging",
        "agent compiling mlflow_description run_plan way_back",
        "from_replica learning",
        "setup",
        "loop ray_dashboard",
        "run",
    ],
}


def run_time_imports(tree: ast.AST) -> Iterator[str]:
    """Names of modules that are imported when the code runs, not for its types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from run_time_imports(node)


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for name in run_time_imports(ast.parse(file.read_text())):
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if top != "alphatriangle" or other not in LAYERS or other == package:
                continue
            assert LAYERS[other] <= LAYERS[package], f"{file}: {name}"
            assert not {package, other} <= STRANGERS, f"{file}: {name}"


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_what_lies_below_it(package: str) -> None:
    levels = {name: i for i, names in enumerate(ROOMS[package]) for name in names.split()}
    inside = {p.stem for p in (ROOT / package).iterdir() if not p.name.startswith("__")}
    assert inside - {"README"} == set(levels)
    for name, level in levels.items():
        place = ROOT / package / name
        for file in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            for imported in run_time_imports(ast.parse(file.read_text())):
                above, _, rest = imported.partition(f"alphatriangle.{package}.")
                other = rest.partition(".")[0]
                if above == "" and other not in ("", name):
                    assert levels[other] < level, f"{file}: {imported}"


def test_every_package_has_its_layer() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(LAYERS)
