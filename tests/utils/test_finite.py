"""What is not finite is found, wherever it is, and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.utils.finite import all_finite, first_not_finite

BAD = (float("nan"), float("inf"), float("-inf"))
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@given(st.sampled_from(REAL), st.integers(1, 300), st.data())
def test_one_number_among_many(dtype: torch.dtype, size: int, data: st.DataObject) -> None:
    tensor = torch.linspace(-3, 3, size).to(dtype)
    assert all_finite([tensor, tensor])
    assert first_not_finite({"a": tensor}) is None
    tensor[data.draw(st.integers(0, size - 1))] = data.draw(st.sampled_from(BAD))
    assert not all_finite([torch.ones(3), tensor])
    assert first_not_finite({"a": [torch.ones(3), tensor]}, "s") == (
        f"s['a'][1] (1 of {size} numbers)"
    )


def test_large_is_not_infinite() -> None:
    assert all_finite([torch.full((50,), 3e38), torch.full((50,), -3e38)])


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("bad", BAD)
def test_every_kind_of_tensor_and_array(bad: float) -> None:
    holders: list[Any] = [
        torch.tensor([1.0, bad]).to_sparse(),
        torch.tensor([[1.0, bad]]).to_sparse_csr(),
        torch.tensor([1.0, complex(0.0, bad)]),
        torch.tensor([1.0, bad], requires_grad=True),
        np.array([1.0, bad]),
        np.array([1.0, bad], np.complex64),
    ]
    for holder in holders:
        assert first_not_finite([holder]) is not None, holder
    assert first_not_finite(torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)) is not None


def test_what_has_no_infinity_has_none() -> None:
    others = [torch.arange(3), torch.empty(0), np.array(["inf"]), np.arange(3), float("inf"), "nan"]
    assert first_not_finite(others) is None
