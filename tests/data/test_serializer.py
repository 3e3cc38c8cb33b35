"""Records to files and back, and what is refused."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from alphatriangle.data import BufferData, CheckpointData, Serializer, safe_pickle
from alphatriangle.data.errors import (
    BufferNotFoundError,
    CheckpointNotFoundError,
    CorruptBufferError,
    CorruptCheckpointError,
    StateTypeError,
    UnsafePickleError,
    UnsupportedFormatError,
)
from alphatriangle.features import experiences_from_rows
from tests.features.test_encoder import random_rows

GOLDEN = Path(__file__).parent.parent / "golden"


def checkpoint(**fields: Any) -> CheckpointData:
    return CheckpointData(
        run_name="r",
        global_step=3,
        episodes_played=4,
        total_simulations_run=5,
        created_at="2026-01-01T00:00:00+00:00",
        model_state_dict={
            "w": torch.arange(6.0).reshape(2, 3),
            "h": torch.ones(2, dtype=torch.bfloat16),
            "conv": torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1)).to(
                memory_format=torch.channels_last
            ),
        },
        optimizer_state_dict={
            "state": {0: {"step": torch.tensor(7.0)}},
            "param_groups": [{"lr": 0.1}],
        },
        components={
            "nested": {"array": np.arange(5, dtype=np.int16), "tuple": (1, None, True), "s": "ü"},
            "empty": np.empty((0, 3), np.float64),
            "scalar": np.float64(2.5),
            "order": collections.OrderedDict(a=1),
            "recent": collections.deque([1.0], maxlen=3),
        },
        **fields,
    )


def test_checkpoints_come_back_equal(tmp_path: Path) -> None:
    serializer, path = Serializer(), tmp_path / "c.pkl"
    digest = serializer.save_checkpoint(checkpoint(), path)
    assert digest.size == path.stat().st_size
    loaded = serializer.load_checkpoint(path)
    original = checkpoint()
    for name in original.model_state_dict:
        assert torch.equal(loaded.model_state_dict[name], original.model_state_dict[name])
        assert loaded.model_state_dict[name].dtype == original.model_state_dict[name].dtype
        assert loaded.model_state_dict[name].stride() == original.model_state_dict[name].stride()
    assert loaded.optimizer_state_dict["state"][0]["step"] == 7.0
    nested = loaded.components["nested"]
    np.testing.assert_array_equal(nested["array"], np.arange(5, dtype=np.int16))
    assert nested["tuple"] == (1, None, True)
    assert nested["s"] == "ü"
    assert loaded.components["empty"].shape == (0, 3)
    assert loaded.components["recent"] == collections.deque([1.0], maxlen=3)
    loaded.model_state_dict["w"].add_(1)  # writable, as training needs it


def test_files_of_an_older_protocol_are_read(tmp_path: Path) -> None:
    record = checkpoint(rng_state={"array": np.arange(4)})
    record.model_state_dict = {}
    record.optimizer_state_dict = {}
    path = tmp_path / "c.pkl"
    path.write_bytes(pickle.dumps(record, protocol=4))
    loaded = Serializer().load_checkpoint(path)
    np.testing.assert_array_equal(loaded.rng_state["array"], np.arange(4))


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
@pytest.mark.parametrize("protocol", [4, 5])
def test_files_written_beside_numpy_1_are_read(tmp_path: Path, protocol: int) -> None:
    """Its private modules had other names."""
    record = checkpoint(rng_state={"array": np.arange(4), "scalar": np.float64(1.5)})
    record.model_state_dict = {}
    record.optimizer_state_dict = {}
    content = pickle.dumps(record, protocol=protocol)
    # Without the frame, whose length would not be right any more.
    assert content[2:3] == b"\x95"
    content = content[:2] + content[11:]
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        content = content.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
    assert b"numpy._core" not in content
    assert b"numpy.core.multiarray" in content
    path = tmp_path / "c.pkl"
    path.write_bytes(content)
    loaded = Serializer().load_checkpoint(path)
    np.testing.assert_array_equal(loaded.rng_state["array"], np.arange(4))
    assert loaded.rng_state["scalar"] == 1.5


def test_a_buffer_with_a_plain_list_comes_back(tmp_path: Path) -> None:
    experiences = list(experiences_from_rows(random_rows(6)))
    serializer, path = Serializer(), tmp_path / "b.pkl"
    for items in (experiences, collections.deque(experiences)):
        serializer.save_buffer(BufferData(buffer_list=items), path)
        loaded = serializer.load_buffer(path)
        assert len(loaded) == 6
        state, policy, value = loaded.experiences[2]
        np.testing.assert_array_equal(state["grid"], experiences[2][0]["grid"])
        assert (policy, value) == (experiences[2][1], experiences[2][2])


def test_the_known_projects_buffers_load(tmp_path: Path) -> None:
    """grid (1, 8, 15), 30 other features, policies over all 360 actions, a list in a pickle."""
    experience = (
        {"grid": np.zeros((1, 8, 15), np.float32), "other_features": np.zeros(30, np.float32)},
        dict.fromkeys(range(360), 1 / 360),
        2.5,
    )
    record = BufferData.model_construct(buffer_list=[experience] * 3)
    path = tmp_path / "buffer.pkl"
    path.write_bytes(cloudpickle.dumps(record))
    loaded = Serializer().load_buffer(path)
    assert len(loaded) == 3
    assert loaded.buffer_state()["total_added"] == 3


class Evil:
    """Runs a function when unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def evil_pickles(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}"
    return {
        "os.system": pickle.dumps(Evil(os.system, touch)),
        "subprocess": pickle.dumps(Evil(subprocess.check_output, ["touch", str(marker)])),
        "eval": pickle.dumps(Evil(eval, f"__import__('os').system('{touch}')")),
        "getattr": pickle.dumps(Evil(getattr, "text", "upper")),
        "cloudpickled function": cloudpickle.dumps(Evil(lambda: os.system(touch))),
        "inside a checkpoint": cloudpickle.dumps(
            CheckpointData.model_construct(
                **dict(checkpoint()) | {"components": {"x": Evil(os.system, touch)}}
            )
        ),
        "torch.load as a gadget": pickle.dumps(Evil(torch.load, str(marker))),
        "numpy.load as a gadget": pickle.dumps(Evil(np.load, str(marker), None, True)),
    }


