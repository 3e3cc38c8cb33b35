"""Where and how often training state is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from alphatriangle.config.base import Fixed, Irrelevant, Live, Section


class PersistenceConfig(Section):
    """The data folder, the saves, what is kept."""

    root_data_dir: Irrelevant[Path] = Path(".alphatriangle_data")
    """The folder of everything; relative to where the command is started."""
    save_freq_steps: Live[int] = Field(default=200, ge=1)
    """Training steps between two saves; checkpoint and buffer are always saved together."""
    keep_last: Irrelevant[int] = Field(default=5, ge=1)
    """Newest commits that are kept."""
    keep_every_steps: Irrelevant[int | None] = Field(default=None, ge=1)
    """Commits at multiples of this step are kept too."""
    keep_days: Irrelevant[float | None] = Field(default=None, gt=0.0)
    """Commits younger than so many days are kept too."""
    allowed_globals: Irrelevant[tuple[Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")], ...]] = ()
    """Further ``module.name`` globals that a checkpoint of yours may name when it is loaded."""
    mlflow: Irrelevant[bool] = True
    """Log to MLflow (SQLite) under the data folder; a failing server never fails a save."""
    mlflow_experiment_name: Fixed[str] = Field(default="AlphaTriangle", min_length=1)
    """Experiment that the runs belong to."""
