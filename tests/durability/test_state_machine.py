"""Save, crash, load, prune, pin, fork in any order, against a model of what must be there."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alphatriangle.config import Config
from alphatriangle.data import DataManager
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.pruning import carry_out_pruning, find_commit, plan_pruning, set_pin
from alphatriangle.data.errors import RunLockedError, SaveFailedError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.storage import lock
from tests.conftest import tiny_config
from tests.data.helpers import AnyTraining, GenericTraining, Training, check_sound, flip_bit
from tests.durability.budget import SOAK, budget, report
from tests.durability.crash_disk import Volume, recording, write_tree
from tests.durability.faulty_disk import Fault, failing
from tests.durability.test_crash_points import digest_of

KEEP_LAST = 3


class Persistence(RuleBasedStateMachine):
    """One run that is trained, and forks of it that are looked at."""

    kind: type[AnyTraining] = Training

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "data"
        self.root.mkdir()
        self.commits: dict[int, str] = {}
        """Step -> digest of everything that must be there."""
        self.known: dict[int, str] = {}
        """The same of everything that was ever acknowledged: on a bad disk retention may wait."""
        self.pinned: set[int] = set()
        self.forks: dict[str, str] = {}
        self.training: AnyTraining | None = None
        self.tries = 0
        self._start()

    @property
    def config(self) -> Config:
        persistence = {"root_data_dir": str(self.root), "keep_last": KEEP_LAST}
        return tiny_config(persistence=persistence, train={"run_name": "tiny"})

    @property
    def paths(self) -> PathManager:
        return PathManager(self.config.persistence, "tiny")

    def _start(self) -> None:
        """A new process: load, and find the newest state."""
        training = self.kind(self.config)
        state = training.manager.load_initial_state()
        if self.commits:
            assert state.commit is not None
            newest = max(self.commits)
            assert state.commit.global_step == newest
            assert digest_of(state) == self.commits[newest]
        training.step = training.restore(state)
        training.counter.value = training.step
        self.training = training

    def _stop(self) -> None:
        assert self.training is not None
        self.training.manager.close()
        self.training = None

    def _acknowledged(self) -> None:
        state = load_for_reading(self.config.persistence, "tiny")
        assert state.commit is not None
        self.commits[state.commit.global_step] = digest_of(state)
        self.known |= self.commits
        keep = sorted(self.commits)[-KEEP_LAST:]
        self.commits = {s: d for s, d in self.commits.items() if s in keep or s in self.pinned}

    @rule(rows=st.integers(1, 60))
    def save(self, rows: int) -> None:
        assert self.training is not None
        self.training.commit(rows)
        self._acknowledged()

    @rule(rows=st.integers(1, 60))
    def save_without_waiting_and_stop(self, rows: int) -> None:
        assert self.training is not None
        self.training.advance(rows)
        self.training.save()
        self._stop()
        self._acknowledged()
        self._start()

    @rule(at=st.integers(0, 60))
    def save_on_a_bad_disk(self, at: int) -> None:
        assert self.training is not None
        self.training.advance(10)
        fault = Fault(at, 28)
        with failing(fault):
            self.training.save()
            try:
                self.training.manager.flush()
            except SaveFailedError:
                assert fault.struck
                return
        self._acknowledged()

    @rule(seed=st.integers(0, 2**32))
    def lose_power_while_saving(self, seed: int) -> None:
        """The disk becomes one that the cut could have left; a new process goes on with it."""
        assert self.training is not None
        rng = random.Random(seed)
        with recording(self.root) as log:
            self.training.commit(15)
        step = self.training.step
        before = dict(self.commits)
        self._acknowledged()
        acknowledged, self.commits = self.commits, before
        self._stop()
        volume = Volume(log.base)
        end = rng.randrange(len(log.ops) + 1)
        for op in log.ops[:end]:
            volume.apply(op)
        tree = rng.choice(list(volume.crashes(8, rng)))
        shutil.rmtree(self.root)
        self.root.mkdir()
        write_tree(self.root, tree)
        found = {s.commit.global_step for s in list_commits(self.paths).commits}
        if step in found:
            self.commits[step] = acknowledged[step]
        # Retention may have been about to remove the oldest.
        self.commits = {s: d for s, d in self.commits.items() if s in found}
        assert not before or self.commits, "all is gone"
        assert not before or max(self.commits) >= max(before)
        self.pinned &= found
        for name in list(self.forks):
            assert (self.root / "runs" / name).is_dir()
        self._start()

    @precondition(lambda self: self.commits)
    @rule(choice=st.randoms(use_true_random=False))
    def pin(self, choice: random.Random) -> None:
        step = choice.choice(sorted(self.commits))
        set_pin(self.paths, find_commit(self.paths, step).commit.sequence, pinned=True)
        self.pinned.add(step)

    @rule()
    def prune_beside_the_trainer(self) -> None:
        carry_out_pruning(self.paths, plan_pruning(KnownCommits(self.paths), keep_last=1))
        newest = max(self.commits, default=None)
        self.commits = {s: d for s, d in self.commits.items() if s == newest or s in self.pinned}

    @precondition(lambda self: self.commits and len(self.forks) < 3)
    @rule(choice=st.randoms(use_true_random=False))
    def fork_beside_the_trainer(self, choice: random.Random) -> None:
        step = choice.choice(sorted(self.commits))
        name = f"fork{len(self.forks)}"
        fork_run(self.config.persistence, "tiny", name, step)
        self.forks[name] = self.commits[step]

    @rule()
    def a_second_writer_is_refused(self) -> None:
        second = DataManager(self.config.persistence, self.config.train)
        # Nobody else looks whether the run is in use: waiting would only take time.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "PATIENCE_SECONDS", 0.0)
            with pytest.raises(RunLockedError):
                second.load_initial_state()

    @precondition(lambda self: len(self.commits) >= 2)
    @rule(seed=st.integers(0, 2**32))
    def the_newest_checkpoint_rots(self, seed: int) -> None:
        """It is passed over; when it has been restored, it is the newest again."""
        path = self.paths.run / find_commit(self.paths, None).commit.of_kind("checkpoint")[0].path
        position = random.Random(seed).randrange(path.stat().st_size)
        flip_bit(path, position)
        state = load_for_reading(self.config.persistence, "tiny")
        assert state.commit is not None
        older = sorted(s.commit.global_step for s in list_commits(self.paths).commits)[-2]
        assert older >= sorted(self.commits)[-2]
        assert (state.commit.global_step, digest_of(state)) == (older, self.known[older])
        assert path.name in state.rejected[0].reason
        flip_bit(path, position)

    @invariant()
    def what_must_be_there_is_there(self) -> None:
        self.tries += 1
        known = list_commits(self.paths)
        assert not known.unreadable
        found = {s.commit.global_step for s in known.commits}
        assert set(self.commits) <= found <= set(self.known)
        for stored in known.commits:
            check_sound(self.paths.run, stored)

    @invariant()
    def forks_are_what_they_were(self) -> None:
        for name, digest in self.forks.items():
            assert digest_of(load_for_reading(self.config.persistence, name)) == digest

    def teardown(self) -> None:
        if self.training is not None:
            self.training.manager.close()
        shutil.rmtree(self.folder)
        report(f"state machine, {self.kind.kind}", steps=self.tries, lost=0)


class PersistenceOfAnyRows(Persistence):
    """The same of a replay of anybody's columns."""

    kind = GenericTraining


def settings_of(examples: int, steps: int) -> settings:
    """The same tries each time, but for the long form."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not SOAK,
    )


TestPersistence = Persistence.TestCase
TestPersistence.settings = settings_of(budget(12, 300), budget(12, 30))
TestPersistenceOfAnyRows = PersistenceOfAnyRows.TestCase
TestPersistenceOfAnyRows.settings = settings_of(
    budget(12, 300, GenericTraining.share), budget(12, 30)
)
