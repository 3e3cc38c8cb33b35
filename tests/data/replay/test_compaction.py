"""Segments stay few, and merging changes no row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.data.commits import writer
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.errors import CorruptBufferError, NoSoundCommitError, SaveFailedError
from alphatriangle.data.replay.compaction import LARGEST, segments_to_merge
from alphatriangle.data.replay.recordings import read_episodes
from alphatriangle.data.storage.digests import FileDigest
from tests.conftest import tiny_config
from tests.data.helpers import flip_bit, reload, rows_of, started
from tests.features.test_encoder import assert_same_rows


def grow(added: list[int], capacity: int) -> tuple[int, int]:
    """(most segments at any time, rows written again) of a ring that gets these segments."""
    sizes: list[int] = []
    most = rewritten = 0
    for rows in added:
        sizes.append(rows)
        while sum(sizes[1:]) >= capacity:
            del sizes[0]
        while (window := segments_to_merge(sizes)) is not None:
            total = sum(sizes[i] for i in window)
            assert window.stop == len(sizes)
            assert total <= LARGEST
            rewritten += total
            sizes[window.start :] = [total]
        most = max(most, len(sizes))
    return most, rewritten


@given(
    st.integers(1, 3000).flatmap(
        lambda most: st.lists(st.sampled_from([1, most]) | st.integers(1, most), min_size=100)
    )
)
def test_a_full_ring_has_few_segments_and_rows_are_rarely_rewritten(added: list[int]) -> None:
    most, rewritten = grow(added, capacity=100_000)
    # Each is more than a quarter of all newer ones: log of the rows to the base 1.25, at worst.
    assert most <= math.log(100_000 + 3000, 1.25) + 2
    assert rewritten <= 12 * sum(added)


def test_equal_commits_are_the_common_case() -> None:
    most, rewritten = grow([2000] * 1000, capacity=250_000)
    assert most <= 20
    assert rewritten <= 3 * 2000 * 1000


def test_a_large_ring_has_segments_in_proportion() -> None:
    most, _ = grow([2000] * 3000, capacity=2_500_000)
    assert most <= 60


def test_merged_segments_hold_the_same_rows(tmp_path: Path) -> None:
    """Twenty commits, a restart in the middle, retention all the while: no row changes."""
    config = tiny_config(tmp_path, persistence={"keep_last": 2})
    training = started(config)
    for _ in range(20):
        training.commit(rows=12)
    report = training.manager.last_report
    assert report is not None
    segments = report.commit.of_kind("segment")
    assert len(segments) < 14
    assert [f.first for f in segments[1:]] == [f.end for f in segments[:-1]], "without a gap"
    rows = training.rows()
    training.manager.close()
    state = reload(config)
    assert_same_rows(rows_of(state), rows)
    named = {p.name for p in training.manager.paths.segments.iterdir()}
    assert len(named) < 30, "merged segments go when no commit names them"


def test_merged_recordings_hold_the_same_games(tmp_path: Path) -> None:
    """However many commits there are, each names a few files of games."""
    config = tiny_config(tmp_path, persistence={"keep_last": 2})
    training = started(config)
    for _ in range(60):
        training.commit(rows=1)
    report = training.manager.last_report
    assert report is not None
    files = report.commit.of_kind("episodes")
    assert len(files) < 12
    run = training.manager.paths.run
    games = [e.episode for f in files for e in read_episodes(run / f.path)]
    assert games == list(range(1, 61)), "in the order in which they were played"
    training.manager.close()
    assert reload(config).damaged_recordings == []
    left = list(training.manager.paths.episodes.iterdir())
    assert len(left) < 24, "what was merged goes when no commit names it"


def test_damaged_recordings_are_not_merged(tmp_path: Path) -> None:
    training = started(tiny_config(tmp_path, persistence={"keep_last": 30}))
    training.commit()
    victim = training.manager.paths.episodes / "episodes_step_1.arrow"
    _damage_unseen(victim)
    for _ in range(10):
        training.commit()
    training.manager.close()
    state = reload(training.config)
    assert state.commit is not None
    assert state.commit.global_step == 11
    assert [Path(d.path).name for d in state.damaged_recordings] == [victim.name]


def _damage_unseen(path: Path) -> None:
    """Flip a bit that Arrow does not notice: only the digest tells."""
    for position in reversed(range(path.stat().st_size)):
        flip_bit(path, position)
        try:
            read_episodes(path)
        except CorruptBufferError:
            flip_bit(path, position)
            continue
        return
    raise AssertionError("Arrow notices every bit")


def test_damage_does_not_get_a_new_digest(tmp_path: Path) -> None:
    """A segment that rots before it is merged stays what the older commits name, and is found."""
    config = tiny_config(tmp_path, persistence={"keep_last": 20})
    training = started(config)
    for _ in range(3):
        training.commit(rows=12)
    segment = training.manager.paths.segments / "12-23.arrow"
    flip_bit(segment, segment.stat().st_size // 2)
    for _ in range(4):
        training.commit(rows=12)
    training.manager.close()
    for stored in list_commits(training.manager.paths).commits:
        if stored.commit.global_step == 1:
            stored.path.unlink()
    with pytest.raises(NoSoundCommitError, match=r"12-23\.arrow") as failure:
        reload(config)
    assert str(failure.value).count("12-23.arrow") == 6


@pytest.mark.parametrize("merge", ["merge_segments", "merge_episodes"])
def test_a_merge_that_was_written_wrongly_costs_one_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: str
) -> None:
    real = getattr(writer, merge)

    def lying(path: Path, *sources: Any) -> FileDigest:
        digest: FileDigest = real(path, *sources)
        flip_bit(path, digest.size // 2)
        return digest

    monkeypatch.setattr(writer, merge, lying)
    training = started(tiny_config(tmp_path))
    failed = 0
    for _ in range(8):
        training.advance(12)
        training.save()
        try:
            training.manager.flush()
        except SaveFailedError:
            failed += 1
            monkeypatch.undo()
    assert failed == 1
    rows = training.rows()
    training.manager.close()
    assert_same_rows(rows_of(reload(training.config)), rows)
