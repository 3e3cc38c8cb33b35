"""Which files MLflow has, which it lacks, and which it need not have any more.

MLflow gets what a run can be rebuilt from: the files of its commits, the commits, ``run.json``,
``configs.json``. It holds what the run holds: files that retention has removed go there too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alphatriangle.data.commits.files import CommitList
from alphatriangle.data.elsewhere.mlflow_store import OpenRun, Store
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.failpoints import failpoint


@dataclass
class UploadLog:
    """What the log says: the MLflow run that is logged to, and what it has been given."""

    run_id: str | None = None
    folder: str | None = None
    """The run folder that it was begun for: a copy or a moved one is another."""
    store: str | None = None
    is_own: bool = True
    artifacts: str | None = None
    """Where its files are, for the SQLite default."""
    done: dict[str, str] = field(default_factory=dict)
    """Path -> sha256."""


def read_log(log: Path) -> UploadLog:
    """A line that names a run begins anew; a torn line is an upload to repeat."""
    state = UploadLog()
    if not log.exists():
        return state
    for line in log.read_bytes().splitlines():
        try:
            entry: Any = json.loads(line)
            if "run_id" in entry:
                state = UploadLog(**entry)
            elif entry["sha256"] is None:
                state.done.pop(entry["path"], None)
            else:
                state.done[entry["path"]] = entry["sha256"]
        except (ValueError, KeyError, TypeError):
            continue
    return state


def uploaded_files(log: Path) -> dict[str, str]:
    """Path -> sha256 of what the log says has been uploaded."""
    return read_log(log).done


def run_to_continue(log: UploadLog, paths: PathManager, store: Store) -> str | None:
    """The MLflow run that was begun for this folder on this store."""
    same = (log.folder, log.store, log.is_own) == (str(paths.run.resolve()), _name(store), True)
    return log.run_id if same else None


def _name(store: Store) -> str:
    return "sqlite" if store.mlruns is not None else store.name


def bind_log(log: UploadLog, paths: PathManager, store: Store, run: OpenRun) -> UploadLog:
    """Let the log speak of ``run`` from now on; nothing has been uploaded to one that is new.

    Raises:
        OSError: it cannot be written.
    """
    is_own = store.active_run is None
    opening = {
        "run_id": run.run_id,
        "folder": str(paths.run.resolve()),
        "store": _name(store),
        "is_own": is_own,
        "artifacts": None if run.artifacts is None else str(run.artifacts),
    }
    if log.run_id == run.run_id and log.folder == opening["folder"] and log.is_own == is_own:
        return log
    fs.append_line(paths.uploads, json.dumps(opening))
    return UploadLog(**opening)  # type: ignore[arg-type]


def files_to_have(paths: PathManager, known: CommitList) -> dict[str, str]:
    """Relative path -> sha256 of what MLflow should have, the oldest commit first and each commit
    after its files."""
    wanted: dict[str, str] = {}
    for stored in reversed(known.commits):
        wanted.update({file.path: file.sha256 for file in stored.commit.files})
        wanted[paths.relative(stored.path)] = stored.sha256
    for path in (paths.run_info, paths.configs):
        wanted.update(_digest(paths, path))
    return wanted


def missing_files(paths: PathManager, known: CommitList) -> int:
    """How many of them it has not been given."""
    done = read_log(paths.uploads).done
    wanted = files_to_have(paths, known)
    return sum(done.get(path) != sha256 for path, sha256 in wanted.items())


def _digest(paths: PathManager, path: Path) -> dict[str, str]:
    try:
        return {paths.relative(path): fs.digest_of(path).sha256}
    except FileNotFoundError:
        return {}


def upload(run: OpenRun, paths: PathManager, relative: str) -> None:
    """Give MLflow a file: by hard link where its artifacts lie on the same disk.

    Raises:
        FileNotFoundError: retention was faster.
        Exception: one of ``mlflow_errors``.
    """
    local = paths.run / relative
    if run.artifacts is not None:
        target = run.artifacts / relative
        fs.make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.new")
        fs.remove(temporary)
        fs.share(local, temporary)
        disk.rename(temporary, target)
        disk.sync_folder(target.parent)
        return
    folder = str(Path(relative).parent)
    run.client.log_artifact(run.run_id, str(local), None if folder == "." else folder)


def remember(paths: PathManager, log: UploadLog, relative: str, sha256: str | None) -> None:
    """Write down that MLflow has a file, or with None that it has it no more.

    Raises:
        OSError: it cannot be written.
    """
    failpoint("outbox.uploaded")
    if sha256 is None:
        log.done.pop(relative, None)
    else:
        log.done[relative] = sha256
    fs.append_line(paths.uploads, json.dumps({"path": relative, "sha256": sha256}))
    failpoint("outbox.logged")


def stale_files(paths: PathManager, log: UploadLog, known: CommitList) -> list[str]:
    """What MLflow was given of commits that are gone; nothing while a commit cannot be read."""
    if known.unreadable or not known.commits:
        return []
    named = {file.path for stored in known.commits for file in stored.commit.files}
    named |= {paths.relative(stored.path) for stored in known.commits}
    named |= {paths.relative(paths.run_info), paths.relative(paths.configs)}
    return sorted(set(log.done) - named)


def remove_stale_links(paths: PathManager, known: CommitList, log: UploadLog) -> int:
    """Remove MLflow's links to files that no commit names, without MLflow: they would hold the
    space that pruning frees. Returns how many. Links of another folder's run are let alone.

    Raises:
        OSError: something could not be removed; running it again goes on.
    """
    if log.artifacts is None or log.folder != str(paths.run.resolve()):
        return 0
    artifacts = Path(log.artifacts)
    if not artifacts.resolve().is_relative_to(paths.mlruns.resolve()):
        return 0
    stale = stale_files(paths, log, known)
    for relative in stale:
        fs.remove(artifacts / relative)
        remember(paths, log, relative, None)
    return len(stale)
