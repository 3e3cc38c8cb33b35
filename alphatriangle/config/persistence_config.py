"""Where and how often training state is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from alphatriangle.config.base import Fixed, Irrelevant, Live, Section
from alphatriangle.utils.mlflow_errors import masked


def _no_step(name: str) -> str:
    if "_step_" in name:
        raise ValueError(f"{name!r} is how the file of a step is named")
    return name


# The numbered files beside the links keep their names: what a commit names stays what it is.
LinkName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.pkl$", max_length=64),
    AfterValidator(_no_step),
]


FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
ConfigName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.json$", max_length=64)]
# What a run's folder holds beside what is named here.
_TAKEN = (
    "commits",
    "episodes",
    "replica",
    "profile_data",
    "run.json",
    "pins.json",
    "newest.json",
    "mlflow_uploads.jsonl",
    "mlflow_points.jsonl",
)


_STORES = ("s3", "gs", "az", "file")


class PersistenceConfig(Section):
    """The data folder, the saves, what is kept."""

    root_data_dir: Irrelevant[Path] = Path(".alphatriangle_data")
    """The folder of everything; relative to where the command is started."""
    runs_dir_name: Irrelevant[FolderName] = "runs"
    """Folder of the runs in it."""
    mlflow_dir_name: Irrelevant[FolderName] = "mlruns"
    """Folder of MLflow's database and artifacts in it."""
    checkpoint_dir_name: Fixed[FolderName] = "checkpoints"
    """Folder of the checkpoints in a run."""
    buffer_dir_name: Fixed[FolderName] = "buffers"
    """Folder of the buffers in a run, and of their segments."""
    log_dir_name: Irrelevant[FolderName] = "logs"
    """Folder of messages in a run."""
    tensorboard_dir_name: Fixed[FolderName] = "tensorboard"
    """Folder of curves for TensorBoard in a run."""
    config_filename: Irrelevant[ConfigName] = "configs.json"
    """The settings of a run, in its folder."""
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
    latest_checkpoint_filename: Irrelevant[LinkName] = "latest.pkl"
    """Link to the newest checkpoint of a run, beside its checkpoints."""
    best_checkpoint_filename: Irrelevant[LinkName] = "best.pkl"
    """Link to the best checkpoint of a run, beside its checkpoints."""
    latest_buffer_filename: Irrelevant[LinkName] = "buffer.pkl"
    """Link to the newest buffer of a run, beside its buffers."""
    mlflow: Irrelevant[bool] = True
    """Log to MLflow; one that fails never fails a save or holds up a step."""
    mlflow_tracking_uri: Irrelevant[str | None] = None
    """MLflow server; else that of ``MLFLOW_TRACKING_URI``, else SQLite under the data folder."""
    mlflow_keep_all: Irrelevant[bool] = False
    """On a server: keep the files too that retention has removed here."""
    mlflow_experiment_name: Fixed[str] = Field(default="AlphaTriangle", min_length=1)
    """Experiment that the runs belong to."""

    replica: Irrelevant[str | None] = None
    """Where commits are copied to, and a run is restored from on another machine: the URL of a
    folder or bucket, such as ``s3://bucket/alphatriangle`` or ``file:///mnt/nas/alphatriangle``."""
    replica_sync: Irrelevant[bool] = False
    """A save waits until the replica has it."""

    @field_validator("replica")
    @classmethod
    def _is_a_store(cls, url: str | None) -> str | None:
        # What else is wrong with it is found when it is opened; this must not even be saved.
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if "@" in rest or "?" in rest or ":" in rest.partition("/")[0]:
            raise ValueError(
                "no user, no password, no port and no question mark here, where they would be "
                "saved with the run: credentials come from the environment, a profile, or the "
                "machine's role"
            )
        if not separator or scheme not in _STORES:
            raise ValueError(f"it begins with none of {', '.join(f'{s}://' for s in _STORES)}")
        return url

    @model_validator(mode="after")
    def _sync_has_a_replica(self) -> Self:
        if self.replica_sync and self.replica is None:
            raise ValueError("replica_sync is set and replica is not: there is nothing to wait for")
        return self

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _without_password(cls, uri: str | None) -> str | None:
        if uri is not None and masked(uri) != uri:
            raise ValueError(
                "no user and no password here, where they would be saved with the run: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        # Where case makes no difference, names that differ in it are the same.
        if self.runs_dir_name.casefold() == self.mlflow_dir_name.casefold():
            raise ValueError("runs_dir_name and mlflow_dir_name are the same")
        inside = ("checkpoint_dir_name", "buffer_dir_name", "log_dir_name", "tensorboard_dir_name")
        taken = dict.fromkeys(_TAKEN, "a name of a run's own")
        for field in (*inside, "config_filename"):
            name = getattr(self, field)
            if (other := taken.get(name.casefold())) is not None:
                raise ValueError(f"{field} is {name!r}, which is {other}")
            taken[name.casefold()] = field
        links = (self.latest_checkpoint_filename, self.best_checkpoint_filename)
        if links[0].casefold() == links[1].casefold():
            raise ValueError("latest_checkpoint_filename and best_checkpoint_filename are the same")
        return self
