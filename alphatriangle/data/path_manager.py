"""Where everything is. Properties only name paths; what makes folders says so."""

from __future__ import annotations

import difflib
import os
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.errors import DataFolderError, InvalidRunNameError, RunNotFoundError
from alphatriangle.data.storage import fs
from alphatriangle.utils.invocation import command

_LONGEST_NAME = 100


def check_run_name(name: str) -> str:
    """Return ``name`` if it can be a folder of its own under ``runs/``.

    Raises:
        InvalidRunNameError: it is empty, too long, hidden, or holds separators or control
            characters.
    """
    problem = None
    if not name.strip():
        problem = "it is empty"
    elif len(name.encode()) > _LONGEST_NAME:
        problem = f"it is longer than {_LONGEST_NAME} bytes"
    elif name.startswith("."):
        problem = "it begins with a dot"
    elif name != name.strip():
        problem = "it begins or ends with a space"
    else:
        bad = [c for c in name if c in '/\\:*?"<>|' or unicodedata.category(c)[0] == "C"]
        if bad:
            problem = f"it contains {bad[0]!r}"
    if problem:
        raise InvalidRunNameError(
            f"run name {name!r} cannot be used: {problem}; "
            "use letters, digits, '-', '_' and '.', for example first-try"
        )
    return name


def _is_usable(name: str) -> bool:
    """Whether a folder below ``runs/`` can be a run of ours."""
    try:
        check_run_name(name)
    except InvalidRunNameError:
        return False
    return True