@pytest.mark.parametrize("name", list(evil_pickles(Path("x"))))
def test_hostile_pickles_are_refused_before_anything_runs(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "was-here"
    path = tmp_path / "evil.pkl"
    path.write_bytes(evil_pickles(marker)[name])
    for load in (Serializer().load_checkpoint, Serializer().load_buffer):
        with pytest.raises(UnsafePickleError, match="nothing of it was run"):
            load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "pid",
    [
        "../../etc/passwd",
        ("alphatriangle.segments", [("../x.arrow", 0, 1, "")], 0, 1),
        ("alphatriangle.segments", [("/etc/passwd", 0, 1, "")], 0, 1),
        ("alphatriangle.segments", [("a.arrow", "0", 1, "")], 0, 1),
        ("alphatriangle.segments", [], 5, 1),
        ("other", [], 0, 0),
    ],
)
def test_persistent_ids_that_climb_out_are_refused(tmp_path: Path, pid: Any) -> None:
    class Hostile(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return pid if isinstance(obj, Evil) else None

    path = tmp_path / "b.pkl"
    with path.open("wb") as f:
        Hostile(f, 5).dump(BufferData(buffer_list=Evil(print)))
    with pytest.raises(CorruptBufferError):
        Serializer().load_buffer(path)


def test_what_the_person_allows_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "c.pkl"
    record = checkpoint()
    record.components["status"] = HTTPStatus.OK
    with pytest.raises(StateTypeError, match=r"components\.status.*http\.HTTPStatus"):
        Serializer().save_checkpoint(record, path)
    allowing = Serializer(["http.HTTPStatus"])
    allowing.save_checkpoint(record, path)
    with pytest.raises(UnsafePickleError, match=r"http\.HTTPStatus"):
        Serializer().load_checkpoint(path)
    assert allowing.load_checkpoint(path).components["status"] is HTTPStatus.OK
    assert Serializer().load_checkpoint(path, trusted=True).components["status"] is HTTPStatus.OK


def test_missing_damaged_and_foreign_files_are_three_errors(tmp_path: Path) -> None:
    serializer, path = Serializer(), tmp_path / "c.pkl"
    with pytest.raises(CheckpointNotFoundError, match=r"c\.pkl"):
        serializer.load_checkpoint(path)
    with pytest.raises(BufferNotFoundError):
        serializer.load_buffer(path)
    for content in (b"", b"garbage", pickle.dumps(checkpoint())[:-20], pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises((CorruptCheckpointError, UnsafePickleError), match=r"c\.pkl"):
            serializer.load_checkpoint(path)


def test_validation_happens_for_real(tmp_path: Path) -> None:
    path = tmp_path / "c.pkl"
    fields = dict(checkpoint())
    wrong = {"global_step": -1, "model_state_dict": {"w": "text"}, "episodes_played": None}
    for name, value in wrong.items():
        record = CheckpointData.model_construct(**fields | {name: value})
        Serializer().save_checkpoint(record, path)
        with pytest.raises(CorruptCheckpointError, match=name):
            Serializer().load_checkpoint(path)
    path.write_bytes(cloudpickle.dumps(BufferData.model_construct(buffer_list=[(1, 2)])))
    with pytest.raises(CorruptBufferError, match="experience 0"):
        Serializer().load_buffer(path)


def test_newer_formats_are_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "b.pkl"
    record = BufferData.model_construct(buffer_list=[], format_version=3)
    path.write_bytes(cloudpickle.dumps(record))
    with pytest.raises(UnsupportedFormatError, match=r"version 3.*up to 2"):
        Serializer().load_buffer(path)


def test_priorities_must_fit_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "b.pkl"
    record = BufferData(buffer_list=[], priorities=np.ones(3, np.float32))
    Serializer().save_buffer(record, path)
    with pytest.raises(CorruptBufferError, match="priorities"):
        Serializer().load_buffer(path)


def test_config_json_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "configs.json"
    Serializer().save_config_json({"b": 1, "a": {"path": Path("/x")}}, path)
    assert path.read_text() == '{\n  "a": {\n    "path": "/x"\n  },\n  "b": 1\n}\n'


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.pkl"
    Serializer().save_checkpoint(checkpoint(), path)
    before = path.read_bytes()
    broken = checkpoint()
    broken.components["bad"] = (i for i in range(3))  # no generator can be pickled
    with pytest.raises(StateTypeError):
        Serializer().save_checkpoint(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 70_000, 3 << 20])
@pytest.mark.parametrize("protocol", range(6))
def test_pieces_and_lines_of_any_length_are_read(protocol: int, length: int) -> None:
    """Lines are what the oldest protocols write; large bytes stand outside of frames."""
    values: list[object] = ["x" * length, {"é" * length: [10**40, -1.5, None]}, ["a", "b\n"] * 300]
    if protocol == 5:
        values += [bytearray(length), bytes(length), [bytearray(b"ab")] * 2, bytearray(length)]
    content = pickle.dumps(values, protocol)
    for given in (content, memoryview(bytearray(content))):
        found = safe_pickle.load(given, Path("x.pkl"), frozenset(), lambda pid: None)
        assert found == values
        assert [type(value) for value in found] == [type(value) for value in values]
