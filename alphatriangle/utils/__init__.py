"""Types, seeding, devices, the sum tree: what several packages share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphatriangle.utils.types import Experience, StateType

__all__ = ["Experience", "StateType"]


def __getattr__(name: str) -> Any:
    """The types, when they are asked for: they need torch, which a command line starts without."""
    if name in __all__:
        from alphatriangle.utils import types

        return getattr(types, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
