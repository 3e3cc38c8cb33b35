"""What a process knows of a run's commits is what is there, whoever changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits import files
from alphatriangle.data.commits.files import list_commits, write_commit
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, CommittedFile

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "write elsewhere", "remove", "damage"]), st.integers(0, 9)),
    max_size=20,
)


def commit(sequence: int, step: int) -> Commit:
    """One that shares files with its neighbours."""
    named = [f"buffers/segments/rows_{i}.arrow" for i in range(sequence // 2, sequence // 2 + 3)]
    return Commit(
        run_name="r",
        sequence=sequence,
        global_step=step,
        created_at="",
        created_ns=sequence,
        episodes_played=0,
        total_simulations_run=0,
        is_best=False,
        files=[CommittedFile(path=p, kind="segment", size=1, sha256="0" * 64) for p in named],
    )


def run_folder(folder: Path) -> PathManager:
    paths = PathManager(PersistenceConfig(root_data_dir=folder), "r")
    paths.make_folders()
    return paths


@given(actions=ACTIONS)
@settings(deadline=None)
def test_it_is_what_a_fresh_look_finds(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    paths = run_folder(tmp_path_factory.mktemp("known"))
    known = KnownCommits(paths)
    for sequence, (action, number) in enumerate(actions, 1):
        there = sorted(paths.commits.iterdir())
        if action == "write":
            known.add(write_commit(paths, commit(sequence, number)))
        elif action == "write elsewhere":
            write_commit(paths, commit(sequence, number))
        elif there and action == "remove":
            there[number % len(there)].unlink()
        elif there:
            # Whoever has read it goes on with what it said; it is new to whoever has not.
            path = there[number % len(there)]
            path.unlink()
            path.with_name(f"damaged_{sequence}.json").write_bytes(b"{")
        fresh = list_commits(paths)
        looked = known.look()
        assert looked == fresh
        for some in (looked.commits[:1], looked.commits[1:], looked.commits[::2]):
            others = [s for s in looked.commits if s not in some]
            alone = {f.path for s in some for f in s.commit.files}
            alone -= {f.path for s in others for f in s.commit.files}
            assert known.named_by_these_alone(some) == sorted(alone)


def test_a_name_that_is_used_again_is_another_commit(tmp_path: Path) -> None:
    """Pruned by somebody, and saved again before anybody looked."""
    paths = run_folder(tmp_path)
    known = KnownCommits(paths)
    first = write_commit(paths, commit(1, 7))
    known.add(first)
    assert known.look().commits == [first]
    first.path.unlink()
    second = write_commit(paths, commit(2, 7))
    assert second.path == first.path
    known.add(second)
    assert known.look().commits == [second]
    assert known.named_by_these_alone([second]) == [f.path for f in second.commit.files]


def test_each_commit_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = run_folder(tmp_path)
    read: list[Path] = []
    parse = files.parse_commit

    def counted(content: bytes, path: Path) -> Any:
        read.append(path)
        return parse(content, path)

    monkeypatch.setattr(files, "parse_commit", counted)
    for sequence in range(1, 6):
        write_commit(paths, commit(sequence, sequence))
    known = KnownCommits(paths)
    for sequence in range(6, 9):
        assert len(known.look().commits) == sequence - 1
        known.add(write_commit(paths, commit(sequence, sequence)))
    assert sorted(read) == [paths.commit(step) for step in range(1, 6)]
