"""Where in a record a value is: looked for when a save is refused, and never before."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from alphatriangle.data import state_types


def place_of(record: BaseModel, value: object) -> str | None:
    """Its place, as in ``components.env.state[3]``; None where it is not to be found."""
    waiting: list[tuple[str, Any]] = [("", record)]
    seen: set[int] = set()
    while waiting:
        place, item = waiting.pop()
        if item is value:
            return place.removeprefix(".")
        if id(item) not in seen:
            seen.add(id(item))
            waiting += [(place + step, part) for step, part in _parts(item)]
    return None


def _parts(item: Any) -> Iterator[tuple[str, Any]]:
    match item:
        case str() | bytes():
            return
        case dict():
            for key, part in item.items():
                simple = isinstance(key, str) and key.isidentifier()
                step = f".{key}" if simple else f"[{key!r}]"
                yield step, part
                yield f"{step} (its key)", key
        case list() | tuple() | collections.deque():
            yield from ((f"[{i}]", part) for i, part in enumerate(item))
        case set() | frozenset():
            yield from (("{}", part) for part in item)
        case slice():
            yield from (("[]", part) for part in (item.start, item.stop, item.step))
    if not isinstance(item, type):
        yield from ((f".{name}", part) for name, part in getattr(item, "__dict__", {}).items())
    if (zone := getattr(item, "tzinfo", None)) is not None:
        yield ".tzinfo", zone
    if isinstance(item, state_types.HOLDERS):
        yield ".bit_generator", item.bit_generator
