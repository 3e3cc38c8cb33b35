"""What the data package's document depends on is found at the root of each package."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("config", "PersistenceConfig"),
        ("config", "TrainConfig"),
        ("nn", "NeuralNetwork"),
        ("rl", "ExperienceBuffer"),
        ("stats", "StatsCollectorActor"),
        ("utils", "Experience"),
        ("utils", "StateType"),
        ("data", "DataManager"),
        ("data", "PathManager"),
        ("data", "Serializer"),
        ("data", "CheckpointData"),
        ("data", "BufferData"),
        ("data", "LoadedTrainingState"),
    ],
)
def test_a_root_has_its_names(package: str, name: str) -> None:
    root = importlib.import_module(f"alphatriangle.{package}")
    assert getattr(root, name) is not None
    assert name in root.__all__


def test_a_root_is_not_made_heavy_by_them() -> None:
    code = "import sys, alphatriangle.utils; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_names_are_errors() -> None:
    with pytest.raises(ImportError, match="Nothing"):
        exec("from alphatriangle.utils import Nothing")
