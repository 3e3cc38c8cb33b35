"""What is written as JSON: commits and what a run says of itself. Reading them takes no torch."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _safe_relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or any(c in path for c in ":\\\0"):
        raise ValueError(f"{path!r} does not lie inside the run folder")
    return path


RelativePath = Annotated[str, AfterValidator(_safe_relative)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Xxh3 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
FileKind = Literal["checkpoint", "buffer", "segment", "episodes"]


class CommittedFile(BaseModel):
    """A file that a commit names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: RelativePath
    """Relative to the run folder."""
    kind: FileKind
    size: int = Field(ge=0, lt=2**63)
    sha256: Sha256
    """What the content is known by: in buffer files, in replicas, in MLflow."""
    xxh3: Xxh3 | None = Field(default=None, exclude_if=lambda value: value is None)
    """XXH3 of 128 bits, by which a start checks the bytes. Files that were committed before format
    version 2 have none, also in newer commits: it is only made of bytes on their way to the
    disk. Where it is none, it does not stand in the JSON."""
    first: int | None = None
    """Segments: number of the first row."""
    end: int | None = None
    """Segments: one past the number of the last row."""


class Commit(BaseModel):
    """``commits/step_N.json``: what belongs together. It exists, so the save exists."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1, 2] = 1
    """2 where files may have an ``xxh3``."""
    run_name: str
    sequence: int = Field(ge=1, lt=2**63)
    """Order of the commits of a run; names and clocks do not decide."""
    global_step: int = Field(ge=0, lt=2**63)
    created_at: str
    """UTC, ISO 8601."""
    created_ns: int = Field(ge=0)
    """The same in nanoseconds since 1970."""
    episodes_played: int = Field(ge=0)
    total_simulations_run: int = Field(ge=0)
    is_best: bool
    """Its own checkpoint was known to be the best when it was saved."""
    best_sequence: int | None = None
    """The commit whose checkpoint was the best known then, perhaps this one; none where ``is_best``
    alone tells. A verdict on a checkpoint may come later than its commit, which cannot change."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """What the caller wants to be seen with the commit, such as the score."""
    versions: dict[str, str] = Field(default_factory=dict)
    files: list[CommittedFile]

    @model_validator(mode="after")
    def _is_of_its_version(self) -> Self:
        if self.format_version == 1 and any(file.xxh3 is not None for file in self.files):
            raise ValueError("a file has an xxh3, which is of format version 2")
        return self

    def of_kind(self, kind: FileKind) -> list[CommittedFile]:
        """The files of one kind, in order."""
        return [f for f in self.files if f.kind == kind]


class RunInfo(BaseModel):
    """``run.json``: what a run is, beside its state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    run_name: str
    created_at: str
    preset: str | None = None
    target_steps: int = Field(ge=1)
    """The run is complete when its newest commit has reached this step."""
    steps_per_round: int = Field(ge=1)
    """How many steps a complete run is extended by when it is started again."""
    mlflow_run_id: str | None = None
    """Of runs whose log of uploads does not name it."""
    inference_dtype: str | None = None
    """Arithmetic of self-play, chosen at the start and kept."""
    fused_inference: bool = False
    """Whether self-play fuses its convolutions, likewise."""
    training_dtype: str = "float32"
    """Arithmetic of the learner, likewise; runs that do not say so began with float32."""
    num_threads: int | None = None
    """torch threads chosen at the start and kept: they decide the order of sums."""
    copies: int | None = None
    """Copies of the tables of an n-tuple network that learn at once, likewise."""
    syncs_folders: bool = True
    """Whether the file system makes names durable when asked to: some cannot."""
    started_from: str | None = None
    """The checkpoint or run that this one started from."""


class Pins(BaseModel):
    """``pins.json``: commits that retention never removes, by sequence number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    sequences: list[int] = Field(default_factory=list)


class RejectedCommit(BaseModel):
    """A commit that a load passed over."""

    path: str
    reason: str


class DamagedFile(BaseModel):
    """A file that a commit names and that is not what was saved."""

    path: str
    """Relative to the run folder."""
    reason: str
