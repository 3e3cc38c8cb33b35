"""Looking at runs without touching them: what exists, how far it is. Reads JSON only, for speed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import best_commit, list_commits
from alphatriangle.data.errors import (
    CorruptConfigsError,
    CorruptRunInfoError,
    DataError,
    FileUnavailableError,
)
from alphatriangle.data.json_files import read_if_any, read_json_if_any
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, RunInfo
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.lock import RunLock

RunState = Literal["running", "complete", "unfinished", "empty", "damaged", "unreadable"]

_SETTINGS_ELSEWHERE: Final = (
    "every checkpoint holds the settings as well: restore the file, or remove it to go on with "
    "those of the newest checkpoint"
)


class RunSummary(NamedTuple):
    """One line of ``runs list``."""

    name: str
    state: RunState
    step: int
    target_steps: int | None
    episodes: int
    score: float | None  # mean of recent games at the newest commit
    best_score: float | None
    size_bytes: int
    last_commit: str | None  # UTC, ISO 8601
    last_commit_ns: int
    commits: int
    preset: str | None


def read_run_info(paths: PathManager) -> RunInfo | None:
    """What a run says of itself; None before it has said anything.

    Raises:
        CorruptRunInfoError: ``run.json`` is damaged.
        FileUnavailableError: it cannot be read now.
    """
    return read_json_if_any(paths.run_info, RunInfo, CorruptRunInfoError)


def read_configs(paths: PathManager) -> dict[str, Any] | None:
    """The settings a run was started with, section -> field -> value; None where none are kept.

    Raises:
        CorruptConfigsError: ``configs.json`` is damaged.
        FileUnavailableError: it cannot be read now.
    """
    content = read_if_any(paths.configs, CorruptConfigsError)
    return None if content is None else parse_configs(content, paths.configs)


def has_settings(config: PersistenceConfig, run: str) -> bool:
    """Whether a run keeps settings: those of :class:`Saver` belong to programs that have others."""
    return PathManager(config, run).configs.exists()


def parse_configs(content: bytes, path: Path) -> dict[str, Any]:
    """:func:`read_configs` of bytes that come from ``path``.

    Raises:
        CorruptConfigsError: they are no settings.
    """
    try:
        configs: Any = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise CorruptConfigsError(path, f"not readable JSON ({e}); {_SETTINGS_ELSEWHERE}") from e
    if not isinstance(configs, dict) or not all(isinstance(v, dict) for v in configs.values()):
        raise CorruptConfigsError(path, f"it does not hold settings; {_SETTINGS_ELSEWHERE}")
    return configs


def summarize_run(config: PersistenceConfig, name: str) -> RunSummary:
    """Look at one run; a damaged one is said to be so, not an error.

    Raises:
        FileUnavailableError: it cannot be read now.
    """
    paths = PathManager(config, name)
    known = list_commits(paths)
    damaged = bool(known.unreadable)
    try:
        info = read_run_info(paths)
    except FileUnavailableError:
        raise
    except DataError:
        info, damaged = None, True
    newest = known.commits[0].commit if known.commits else None
    last_commit_ns = newest.created_ns if newest else 0
    if newest is None and damaged:
        # Commits that cannot be read were written all the same: when, their files tell.
        last_commit_ns = max(
            (p.stat().st_mtime_ns for p in paths.commits.glob("*.json")), default=0
        )
    best = best_commit(known.commits)
    step = newest.global_step if newest else 0
    state: RunState
    if RunLock(paths.run).is_held_elsewhere():
        state = "running"
    elif damaged:
        state = "damaged"
    elif newest is None:
        state = "empty"
    elif info is not None and step >= info.target_steps:
        state = "complete"
    else:
        state = "unfinished"
    return RunSummary(
        name=name,
        state=state,
        step=step,
        target_steps=info.target_steps if info else None,
        episodes=newest.episodes_played if newest else 0,
        score=newest.metrics.get("score") if newest else None,
        best_score=_best_score(newest, best.commit if best else None),
        size_bytes=fs.folder_size(paths.run),
        last_commit=newest.created_at if newest else None,
        last_commit_ns=last_commit_ns,
        commits=len(known.commits),
        preset=info.preset if info else None,
    )


def _best_score(newest: Commit | None, best: Commit | None) -> float | None:
    """As judged since, or as it was when the best commit was made."""
    if newest is not None and "best_score" in newest.metrics:
        return newest.metrics["best_score"]
    return best.metrics.get("score") if best else None


def summarize_runs(config: PersistenceConfig, *, unreadable_too: bool = False) -> list[RunSummary]:
    """All runs of a data folder, the one committed to last first.

    With ``unreadable_too``, one that cannot be read now is listed as such.

    Raises:
        FileUnavailableError: one cannot be read now, and may be the one that is looked for.
    """
    runs = []
    for name in PathManager(config, "any").run_names():
        try:
            runs.append(summarize_run(config, name))
        except FileUnavailableError:
            if not unreadable_too:
                raise
            runs.append(_unreadable(name))
    return sorted(runs, key=lambda run: (run.last_commit_ns, run.name), reverse=True)


def _unreadable(name: str) -> RunSummary:
    return RunSummary(name, "unreadable", 0, None, 0, None, None, 0, None, 0, 0, None)


def latest_run(config: PersistenceConfig) -> RunSummary | None:
    """The run that was committed to last, whatever its state; None where none has a commit."""
    return next((run for run in summarize_runs(config) if run.last_commit_ns), None)


def run_to_continue(runs: Iterable[RunSummary]) -> RunSummary | None:
    """The unfinished run that was committed to last; None where every run is complete or empty.

    A damaged run counts as unfinished: whether it can go on is for loading to say, aloud. Another
    one in its place would hide the damage.
    """
    unfinished = [run for run in runs if run.last_commit_ns and run.state != "complete"]
    return max(unfinished, key=lambda run: (run.last_commit_ns, run.name), default=None)
