"""The generators that libraries keep for themselves: seed them all, save them all.

Our own randomness is counter-based (:mod:`alphatriangle.utils.seeding`) and has no state. These
states exist because torch, NumPy and Python draw from globals where user code does. They belong to
training, which saves them: whatever else draws from them does so inside :func:`undisturbed`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from alphatriangle.utils.streams import STREAM_INIT, library_seed


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch from the run seed."""
    value = library_seed(seed, STREAM_INIT)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """For code around training, which may draw: afterwards the global generators are as before."""
    before = rng_state()
    try:
        yield
    finally:
        set_rng_state(before)


@contextlib.contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Let torch draw on the CPU as after ``manual_seed(seed)``; afterwards it is as before."""
    before = torch.get_rng_state()
    try:
        # torch.manual_seed would seed every other device too, some of them when first used.
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(before)


def rng_state() -> dict[str, Any]:
    """The state of every global generator: Python, NumPy, torch and, where it is in use, CUDA."""
    # A tuple, which costs nothing: 625 numbers, immutable.
    version, internal, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    return {
        "python": {"version": version, "internal": internal, "gauss": gauss},
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": _cuda_state(),
    }


def _cuda_state() -> list[torch.Tensor]:
    # A device that nobody has used has drawn nothing, and asking would make a context there.
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.cuda.get_rng_state_all() if used else []


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what :func:`rng_state` returned. CUDA states apply where as many devices exist."""
    python = state["python"]
    random.setstate((python["version"], tuple(map(int, python["internal"])), python["gauss"]))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
