"""Runs whose commits appear one by one, and machines that replicate them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import RunInfo
from alphatriangle.data.replica.garbage import GRACE_SECONDS
from alphatriangle.data.replica.protocol import KeepRules
from alphatriangle.data.replica.restoring import Restored, restore_replica
from alphatriangle.data.replica.session import ReplicaSession
from alphatriangle.data.storage import fs
from alphatriangle.data.stores.store import Store, StoreError
from tests.conftest import tiny_config
from tests.data.helpers import Training, started
from tests.data.stores.memory_store import MemoryStore
from tests.durability.test_crash_points import digest_of

RUN = "tiny"


class Recorded(NamedTuple):
    """A run that was trained once, to be replayed on many machines."""

    folder: Path
    names: list[str]
    """Of its commit files, the oldest first."""
    digests: dict[int, str]
    """Step -> ``state_digest``."""


def record(folder: Path, commits: int, rows: int = 20) -> Recorded:
    """Train a run; its commit files lie aside."""
    config = tiny_config(
        persistence={"root_data_dir": str(folder), "keep_last": 1000}, train={"run_name": RUN}
    )
    training = started(config)
    training.manager.save_run_config({"train": {"run_name": RUN}, "model": {"seed": 1}})
    info = RunInfo(run_name=RUN, created_at="now", target_steps=99, steps_per_round=9)
    training.manager.write_run_info(info)
    names, digests = [], {}
    for _ in range(commits):
        training.commit(rows, is_best=training.step % 3 == 1)
        state = load_for_reading(config.persistence, RUN)
        assert state.commit is not None
        digests[state.commit.global_step] = digest_of(state)
        names.append(list_commits(training.manager.paths).commits[0].path.name)
    training.manager.close()
    return Recorded(folder / "runs" / RUN, names, digests)


class Machine:
    """A data folder with a run in it, and what replicates it."""

    def __init__(
        self, root: Path, store: Store, *, keep_last: int = 2, every: int | None = None
    ) -> None:
        self.root = root
        self.store = store
        self.rules = KeepRules(keep_last, every)
        self.config = config_of(root)
        self.paths = PathManager(self.config, RUN)
        self.session: ReplicaSession | None = None
        self.seconds = 0.0

    def boot(self) -> ReplicaSession:
        """A new process."""
        clock = self.store.clock if isinstance(self.store, MemoryStore) else self._clock
        self.session = ReplicaSession(KnownCommits(self.paths), self.store, self.rules, clock)
        return self.session

    def _clock(self) -> float:
        return self.seconds

    def lay_out(self, recorded: Recorded) -> None:
        """The recorded run without any commit."""
        shutil.copytree(
            recorded.folder,
            self.paths.run,
            symlinks=True,
            copy_function=fs.share,
            ignore=lambda folder, names: names if Path(folder).name == "commits" else [],
        )
        (self.paths.run / "configs.json").unlink()
        shutil.copy(recorded.folder / "configs.json", self.paths.configs)
        fs.make_folder(self.paths.commits)

    def complete(self, recorded: Recorded) -> None:
        """The files of the commits to come, where a restore has made the run."""
        for path in recorded.folder.rglob("*"):
            place = self.paths.run / path.relative_to(recorded.folder)
            if path.suffix in (".pkl", ".arrow") and not path.is_symlink() and not place.exists():
                fs.make_folder(place.parent)
                fs.share(path, place)

    def appear(self, recorded: Recorded, index: int) -> int:
        """A commit is made; returns its step."""
        name = recorded.names[index]
        shutil.copy(recorded.folder / "commits" / name, self.paths.commits / name)
        return list_commits(self.paths).commits[0].commit.global_step

    def removed(self, recorded: Recorded, index: int) -> None:
        """Retention removes a commit."""
        (self.paths.commits / recorded.names[index]).unlink()

    def catch_up(self, tries: int = 8) -> bool:
        """Replicate, and try again so often; returns whether all was acknowledged."""
        session = self.session or self.boot()
        for _ in range(tries):
            try:
                session.catch_up()
            except StoreError:
                continue
            return True
        return False

    def collect(self) -> int:
        """Remove what is kept no more; later than anybody's grace."""
        assert self.session is not None
        if isinstance(self.store, MemoryStore):
            self.store.seconds += 2 * GRACE_SECONDS
        else:
            self.session.collector().collect()
            self.seconds += 2 * GRACE_SECONDS
        return self.session.collector().collect(least=1)

    @property
    def acknowledged_step(self) -> int:
        assert self.session is not None
        acknowledged = self.session.state.acknowledged
        return 0 if acknowledged is None else acknowledged.step

    def clone(self, root: Path) -> Machine:
        """The folder as it is now, on another machine."""
        shutil.copytree(self.root, root, symlinks=True)
        other = Machine(root, self.store)
        other.rules = self.rules
        return other


def config_of(root: Path) -> PersistenceConfig:
    config: Config = tiny_config(persistence={"root_data_dir": str(root)})
    return config.persistence


def restored(root: Path, store: Store, **more: object) -> Restored:
    """Restore on a new machine, without waiting between tries."""
    return restore_replica(config_of(root), store, RUN, pause=lambda _: None, **more)  # type: ignore[arg-type]


def digest_at(root: Path, name: str = RUN) -> str:
    """``state_digest`` of the newest sound commit, which must be the newest."""
    state = load_for_reading(config_of(root), name)
    assert not state.rejected
    return digest_of(state)


def train_on(root: Path, commits: int = 1, rows: int = 20) -> str:
    """Go on with the run in a folder as a training does; returns the digest of its newest state."""
    config = tiny_config(
        persistence={"root_data_dir": str(root), "keep_last": 3}, train={"run_name": RUN}
    )
    training = Training(config)
    training.step = training.restore(training.manager.load_initial_state())
    training.counter.value = training.step
    for _ in range(commits):
        training.commit(rows)
    training.manager.close()
    return digest_at(root)
