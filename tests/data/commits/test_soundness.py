"""Sound means that training could go on from it, whoever asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from alphatriangle.config import Config
from alphatriangle.data import DataManager, Serializer
from alphatriangle.data.commits.files import list_commits, write_commit
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import CorruptBufferError, SaveFailedError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.schemas import BufferData, CheckpointData
from alphatriangle.data.storage import fs
from alphatriangle.training.learning.batches import restore_learner
from tests.conftest import tiny_config
from tests.data.helpers import Training, reload, rows_of, started
from tests.features.test_encoder import assert_same_rows
from tests.training.command import alphatriangle


class Odd:
    """Pickled by whoever saves it, on nobody's allow-list."""


def forge(config: Config, change: Callable[[CheckpointData, BufferData], None]) -> Commit:
    """A newer commit of step 3 whose digests are right and whose content ``change`` has made."""
    state = load_for_reading(config.persistence, "tiny")
    assert state.commit is not None
    assert state.checkpoint_data is not None
    assert state.buffer_data is not None
    paths = PathManager(config.persistence, "tiny")
    serializer = Serializer([f"{Odd.__module__}.Odd"])
    state.checkpoint_data.global_step = 3
    change(state.checkpoint_data, state.buffer_data)
    digests = {
        "checkpoint": serializer.save_checkpoint(state.checkpoint_data, paths.checkpoint(3)),
        "buffer": serializer.save_buffer(state.buffer_data, paths.buffer(3)),
    }
    files = []
    for file in state.commit.files:
        if file.kind in digests:
            new = file.path.replace(f"step_{state.commit.global_step}", "step_3")
            file = file.model_copy(update={"path": new, **digests[file.kind]._asdict()})
        files.append(file)
    forged = state.commit.model_copy(
        update={"sequence": 9, "global_step": 3, "files": files, "best_sequence": None}
    )
    return write_commit(paths, forged).commit


def counts_rows_that_do_not_exist(_: CheckpointData, buffer: BufferData) -> None:
    """What a ring that had grown made of itself, once."""
    rows = buffer.buffer_list
    rows.first, buffer.oldest = rows.first - 7, rows.first - 7
    buffer.priorities = None


def names_a_class(checkpoint: CheckpointData, _: BufferData) -> None:
    checkpoint.components["odd"] = Odd()


def lacks_a_priority(_: CheckpointData, buffer: BufferData) -> None:
    assert buffer.priorities is not None
    buffer.priorities = buffer.priorities[1:]


def is_of_another_step(checkpoint: CheckpointData, _: BufferData) -> None:
    checkpoint.global_step = 4


UNSOUND = [
    (counts_rows_that_do_not_exist, "is in no segment"),
    (names_a_class, "Odd, which a saved state does not need"),
    (lacks_a_priority, "priorities for"),
    (is_of_another_step, "its checkpoint step 4"),
]


@pytest.mark.parametrize(("change", "said"), UNSOUND, ids=[c.__name__ for c, _ in UNSOUND])
def test_a_commit_that_nothing_could_go_on_from_is_passed_over_by_all(
    config: Config, change: Callable[[Any, Any], None], said: str
) -> None:
    config = tiny_config(config.persistence.root_data_dir.parent, train={"use_per": True})
    training = started(config)
    for _ in range(2):
        training.commit(rows=500)
    training.manager.close()
    forge(config, change)
    where = ["--data-dir", str(config.persistence.root_data_dir)]
    verified = alphatriangle("runs", "verify", "tiny", "--json", *where)
    assert verified.returncode == 1
    assert any(said in problem for problem in json.loads(verified.stdout)["problems"])
    explained = json.loads(alphatriangle("runs", "explain-resume", "tiny", "--json", *where).stdout)
    assert explained["step"] == 2
    assert said in explained["passed_over"][0]["reason"]
    with pytest.raises(Exception, match=said):
        fork_run(config.persistence, "tiny", "other", step=3)
    assert not PathManager(config.persistence, "other").run.exists()
    exported = config.persistence.root_data_dir / "x.tar"
    arguments = ["runs", "export", "tiny", "--what", "run", "--to", str(exported), "--step", "3"]
    assert alphatriangle(*arguments, *where).returncode == 2
    again = Training(config)
    state = again.manager.load_initial_state()
    assert state.commit is not None
    assert state.commit.global_step == 2
    restore_learner(state, again.network, again.trainer, again.buffer)
    again.step = 2
    again.commit()
    again.manager.close()


