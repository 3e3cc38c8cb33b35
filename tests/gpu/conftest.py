"""What needs a GPU: ``make test-gpu``. Nothing here is part of ``make test``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def why_not() -> str | None:
    """Why these tests cannot run here; None where they can."""
    if torch.cuda.is_available():
        return None
    built = torch.version.cuda or torch.version.hip
    if built is None:
        return f"no GPU test was run: torch {torch.__version__} is built for CPUs only"
    return f"no GPU test was run: torch {torch.__version__} for {built} finds no GPU here"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker("gpu")
    if ours and len(ours) == len(items) and (reason := why_not()) is not None:
        pytest.exit(reason, returncode=0)
