"""Every flipped byte and every truncation is found; the newest sound commit is loaded instead."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pytest

from alphatriangle.config import Config
from alphatriangle.data.commits.files import (
    StoredCommit,
    list_commits,
    read_commit,
    read_file,
    verify_file,
)
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import CorruptFileError, DataError
from alphatriangle.data.records import CommittedFile
from alphatriangle.data.replay.segments import read_segment
from alphatriangle.data.storage.digests import fastest
from tests.conftest import tiny_config
from tests.data.helpers import KINDS, AnyTraining, started
from tests.durability.budget import budget, report

SMALL = 8192


class Run(NamedTuple):
    """A run to damage."""

    kind: type[AnyTraining]
    config: Config
    stored: StoredCommit
    folder: Path

    def loads(self) -> int:
        """How often a damaged run is loaded, of each kind of file."""
        return budget(8, 200, self.kind.share)


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    kind: type[AnyTraining] = request.param
    config = tiny_config(tmp_path_factory.mktemp("rot"))
    training = started(config, kind)
    training.commit()
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    return Run(kind, config, list_commits(paths).commits[0], paths.run)


def damages(content: bytes, rng: random.Random, share: float) -> list[tuple[str, bytes]]:
    """Copies of ``content`` with one byte changed, or with the end missing."""
    size = len(content)
    positions = budget(2000, 20_000, share)
    small = size <= budget(SMALL, SMALL, share)
    places = range(size) if small else sorted(rng.sample(range(size), min(size, positions)))
    lengths = sorted(rng.sample(range(size), min(size, positions // 10)))
    changed = []
    for place in places:
        byte = content[place] ^ (1 << rng.randrange(8))
        changed.append((f"byte {place}", content[:place] + bytes([byte]) + content[place + 1 :]))
    return changed + [(f"length {n}", content[:n]) for n in lengths]


def read_as_a_start_does(folder: Path, file: CommittedFile) -> None:
    assert file.xxh3 is not None
    if file.kind == "segment":
        read_segment(folder / file.path, fastest(file.sha256, file.xxh3))
    else:
        read_file(folder, file)


@pytest.mark.parametrize("kind", ["checkpoint", "buffer", "segment", "episodes"])
def test_all_damage_to_a_committed_file_is_found(run: Run, kind: str) -> None:
    config, stored, folder = run.config, run.stored, run.folder
    file = stored.commit.of_kind(kind)[-1]  # type: ignore[arg-type]
    path = folder / file.path
    content = path.read_bytes()
    rng = random.Random(kind)
    cases = damages(content, rng, run.kind.share)
    to_load = set(rng.sample(range(len(cases)), min(run.loads(), len(cases))))
    try:
        for i, (what, damaged) in enumerate(cases):
            path.write_bytes(damaged)
            with pytest.raises(CorruptFileError, match=path.name):
                verify_file(folder, file)
            with pytest.raises(CorruptFileError, match=path.name):
                read_as_a_start_does(folder, file)
            if i in to_load:
                state = load_for_reading(config.persistence, "tiny")
                assert state.commit is not None
                if kind == "episodes":
                    # Nothing is trained from recorded games: the state beside them is whole.
                    assert state.commit.global_step == 2, what
                    assert path.name in state.damaged_recordings[0].reason
                else:
                    assert state.commit.global_step == 1, what
                    assert path.name in state.rejected[0].reason
    finally:
        path.write_bytes(content)
    report(f"rot: {kind}, {run.kind.kind}", flips_and_truncations=len(cases), undetected=0)


def test_all_damage_to_a_commit_is_found(run: Run) -> None:
    config, stored = run.config, run.stored
    content = stored.path.read_bytes()
    rng = random.Random("commit")
    cases = damages(content, rng, run.kind.share)
    to_load = set(rng.sample(range(len(cases)), run.loads()))
    try:
        for i, (what, damaged) in enumerate(cases):
            stored.path.write_bytes(damaged)
            try:
                # White space may change and mean nothing; no other change may pass.
                assert read_commit(stored.path) == stored.commit, what
                continue
            except DataError as e:
                assert stored.path.name in str(e)  # noqa: PT017
            if i in to_load:
                state = load_for_reading(config.persistence, "tiny")
                assert state.commit is not None
                assert state.commit.global_step == 1, what
    finally:
        stored.path.write_bytes(content)
    report(f"rot: commit, {run.kind.kind}", flips_and_truncations=len(cases), undetected=0)