def test_what_could_not_be_loaded_is_not_committed(config: Config) -> None:
    training = started(config)
    training.commit()

    class Part:
        def state_dict(self) -> dict[str, Any]:
            return {"part": Odd()}

    training.advance()
    training.manager.save_training_state(
        training.network, training.trainer.optimizer, None, training.buffer, 2, 0, 0,
        components={"odd": Part()},
    )  # fmt: skip
    with pytest.raises(SaveFailedError, match="Odd"):
        training.manager.flush()
    assert [s.commit.global_step for s in list_commits(training.manager.paths).commits] == [1]
    training.commit()
    training.manager.close()
    assert reload(config).commit.global_step == 3  # type: ignore[union-attr]


def test_rows_that_are_not_there_are_not_committed(config: Config) -> None:
    training = started(config)
    training.commit(rows=500)
    training.advance()
    oldest, training.buffer._ring.oldest = training.buffer.oldest, 0
    training.save()
    with pytest.raises(SaveFailedError, match="row 0 is in no segment"):
        training.manager.flush()
    training.buffer._ring.oldest = oldest
    training.commit()
    training.manager.close()
    assert_same_rows(rows_of(reload(config)), training.rows())


@pytest.mark.parametrize("use_per", [False, True], ids=["uniform", "prioritised"])
@pytest.mark.parametrize("capacities", [(100, 300, 300), (300, 100, 500), (100, 300, 60)])
def test_a_run_goes_on_with_another_capacity(
    config: Config, capacities: tuple[int, ...], use_per: bool
) -> None:
    """Trained until the ring is full, resumed with more or less room, and again."""
    root = config.persistence.root_data_dir.parent
    rows = None
    for i, capacity in enumerate(capacities):
        settings = {"buffer_capacity": capacity, "use_per": use_per}
        training = Training(tiny_config(root, train=settings))
        state = training.manager.load_initial_state()
        restore_learner(state, training.network, training.trainer, training.buffer)
        if rows is not None:
            kept = training.rows()
            assert_same_rows(kept, rows[len(rows) - len(kept) :])
            assert len(kept) == min(capacity, len(rows))
        training.step = 10 * i
        for _ in range(4):
            training.commit(rows=70)
        rows = training.rows()
        training.manager.close()
        assert_same_rows(rows_of(reload(training.config)), rows)
    verified = alphatriangle("runs", "verify", "tiny", "--data-dir", str(root / "data"))
    assert verified.returncode == 0, verified.stdout


def test_a_segment_that_is_seen_still_has_to_be_in_its_place(config: Config) -> None:
    """What was checked once is not read again; that it covers the rows is looked at every time."""
    training = started(config)
    training.commit(rows=60)
    training.manager.flush()
    state = load_for_reading(config.persistence, "tiny")
    assert state.buffer_data is not None
    rows = state.buffer_data.buffer_list
    rows.end += 1
    with pytest.raises(CorruptBufferError, match="row 60 is in no segment"):
        rows.check({ref.name for ref in rows.refs})
    training.manager.close()


def test_a_record_is_read_once_and_its_rows_come_from_that_reading(config: Config) -> None:
    training = started(config)
    training.commit(rows=60)
    training.manager.close()
    manager = DataManager(config.persistence, config.train)
    state = manager.load_initial_state()
    assert state.buffer_data is not None
    rows = state.buffer_data.buffer_list
    for ref in rows.refs:
        fs.remove(rows.folder / ref.name)
    assert sum(len(piece["returns"]) for piece in rows.pieces()) == 60
    manager.close()
