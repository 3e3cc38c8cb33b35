"""The state that is saved, as pydantic models; what is written as JSON is in ``records.py``.

Readers know one shape; ``format_version`` says which.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, WrapValidator

from alphatriangle.data.records import Commit, DamagedFile, RejectedCommit
from alphatriangle.utils.columns import Column
from alphatriangle.utils.types import Experience

FORMAT_1 = "alphatriangle"
"""The codec of the rows in files of format version 1, which do not name it."""


def _as_it_is(value: Any, check: Callable[[Any], Any]) -> Any:
    """Checked, and not replaced by a plain copy: torch keeps versions in an attribute."""
    checked = check(value)
    return value if isinstance(value, OrderedDict) else checked


class CheckpointData(BaseModel):
    """Everything but the replay rows: ``checkpoints/checkpoint_step_N.pkl``."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    format_version: Literal[1] = 1
    run_name: str
    global_step: int = Field(ge=0)
    episodes_played: int = Field(ge=0)
    total_simulations_run: int = Field(ge=0)
    is_best: bool = False
    created_at: str
    config: dict[str, Any] = Field(default_factory=dict)
    """The run's whole configuration, section -> field -> value."""
    model_state_dict: Annotated[dict[str, torch.Tensor], WrapValidator(_as_it_is)]
    optimizer_state_dict: dict[str, Any]
    stats_state: dict[str, Any] = Field(default_factory=dict)
    components: dict[str, Any] = Field(default_factory=dict)
    """State of further parts by name: schedule, games in flight, episode ledger, ..."""
    rng_state: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class BufferData(BaseModel):
    """The replay buffer: ``buffers/buffer_step_N.pkl``.

    ``buffer_list`` is a list of ``Experience`` tuples or a lazy sequence over segment files. Rows
    are numbered; the buffer holds [oldest, total_added).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    format_version: Literal[1, 2] = 1
    """2 where the fields below ``priorities`` say more than their defaults."""
    buffer_list: Any
    capacity: int | None = None
    total_added: int | None = None
    oldest: int | None = None
    cursor: int | None = None
    max_priority: float = 1.0
    batches_sampled: int = 0
    lineage: str | None = None
    """Whose row numbers these are: segments may hold rows of one lineage only."""
    priorities: npt.NDArray[np.float32] | None = None
    codec: StrictStr = FORMAT_1
    """How the rows are coded in their segments."""
    columns: dict[StrictStr, tuple[StrictStr, tuple[StrictInt, ...]]] = Field(default_factory=dict)
    """What the rows are: name -> dtype and shape."""
    mutable: dict[StrictStr, Any] = Field(default_factory=dict)
    """Columns [N, ...] that change, oldest row first."""
    counters: dict[str, Any] = Field(default_factory=dict)
    """What else the replay counts."""

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        if self.format_version == 1:
            # As packages that know no other version write it, and read it.
            state["__dict__"] = {k: v for k, v in state["__dict__"].items() if k not in _SINCE_2}
        return state

    def __len__(self) -> int:
        return len(self.buffer_list)

    @property
    def experiences(self) -> Sequence[Experience]:
        """``buffer_list``, typed."""
        return self.buffer_list  # type: ignore[no-any-return]

    @property
    def schema_of_rows(self) -> dict[str, Column]:
        """``columns``, typed; empty in format version 1, whose codec fixes them."""
        return {name: Column(*kind) for name, kind in self.columns.items()}

    def buffer_state(self) -> dict[str, Any]:
        """The state beside the rows, complete also for files that hold only a list."""
        count = len(self.buffer_list)
        total = count if self.total_added is None else self.total_added
        state = {
            "capacity": self.capacity,
            "total_added": total,
            "oldest": total - count,
            "lineage": self.lineage,
        }
        if self.format_version > 1:
            return {**self.counters, **state, "mutable": self.mutable}
        return state | {
            "max_priority": self.max_priority,
            "batches_sampled": self.batches_sampled,
            "priorities": self.priorities,
        }


_SINCE_2 = frozenset({"codec", "columns", "mutable", "counters"})


class LoadedTrainingState(BaseModel):
    """What :meth:`DataManager.load_initial_state` found; empty for a fresh start."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    checkpoint_data: CheckpointData | None = None
    buffer_data: BufferData | None = None
    commit: Commit | None = None
    source: str | None = None
    """Where it was loaded from, for people."""
    rejected: list[RejectedCommit] = Field(default_factory=list)
    """Newer commits that were not sound, newest first."""
    damaged_recordings: list[DamagedFile] = Field(default_factory=list)
    """Recorded games that the commit names and that are lost; its state is whole without them."""
