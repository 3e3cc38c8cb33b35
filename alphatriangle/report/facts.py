"""Everything a report tells, read from a run that may be training meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.config import Config, PersistenceConfig, build, preset
from alphatriangle.config.toml import differences
from alphatriangle.data.commits.files import StoredCommit, list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.path_manager import existing_run
from alphatriangle.data.records import RunInfo
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replica.state import ReplicaState, read_any_state
from alphatriangle.data.runs.summary import RunSummary, read_run_info, summarize_run
from alphatriangle.data.schemas import FORMAT_1, BufferData
from alphatriangle.game.geometry import CELLS
from alphatriangle.training.judging.evaluation import BASELINES, PlayerScore, evaluate_baseline
from alphatriangle.utils.types import Episode, Rows
from alphatriangle.viewer.recordings import recorded_games

BASELINE_GAMES: Final = 100


class Curve(NamedTuple):
    """The points of one metric."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class Replay(NamedTuple):
    """What the buffer holds. N rows."""

    rows: int
    capacity: int | None
    occupancy: npt.NDArray[np.float64]  # [120] share of rows in which a cell is filled
    policy_entropy: npt.NDArray[np.float64]  # nats, of rows with a policy
    returns: npt.NDArray[np.float64]  # [N]
    priorities: npt.NDArray[np.float64] | None  # [N]
    afterstates: float  # share of rows
    first_row: int  # number of the oldest row; the newest is first_row + rows - 1


class Report(NamedTuple):
    """Facts only; how they look is decided elsewhere."""

    summary: RunSummary
    info: RunInfo | None
    config: Config
    changed: dict[str, tuple[object, object]]  # key -> (preset's value, the run's)
    versions: dict[str, str]
    curves: dict[str, Curve]
    baselines: list[PlayerScore]
    commits: list[StoredCommit]  # newest first
    replica: ReplicaState | None  # what the folder remembers of it
    new_bytes: dict[int, int]  # sequence -> bytes that no older commit names
    replay: Replay | None
    games: list[Episode]


def collect(persistence: PersistenceConfig, run: str, games: int = BASELINE_GAMES) -> Report:
    """Read everything; nothing is locked or changed. The baselines play ``games`` games each.

    Raises:
        DataError: there is no such run, or no sound commit of it.
    """
    paths = existing_run(persistence, run)
    state = load_for_reading(persistence, run)
    assert state.checkpoint_data is not None
    config = build(state.checkpoint_data.config)
    info = read_run_info(paths)
    commits = list_commits(paths).commits
    base = build(preset(info.preset)) if info is not None and info.preset else Config()
    return Report(
        summary=summarize_run(persistence, run),
        info=info,
        config=config,
        changed=differences(base, config),
        versions=state.checkpoint_data.versions,
        curves=read_curves(paths.tensorboard),
        baselines=[evaluate_baseline(player, config, games) for player in BASELINES if games],
        commits=commits,
        replica=read_any_state(paths.replica_state),
        new_bytes=_new_bytes(commits),
        replay=None if state.buffer_data is None else _look_at(state.buffer_data),
        games=recorded_games(persistence, run),
    )


def read_curves(folder: Path) -> dict[str, Curve]:
    """Every metric in the event files of ``folder``, by name; none where there are no files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        points = {e.step: e.value for e in events.Scalars(name)}
        steps = np.array(sorted(points), np.int64)
        curves[name] = Curve(steps, np.array([points[int(s)] for s in steps], np.float64))
    return curves


def _new_bytes(commits: Sequence[StoredCommit]) -> dict[int, int]:
    """What each commit added to the disk, among those that are left."""
    seen: set[str] = set()
    added = {}
    for stored in reversed(commits):
        new = [f for f in stored.commit.files if f.path not in seen]
        seen.update(f.path for f in new)
        added[stored.commit.sequence] = sum(f.size for f in new)
    return added


def _look_at(buffer: BufferData) -> Replay | None:
    items = buffer.buffer_list
    if not isinstance(items, SegmentedRows) or len(items) == 0 or buffer.codec != FORMAT_1:
        return None
    rows = Rows(**items.columns())
    decides = (rows.slots >= 0).any(axis=1)
    priorities = buffer.priorities
    return Replay(
        rows=len(rows),
        capacity=buffer.capacity,
        occupancy=occupancy(rows),
        policy_entropy=_entropies(rows.policies[decides]),
        returns=rows.returns.astype(np.float64),
        priorities=None if priorities is None else priorities.astype(np.float64),
        afterstates=1.0 - float(decides.mean()),
        first_row=items.first,
    )


def occupancy(rows: Rows) -> npt.NDArray[np.float64]:
    """The share of rows in which each cell [120] is filled."""
    bits = np.unpackbits(rows.boards.view(np.uint8), axis=1, bitorder="little")
    shares: npt.NDArray[np.float64] = bits[:, :CELLS].mean(axis=0)
    return shares


def _entropies(policies: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    p = policies.astype(np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropies: npt.NDArray[np.float64] = -(p * logs).sum(axis=1)
    return entropies
