"""Where and how often training state is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from alphatriangle.config.base import Fixed, Irrelevant, Live, Section
from alphatriangle.utils.mlflow_errors import masked


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
    """Log to MLflow; one that fails never fails a save or holds up a step."""
    mlflow_tracking_uri: Irrelevant[str | None] = None
    """MLflow server; else that of ``MLFLOW_TRACKING_URI``, else SQLite under the data folder."""
    mlflow_keep_all: Irrelevant[bool] = False
    """On a server: keep the files too that retention has removed here."""
    mlflow_experiment_name: Fixed[str] = Field(default="AlphaTriangle", min_length=1)
    """Experiment that the runs belong to."""

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _without_password(cls, uri: str | None) -> str | None:
        if uri is not None and masked(uri) != uri:
            raise ValueError(
                "no user and no password here, where they would be saved with the run: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri
