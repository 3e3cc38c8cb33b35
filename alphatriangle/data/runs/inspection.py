"""Looking into a run without touching it: what a commit holds, and whether it is sound."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.files import CommitList, verify_file
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import DataError
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.records import RejectedCommit
from alphatriangle.data.runs.summary import summarize_run
from alphatriangle.data.serializer import Serializer


class FileCheck(NamedTuple):
    """One committed file and what is wrong with it."""

    path: str
    size: int
    problem: str | None


def check_files(paths: PathManager, known: CommitList) -> Iterator[FileCheck]:
    """Check every byte of every file that some commit names, each file once."""
    seen: set[str] = set()
    for stored in known.commits:
        for file in stored.commit.files:
            if file.path in seen:
                continue
            seen.add(file.path)
            problem = None
            try:
                verify_file(paths.run, file)
            except DataError as e:
                problem = str(e)
            yield FileCheck(file.path, file.size, problem)


def unsound_commits(
    paths: PathManager, known: CommitList, serializer: Serializer
) -> Iterator[RejectedCommit]:
    """Commits that training could not go on from, newest first; each file is read once."""
    sound: set[str] = set()
    for stored in known.commits:
        try:
            read_sound(paths.run, stored.path, stored.commit, serializer, seen=sound)
        except DataError as e:
            yield RejectedCommit(path=str(stored.path), reason=str(e))
        else:
            sound.update(file.path for file in stored.commit.files)


def describe_run(config: PersistenceConfig, name: str, step: int | None = None) -> dict[str, Any]:
    """Everything ``runs show`` tells of a run, after checking every byte of the commit it loads.

    That is the newest sound one, or the newest of ``step``.

    Raises:
        DataError: the run, or a sound commit of it, does not exist.
    """
    existing_run(config, name)
    state = load_for_reading(config, name, step)
    checkpoint, commit, buffer = state.checkpoint_data, state.commit, state.buffer_data
    assert checkpoint is not None
    assert commit is not None
    parameters = sum(t.numel() for t in checkpoint.model_state_dict.values())
    return {
        **summarize_run(config, name)._asdict(),
        "state_digest": state_digest(checkpoint, buffer),
        "commit": {
            "path": state.source,
            "sequence": commit.sequence,
            "global_step": commit.global_step,
            "created_at": commit.created_at,
            "episodes_played": commit.episodes_played,
            "total_simulations_run": commit.total_simulations_run,
            "is_best": commit.is_best,
            "best_sequence": commit.best_sequence,
            "metrics": commit.metrics,
            "versions": commit.versions,
            "files": [f.model_dump(exclude_none=True) for f in commit.files],
        },
        "age_seconds": max(time.time() - commit.created_ns / 1e9, 0.0),
        "rejected_commits": [r.model_dump() for r in state.rejected],
        "damaged_recordings": [d.model_dump() for d in state.damaged_recordings],
        "buffer_rows": 0 if buffer is None else len(buffer),
        "buffer_capacity": None if buffer is None else buffer.capacity,
        "parameters": parameters,
        "tensors": {
            k: {
                "shape": list(v.shape),
                "dtype": str(v.dtype).removeprefix("torch."),
                "bytes": v.nbytes,
            }
            for k, v in checkpoint.model_state_dict.items()
        },
        "components": sorted(checkpoint.components),
    }
