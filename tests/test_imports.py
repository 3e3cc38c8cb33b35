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
    "rl": 3,
    "data": 3,
    "stats": 3,
    "training": 4,
    "viewer": 5,
    "report": 5,
    "cli": 6,
}
STRANGERS = {"data", "stats", "rl"}


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
    files = sorted((ROOT / package).glob("*.py"))
    assert files
    for file in files:
        for name in run_time_imports(ast.parse(file.read_text())):
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if top != "alphatriangle" or other not in LAYERS or other == package:
                continue
            assert LAYERS[other] <= LAYERS[package], f"{file}: {name}"
            assert not {package, other} <= STRANGERS, f"{file}: {name}"


def test_every_package_has_its_layer() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(LAYERS)
