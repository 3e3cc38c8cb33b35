"""Is what a replica holds still what was put there?"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import NamedTuple

from alphatriangle.data.errors import CorruptReplicaError
from alphatriangle.data.replica.finding import OUT_OF_REACH, ReplicaReader
from alphatriangle.data.replica.layout import ObjectPlace, Position
from alphatriangle.data.stores.store import StoredObject, StoreError


class Damage(NamedTuple):
    """Something in a replica that is not what was put there."""

    key: str
    place: ObjectPlace | Position
    reason: str


class Verified(NamedTuple):
    """What has been looked at."""

    commits: int
    objects: int
    """All of those that the commits need: each is there and has its size."""
    bytes_read: int
    """Of those that were read and digested."""
    damaged: list[Damage]


def verify_replica(
    reader: ReplicaReader,
    positions: Iterable[Position],
    *,
    read_share: float = 1.0,
    seed: int = 0,
) -> Verified:
    """Check commits and their objects: presence and size of all, the bytes of a share of them.

    Raises:
        StoreError: the store is out of reach.
    """
    wanted = list(positions)
    damaged = check_sizes(reader, wanted)
    known = {damage.place for damage in damaged}
    needed: dict[ObjectPlace, int] = {}
    for position in wanted:
        if position not in known:
            needed.update(reader.read(position).sizes())
    candidates = sorted(place for place in needed if place not in known)
    random.Random(seed).shuffle(candidates)
    wanted_bytes = read_share * sum(needed[place] for place in candidates)
    done = 0
    for place in candidates:
        if done >= wanted_bytes:
            break
        done += needed[place]
        if (damage := _read(reader, place, needed[place])) is not None:
            damaged.append(damage)
    return Verified(len(wanted), len(needed), done, damaged)


def check_sizes(
    reader: ReplicaReader,
    positions: Iterable[Position],
    listed: Iterable[StoredObject] | None = None,
) -> list[Damage]:
    """Of commits and what they need, what is not there, or has another size, by a list."""
    damaged: list[Damage] = []
    needed: dict[ObjectPlace, int] = {}
    for position in positions:
        try:
            needed.update(reader.read(position).sizes())
        except CorruptReplicaError as e:
            damaged.append(Damage(reader.layout.commit(position), position, str(e)))
    return damaged + missing_objects(reader, needed, listed)


def missing_objects(
    reader: ReplicaReader,
    needed: dict[ObjectPlace, int],
    listed: Iterable[StoredObject] | None = None,
) -> list[Damage]:
    """Of objects, those that a list does not show, or with another size.

    Raises:
        StoreError: the store is out of reach, or may not be listed.
    """
    if listed is None:
        epochs = sorted({place.epoch for place in needed})
        folders = [reader.layout.folder(epoch, "objects") for epoch in epochs]
        listed = (item for folder in folders for item in reader.store.list(folder))
    sizes = {item.key: item.size for item in listed}
    damaged = []
    for place, size in sorted(needed.items()):
        key = reader.layout.object(place)
        if key not in sizes:
            damaged.append(Damage(key, place, f"{key}: it is gone"))
        elif sizes[key] != size:
            damaged.append(Damage(key, place, f"{key}: it has {sizes[key]} bytes, not {size}"))
    return damaged


def _read(reader: ReplicaReader, place: ObjectPlace, size: int) -> Damage | None:
    """Twice, before it is said to be damaged: a read may be, on the way."""
    key, reason = reader.layout.object(place), ""
    for _ in range(2):
        digest = hashlib.sha256()
        try:
            for piece in reader.store.download(key, size):
                digest.update(piece)
        except OUT_OF_REACH:
            raise
        except StoreError as e:
            reason = f"{key}: {e}"
            continue
        if digest.hexdigest() == place.sha256:
            return None
        reason = f"{key}: its bytes are not those that were put (sha256 differs)"
    return Damage(key, place, reason)
