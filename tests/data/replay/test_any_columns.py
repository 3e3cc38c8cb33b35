"""A replay of anybody's columns through the whole data module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.data import DataManager, state_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import (
    ColumnsError,
    CorruptBufferError,
    StateMismatchError,
    UnknownCodecError,
)
from alphatriangle.data.replay.codecs import PlainCodec, register_codec
from alphatriangle.data.replay.segments import SegmentRef, merge_segments, write_segment
from alphatriangle.data.runs.archive import restore_run, write_archive
from alphatriangle.data.runs.export import export_state
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.utils.ring import Ring

COLUMNS: dict[str, Any] = {"obs": ("uint8", (4, 3)), "action": "int64", "done": "bool"}
MUTABLE: dict[str, Any] = {"priority": "float64", "value": ("float32", (2,))}


def ring(capacity: int = 50) -> Ring:
    return Ring(capacity, COLUMNS, mutable=MUTABLE)


def rows(first: int, count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(first)
    return {
        "obs": random.integers(0, 256, (count, 4, 3), np.uint8),
        "action": np.arange(first, first + count),
        "done": random.random(count) < 0.5,
        "priority": random.random(count),
        "value": random.random((count, 2), np.float32),
    }


class Loop:
    """A model and a replay, saved by a manager of their own."""

    def __init__(self, config: Config, replay: Ring) -> None:
        self.model = torch.nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.replay = replay
        self.manager = DataManager(config.persistence, config.train)
        self.state = self.manager.load_initial_state()
        if self.state.buffer_data is not None:
            saved = self.state.buffer_data
            replay.load_state_dict(saved.buffer_state(), saved.buffer_list.pieces())

    def commit(self, step: int, count: int) -> None:
        added = self.replay.total_added
        self.replay.add(rows(added, count))
        self.manager.save_training_state(self.model, self.optimizer, None, self.replay, step, 0, 0)
        self.manager.flush()


def same(one: Ring, other: Ring) -> bool:
    return one.total_added == other.total_added and all(
        np.array_equal(one[name][one.positions()], other[name][other.positions()])
        for name in (*COLUMNS, "priority", "value")
    )


def test_they_come_back_and_only_new_rows_are_written(config: Config) -> None:
    loop = Loop(config, ring())
    for step, count in enumerate((20, 20, 30), start=1):
        loop.replay["priority"][:] *= 2
        loop.commit(step, count)
        report = loop.manager.last_report
        assert report is not None
    segments = [f for f in report.commit.files if f.kind == "segment"]
    assert [(f.first, f.end) for f in segments] == [(20, 40), (40, 70)] or len(segments) == 1
    loop.manager.close()
    again = Loop(config, ring())
    assert same(again.replay, loop.replay)
    again.commit(4, 5)
    again.manager.close()


@pytest.mark.parametrize("capacity", [10, 200])
def test_with_another_capacity_the_newest_rows_stay(config: Config, capacity: int) -> None:
    loop = Loop(config, ring())
    loop.commit(1, 70)
    loop.manager.close()
    again = Loop(config, ring(capacity))
    kept = min(capacity, 50)
    assert again.replay["action"][again.replay.positions()].tolist() == [*range(70 - kept, 70)]
    again.commit(2, 30)
    again.manager.close()
    final = Loop(config, ring(capacity))
    assert same(final.replay, again.replay)
    final.manager.close()


def test_changed_columns_are_refused_by_name_and_nothing_is_lost(config: Config) -> None:
    loop = Loop(config, ring())
    loop.commit(1, 20)
    wider = Ring(50, {**COLUMNS, "obs": ("uint8", (4, 4))})
    wider.lineage = loop.replay.lineage
    with pytest.raises(StateMismatchError, match="has 0 rows, and 20 have been saved"):
        loop.manager.save_training_state(loop.model, loop.optimizer, None, wider, 2, 0, 0)
    wider.advance(25)
    loop.replay = wider
    with pytest.raises(ColumnsError, match=r"'obs' was uint8 \[4x3\] and is uint8 \[4x4\]"):
        loop.manager.save_training_state(loop.model, loop.optimizer, None, wider, 2, 0, 0)
    loop.manager.close()
    with pytest.raises(ValueError, match="column 'obs'"):
        Loop(config, Ring(50, {"obs": "uint8"}, mutable=MUTABLE))


def test_columns_that_no_file_holds_are_refused_at_the_save(config: Config) -> None:
    loop = Loop(config, ring())
    loop.replay._arrays["obs"] = np.array([None] * 50)
    with pytest.raises(ColumnsError, match="column 'obs' has the dtype object"):
        loop.manager.save_training_state(loop.model, loop.optimizer, None, loop.replay, 1, 0, 0)
    loop.manager.close()


def test_other_tools_forks_exports_and_archives(config: Config, tmp_path: Path) -> None:
    loop = Loop(config, ring())
    loop.commit(1, 20)
    loop.commit(2, 20)
    loop.manager.close()
    name = config.train.run_name or ""
    state = load_for_reading(config.persistence, name)
    assert state.checkpoint_data is not None
    assert state.buffer_data is not None
    assert state.buffer_data.format_version == 2
    assert state.buffer_data.buffer_list[3]["action"] == 3
    path = state.buffer_data.buffer_list.folder / state.buffer_data.buffer_list.refs[0].name
    assert pl.read_ipc(path)["obs"].dtype == pl.Array(pl.UInt8, 12)
    export_state(state, "replay", tmp_path / "rows.parquet")
    assert pl.read_parquet(tmp_path / "rows.parquet")["action"].to_list() == [*range(40)]
    digest = state_digest(state.checkpoint_data, state.buffer_data)
    fork_run(config.persistence, name, "forked")
    assert state.commit is not None
    write_archive(loop.manager.paths, state.commit, tmp_path / "run.tar")
    restore_run(config.persistence, tmp_path / "run.tar", "restored")
    for copy in ("forked", "restored"):
        other = load_for_reading(config.persistence, copy)
        assert other.checkpoint_data is not None
        assert state_digest(other.checkpoint_data, other.buffer_data) == digest


class Halved(PlainCodec):
    """Stores actions at half their size."""

    def encode(self, columns: Any) -> Any:
        return {**columns, "action": columns["action"].astype(np.int32)}

    def decode(self, stored: Any) -> Any:
        return {**stored, "action": stored["action"].astype(np.int64)}


def test_a_codec_is_named_in_files_and_has_to_be_known(config: Config, monkeypatch: Any) -> None:
    register_codec("halved", Halved())
    replay = ring()
    replay.codec_name = "halved"
    loop = Loop(config, replay)
    loop.commit(1, 20)
    loop.manager.close()
    assert same(Loop(config, ring()).replay, replay)
    monkeypatch.setattr("alphatriangle.data.replay.codecs._known", {})
    with pytest.raises(UnknownCodecError, match=r"buffer_step_1\.pkl: .*'halved'"):
        load_for_reading(config.persistence, config.train.run_name or "")


def test_neighbours_with_other_columns_are_not_merged(tmp_path: Path) -> None:
    refs = []
    for i, dtype in enumerate((np.int32, np.int64)):
        path = tmp_path / f"{i}.arrow"
        digest = write_segment(path, {"action": np.zeros(1, dtype)}, first=i)
        refs.append(SegmentRef(path.name, i, i + 1, digest.sha256))
    with pytest.raises(CorruptBufferError, match="not those of its neighbours"):
        merge_segments(tmp_path / "merged.arrow", tmp_path, refs)
    assert not (tmp_path / "merged.arrow").exists()


def test_neighbours_of_another_codec_are_not_merged(tmp_path: Path) -> None:
    """Their files have the same columns, and mean others."""
    register_codec("doubled", Doubled())
    refs = []
    for i, codec in enumerate(("", "doubled")):
        path = tmp_path / f"{i}.arrow"
        digest = write_segment(path, {"action": np.ones(1, np.int64)}, i, codec)
        refs.append(SegmentRef(path.name, i, i + 1, digest.sha256))
    with pytest.raises(CorruptBufferError, match="its codec is not that of its neighbours"):
        merge_segments(tmp_path / "merged.arrow", tmp_path, refs)
    assert not (tmp_path / "merged.arrow").exists()


class Doubled(PlainCodec):
    """Stores actions as twice what they are."""

    def encode(self, columns: Any) -> Any:
        return {**columns, "action": columns["action"] * 2}

    def decode(self, stored: Any) -> Any:
        return {**stored, "action": stored["action"] // 2}


def test_the_codec_of_a_lineage_does_not_change(config: Config) -> None:
    register_codec("doubled", Doubled())
    loop = Loop(config, ring())
    loop.commit(1, 20)
    loop.replay.codec_name = "doubled"
    with pytest.raises(ColumnsError, match="their codec was '' and is 'doubled'"):
        loop.commit(2, 20)
    loop.manager.close()
    again = Loop(config, ring())
    again.replay.codec_name = "doubled"
    with pytest.raises(ColumnsError, match="their codec was '' and is 'doubled'"):
        again.commit(2, 20)
    again.manager.close()


def test_mutable_columns_that_no_file_holds_are_refused_at_the_save(config: Config) -> None:
    loop = Loop(config, ring())
    loop.replay._arrays["priority"] = np.array(["x"] * 50)
    with pytest.raises(ColumnsError, match="column 'priority' has the dtype <U1"):
        loop.manager.save_training_state(loop.model, loop.optimizer, None, loop.replay, 1, 0, 0)
    loop.manager.close()
