"""The same in any order with a replica: machines are lost, cloned and rolled back, two of them
write, the store fails in every way it knows; against a model of what must be there.

The law: each commit that is acknowledged goes on from all that were acknowledged before, whoever
put them, so that of two writers one goes on; and what a restore brings is the last acknowledged one
or goes on from it, with the digest that it had when it was saved.
"""

from __future__ import annotations

import copy
import random
import shutil
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import rule

from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import (
    FencedError,
    NoSoundCommitError,
    ReplicaNotFoundError,
    ReplicaUnavailableError,
)
from alphatriangle.data.replica.layout import Position
from alphatriangle.data.replica.records import seal_shown
from alphatriangle.data.stores.store import StoreError
from tests.data.replica.helpers import RUN, Machine, config_of, restored, train_on
from tests.data.stores.memory_store import FAULTS, Entry, Fault, FaultKind, MemoryStore, flipped
from tests.durability.budget import budget
from tests.durability.crash_disk import Volume, recording, write_tree
from tests.durability.test_crash_points import digest_of
from tests.durability.test_state_machine import Persistence, settings_of

Line = tuple[str, ...]
"""The commits that led to one, by their seals, and itself as the last."""


class Replicated(Persistence):
    """The run is replicated, and there are other machines with copies of it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.lines: dict[str, Line] = {}
        self.digests: dict[str, str] = {}
        """Of each commit that anybody has made."""
        self.line: Line = ()
        """What the run here goes on from."""
        self.last: str | None = None
        """The commit that was acknowledged last, to whomever."""
        self.rivals: list[Machine] = []
        self.machines = 0
        self.is_contested = False
        """Whether somebody else may have written to the replica since this machine did."""
        super().__init__()

    # What the machine of one run does, with a line of what led to what

    def _start(self) -> None:
        super()._start()
        self.machine = Machine(self.root, self.store, keep_last=1)
        known = list_commits(self.paths).commits
        self.line = self.lines[seal_shown(known[0].commit)] if known else ()

    def _acknowledged(self) -> None:
        super()._acknowledged()
        self.line = self._made(self.root, self.line)

    def _made(self, root: Path, before: Line) -> Line:
        """Note the newest commit of a folder."""
        state = load_for_reading(config_of(root), RUN)
        assert state.commit is not None
        seal = seal_shown(state.commit)
        self.digests[seal] = digest_of(state)
        return self.lines.setdefault(seal, (*before, seal))

    # Replicating

    def _replicate(self, machine: Machine, tries: int = 1) -> bool:
        """Hand over; whether it was told that all is there. What is acknowledged obeys the law."""
        session = machine.session or machine.boot()
        before = session.state.acknowledged
        try:
            return machine.catch_up(tries)
        finally:
            after = session.state.acknowledged
            if after is not None and (before is None or after.position != before.position):
                self._obey(after.seal, after.position)

    def _obey(self, seal: str, position: Position) -> None:
        assert self.last is None or self.last in self.lines[seal], (
            f"{position} was acknowledged, which lacks what was acknowledged before"
        )
        self.last = seal

    @rule(rows=st.integers(1, 60))
    def save_and_replicate(self, rows: int) -> None:
        self.save(rows)
        self.replicate()

    @rule()
    def replicate(self) -> None:
        try:
            done = self._replicate(self.machine)
        except FencedError:
            assert self.is_contested
            return
        assert done or self.store.is_down
        if done and self.commits:
            assert self.machine.acknowledged_step == max(self.commits)

    @rule(
        verb=st.sampled_from(["create", "get", "put", "overwrite", "list"]),
        kind=st.sampled_from(FAULTS),
        rows=st.integers(1, 60),
    )
    def replicate_with_a_fault(self, verb: str, kind: FaultKind, rows: int) -> None:
        """The first request of its kind goes wrong, in one of the ways that there are."""

        def strike(what: str) -> None:
            if what.startswith(verb):
                self.store.before_each = lambda _: None
                self.store.fault = Fault(len(self.store.operations), kind)

        self.save(rows)
        self.store.before_each = strike
        try:
            self._replicate(self.machine)
        except FencedError:
            assert self.is_contested
        finally:
            self.store.before_each, self.store.fault = (lambda _: None), None

    @rule()
    def replicate_in_a_new_process(self) -> None:
        self.machine.boot()
        self.replicate()

    @rule(seed=st.integers(0, 2**32))
    def lose_power_while_replicating(self, seed: int) -> None:
        """What was acknowledged is there, whatever the folder remembers of it."""
        rng = random.Random(seed)
        self.save(15)
        self._stop()
        with recording(self.root) as log:
            try:
                self._replicate(self.machine)
            except FencedError:
                assert self.is_contested
        volume = Volume(log.base)
        for op in log.ops[: rng.randrange(len(log.ops) + 1)]:
            volume.apply(op)
        tree = rng.choice(list(volume.crashes(4, rng)))
        shutil.rmtree(self.root)
        self.root.mkdir()
        write_tree(self.root, tree)
        self._start()

    @rule(saves=st.integers(1, 5), ends=st.booleans())
    def the_store_is_down_for_a_while(self, saves: int, ends: bool) -> None:
        """Longer than local retention, perhaps; nothing fails here, and nothing begins anew."""
        self.store.is_down = True
        for _ in range(saves):
            self.save(7)
            self.replicate()
        self.restore_elsewhere()
        if ends:
            self.machine.boot()
            self.replicate()
        self.store.is_down = False
        self.replicate()

    @rule()
    def remove_garbage(self) -> None:
        try:
            self._replicate(self.machine)
            self.machine.collect()
        except FencedError:
            assert self.is_contested
        except StoreError:
            assert self.store.is_down

    # Other machines

    @rule()
    def lose_the_machine(self) -> None:
        """Its folder is gone; another one restores the run, and goes on."""
        found = self._restore(new := self._new_folder())
        if found is None and (self.store.is_down or self.last is not None):
            return
        self._stop()
        shutil.rmtree(self.root)
        self.root = new
        self.commits, self.known, self.pinned, self.forks = {}, {}, set(), {}
        if found is None:
            self.root.mkdir(exist_ok=True)
            self.is_contested = bool(self.rivals)
        else:
            state = load_for_reading(config_of(new), RUN)
            assert state.commit is not None
            self.commits = {state.commit.global_step: self.digests[found]}
            self.known = dict(self.commits)
        self._start()
        self.is_contested |= bool(self.rivals)

    @rule()
    def restore_elsewhere(self) -> None:
        folder = self._new_folder()
        self._restore(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def _restore(self, folder: Path) -> str | None:
        """Restore; the seal of what came, None where nothing did. The law holds for it."""
        try:
            found = restored(folder, self.store)
        except ReplicaNotFoundError:
            assert self.last is None
            return None
        except ReplicaUnavailableError:
            assert self.store.is_down
            return None
        assert not self.store.is_down
        assert found.rejected == found.damaged == []
        seal = seal_shown(found.commit)
        state = load_for_reading(config_of(folder), RUN)
        assert digest_of(state) == self.digests[seal], "mixed"
        assert self.last is None or self.last in self.lines[seal], "an acknowledged commit is lost"
        return seal

    @rule(
        how=st.sampled_from(["folder", "process", "restored", "again"]),
        rows=st.integers(61, 99),
        trains=st.booleans(),
        collects=st.booleans(),
        both=st.booleans(),
    )
    def another_machine_writes(
        self, how: str, rows: int, trains: bool, collects: bool, both: bool
    ) -> None:
        """One that is new or was there before; and then, perhaps, the first one again."""
        if self.machine.session is None:
            self.save_and_replicate(5)
        rival = self.rivals[-1] if how == "again" and self.rivals else self._rival(how)
        if rival is None:
            return
        if trains or not list_commits(rival.paths).commits:
            known = list_commits(rival.paths).commits
            before = self.lines[seal_shown(known[0].commit)] if known else ()
            train_on(rival.root, rows=rows)
            self._made(rival.root, before)
        self.is_contested = True
        try:
            self._replicate(rival)
            if collects:
                rival.collect()
        except FencedError:
            self.rivals.remove(rival)
            shutil.rmtree(rival.root)
        except StoreError:
            assert self.store.is_down
        if both:
            self.save_and_replicate(10)
            self.restore_elsewhere()

    def _rival(self, how: str) -> Machine | None:
        """A copy of the folder, of the folder and the running process, or one that has restored."""
        folder = self._new_folder()
        rival = Machine(folder, self.store, keep_last=1)
        if how == "restored":
            if self._restore(folder) is None:
                return None
        else:
            shutil.copytree(
                self.root, folder, symlinks=True, ignore=shutil.ignore_patterns(".lock*", "fork*")
            )
            session = self.machine.session
            if how == "process" and session is not None:
                same = {
                    id(self.store): self.store,
                    id(self.machine.paths): rival.paths,
                    id(session._run): KnownCommits(rival.paths),
                }
                rival.session = copy.deepcopy(session, same)  # type: ignore[arg-type]
        self.rivals.append(rival)
        return rival

    # Readers

    @rule(after=st.integers(0, 12))
    def restore_while_the_replica_goes_on(self, after: int) -> None:
        """What is dropped under a reader's eyes stays for an hour: nothing older is taken."""
        self.save_and_replicate(5)
        self.pin(random.Random(after))
        self.save_and_replicate(5)
        self.save(5)
        count = 0

        def meanwhile(_: str) -> None:
            nonlocal count
            count += 1
            if count == after + 1:
                self.store.before_each = lambda _: None
                try:
                    self._replicate(self.machine)
                    assert self.machine.session is not None
                    self.machine.session.collector().collect(least=1)
                except FencedError:
                    assert self.is_contested

        folder, last = self._new_folder(), self.last
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("alphatriangle.data.replica.fetching._AT_A_TIME", 1)
            if not self.store.is_down:
                self.store.before_each = meanwhile
            try:
                found = restored(folder, self.store)
            except (ReplicaNotFoundError, ReplicaUnavailableError):
                assert last is None or self.store.is_down
                return
            finally:
                self.store.before_each = lambda _: None
        assert found.rejected == found.damaged == []
        assert last is None or last in self.lines[seal_shown(found.commit)]
        shutil.rmtree(folder)

    @rule(choice=st.randoms(use_true_random=False))
    def an_object_rots_for_a_while(self, choice: random.Random) -> None:
        """An older sound commit and a word about it, or a clear stop; never anything else."""
        if self.store.is_down or not self.store.objects:
            return
        key = choice.choice(self.store.keys())
        entry, folder = self.store.objects[key], self._new_folder()
        self.store.objects[key] = Entry(flipped(entry.content), entry.modified_ns)
        try:
            found = restored(folder, self.store)
        except NoSoundCommitError:
            pass
        except ReplicaNotFoundError:
            assert self.last is None
        else:
            seal = seal_shown(found.commit)
            assert digest_of(load_for_reading(config_of(folder), RUN)) == self.digests[seal]
            assert found.rejected or self.last is None or self.last in self.lines[seal]
        self.store.objects[key] = entry
        shutil.rmtree(folder, ignore_errors=True)

    def _new_folder(self) -> Path:
        self.machines += 1
        return self.folder / f"machine{self.machines}"

    def teardown(self) -> None:
        self.restore_elsewhere()
        super().teardown()


TestReplicated = Replicated.TestCase
TestReplicated.settings = settings_of(budget(6, 300), budget(12, 40))
