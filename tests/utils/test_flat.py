"""Flat storage: the tensors stay what they were, and all of them can be moved at once."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import ModelConfig
from alphatriangle.nn import NeuralNetwork
from alphatriangle.utils.flat import FlatState, flatten, views

SHAPES = st.lists(st.lists(st.integers(1, 5), max_size=4).map(tuple), min_size=1, max_size=6)


@given(SHAPES, st.booleans())
def test_tensors_keep_values_shapes_and_layouts(shapes: list[tuple[int, ...]], last: bool) -> None:
    tensors = [torch.randn(shape) for shape in shapes]
    if last:
        tensors = [
            t.to(memory_format=torch.channels_last) if t.ndim == 4 else t  # type: ignore[call-overload]
            for t in tensors
        ]
    before = [(t.clone(), t.stride()) for t in tensors]
    flat = flatten(tensors)
    assert flat.ndim == 1
    for tensor, (value, stride) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, value)
        assert tensor.stride() == stride
        assert tensor.data_ptr() % 64 == flat.data_ptr() % 64
    flat.fill_(7.0)
    assert all((t == 7.0).all() for t in tensors), "they are views"


def test_views_do_not_overlap() -> None:
    tensors = [torch.zeros(3), torch.zeros(2, 2), torch.zeros(())]
    flat = flatten(tensors)
    for i, view in enumerate(views(flat, tensors)):
        view.fill_(i + 1)
    assert [t.max().item() for t in tensors] == [t.min().item() for t in tensors] == [1, 2, 3]


def test_a_flat_state_moves_to_other_memory() -> None:
    tensors = [torch.arange(3.0), torch.arange(4.0).reshape(2, 2).t()]
    counts = [torch.tensor(5), torch.tensor(6)]
    storages = [flatten(tensors), flatten(counts)]
    state = FlatState({"a": tensors[0], 1: {"b": tensors[1], "n": counts[1], "x": 2}}, storages)
    copies = [s.clone() for s in storages]
    moved = state.on(copies)
    for storage in storages:
        storage.zero_()
    assert type(moved) is dict
    assert torch.equal(moved["a"], torch.arange(3.0))
    assert torch.equal(moved[1]["b"], torch.arange(4.0).reshape(2, 2).t())
    assert moved[1]["n"].item() == 6
    assert moved[1]["x"] == 2
    assert moved["a"].untyped_storage().data_ptr() == copies[0].untyped_storage().data_ptr()


def test_anybody_can_read_what_torch_saves_of_it(tmp_path: Path) -> None:
    network = NeuralNetwork(ModelConfig(conv_channels=4, num_residual_blocks=1), "cpu")
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = torch.load(tmp_path / "weights.pt")
    assert not isinstance(loaded, FlatState)
    assert list(loaded) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded[name], tensor)