class PathManager:
    """Paths within the data folder, for one run."""

    def __init__(self, config: PersistenceConfig, run_name: str) -> None:
        self.root = config.root_data_dir.expanduser().absolute()
        self.run_name = check_run_name(run_name)
        self._config = config

    @property
    def runs(self) -> Path:
        """All runs."""
        return self.root / self._config.runs_dir_name

    @property
    def mlruns(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / self._config.mlflow_dir_name

    @property
    def run(self) -> Path:
        """This run."""
        return self.runs / self.run_name

    @property
    def checkpoints(self) -> Path:
        """Its checkpoints and the links to them."""
        return self.run / self._config.checkpoint_dir_name

    @property
    def buffers(self) -> Path:
        """Its buffer files."""
        return self.run / self._config.buffer_dir_name

    @property
    def segments(self) -> Path:
        """The rows of its buffers."""
        return self.buffers / "segments"

    @property
    def commits(self) -> Path:
        """Its commits."""
        return self.run / "commits"

    @property
    def episodes(self) -> Path:
        """What was played."""
        return self.run / "episodes"

    @property
    def logs(self) -> Path:
        """Log files."""
        return self.run / self._config.log_dir_name

    @property
    def profile_data(self) -> Path:
        """Where time went, of trainings that were asked to find out."""
        return self.run / "profile_data"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.run / self._config.tensorboard_dir_name

    @property
    def configs(self) -> Path:
        """The run's configuration."""
        return self.run / self._config.config_filename

    @property
    def run_info(self) -> Path:
        """The run's identity: see schemas.RunInfo."""
        return self.run / "run.json"

    @property
    def newest(self) -> Path:
        """Which commit is the newest, for a start that need not read all."""
        return self.run / "newest.json"

    @property
    def pins(self) -> Path:
        """Commits that are never removed: see schemas.Pins."""
        return self.run / "pins.json"

    @property
    def uploads(self) -> Path:
        """The MLflow run, and what it has already been given, a line a file."""
        return self.run / "mlflow_uploads.jsonl"

    @property
    def mlflow_points(self) -> Path:
        """Points of curves that MLflow has not taken yet, where there are any."""
        return self.run / "mlflow_points.jsonl"

    @property
    def replica(self) -> Path:
        """What is being handed over to the copy elsewhere, and what is known of it."""
        return self.run / "replica"

    @property
    def replica_state(self) -> Path:
        """See replica/state.py."""
        return self.replica / "state.json"

    @property
    def latest_checkpoint(self) -> Path:
        """Link to the newest checkpoint."""
        return self.checkpoints / self._config.latest_checkpoint_filename

    @property
    def best_checkpoint(self) -> Path:
        """Link to the best checkpoint."""
        return self.checkpoints / self._config.best_checkpoint_filename

    @property
    def latest_buffer(self) -> Path:
        """Link to the newest buffer."""
        return self.buffers / self._config.latest_buffer_filename

    def checkpoint(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.checkpoints / f"checkpoint_step_{step}.pkl"

    def buffer(self, step: int) -> Path:
        """The buffer file of a step."""
        return self.buffers / f"buffer_step_{step}.pkl"

    def commit(self, step: int) -> Path:
        """The commit of a step."""
        return self.commits / f"step_{step}.json"

    def segment(self, first: int, last: int) -> Path:
        """The segment of the rows numbered first..last."""
        return self.segments / f"{first}-{last}.arrow"

    def episodes_file(self, step: int) -> Path:
        """The episodes that finished before a step and after the commit before it."""
        return self.episodes / f"episodes_step_{step}.arrow"

    def merged_episodes_file(self, step: int) -> Path:
        """Older files of episodes as one, the last of them of this step."""
        return self.episodes / f"episodes_to_step_{step}.arrow"

    def relative(self, path: Path) -> str:
        """``path`` relative to the run, with forward slashes."""
        return path.relative_to(self.run).as_posix()

    def make_folders(self) -> None:
        """Make the folders of the run.

        Raises:
            DataFolderError: they cannot be made or written.
        """
        folders = [self.checkpoints, self.segments, self.commits, self.episodes, self.logs]
        folder = self.run
        try:
            for folder in [*folders, self.tensorboard, self.mlruns]:
                fs.make_folder(folder)
        except OSError as e:
            raise DataFolderError(
                f"cannot make {e.filename or folder}: {e.strerror}; "
                "choose another place with --data-dir or mend the permissions"
            ) from e
        for folder in folders:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise DataFolderError(
                    f"cannot write in {folder}; "
                    "choose another place with --data-dir or mend the permissions"
                )

    def run_names(self) -> list[str]:
        """The names of all runs, sorted; none when there is no data folder.

        Raises:
            DataFolderError: the folder of the runs cannot be read.
        """
        try:
            return sorted(p.name for p in self.runs.iterdir() if p.is_dir() and _is_usable(p.name))
        except FileNotFoundError:
            return []
        except OSError as e:
            raise DataFolderError(f"cannot read {self.runs}: {e.strerror}") from e

    def previous_runs(self) -> list[str]:
        """The names of the other runs that have a commit, the one committed to last first.

        By the time of their newest commit file: reading no commit, it trusts the file system.

        Raises:
            DataFolderError: the folder of the runs, or of the commits of one, cannot be read.
        """
        found = []
        for name in self.run_names():
            folder = self.runs / name / "commits"
            try:
                times = [path.stat().st_mtime_ns for path in folder.glob("step_*.json")]
            except OSError as e:
                raise DataFolderError(f"cannot read {folder}: {e.strerror}") from e
            if times and name != self.run_name:
                found.append((max(times), name))
        return [name for _, name in sorted(found, reverse=True)]


def new_run_name(config: PersistenceConfig, prefix: str) -> str:
    """``prefix`` and the time, as the name of a run that is not there yet."""
    base = f"{prefix}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
    name, number = base, 2
    while PathManager(config, name).run.exists():
        name, number = f"{base}-{number}", number + 1
    return name


def unused(path: Path) -> Path:
    """``path``, or ``name.r2.ext``, ``name.r3.ext``, ... while a file of that name exists.

    So nothing that a commit names, not even one that cannot be read, is ever overwritten.
    """
    candidate = path
    revision = 2
    while candidate.exists() or candidate.is_symlink():
        candidate = path.with_name(f"{path.stem}.r{revision}{path.suffix}")
        revision += 1
    return candidate


def existing_run(config: PersistenceConfig, name: str) -> PathManager:
    """The paths of a run that is there.

    Raises:
        RunNotFoundError: it is not; the message names the nearest that is.
    """
    paths = PathManager(config, name)
    if not paths.run.is_dir():
        close = difflib.get_close_matches(name, paths.run_names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise RunNotFoundError(
            f"there is no run {name!r} in {paths.runs}{hint} ({command('runs', 'list')} shows all)"
        )
    return paths
