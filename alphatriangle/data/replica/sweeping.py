"""What no commit of a replica names: left by writers that ended in the middle, or were fenced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from alphatriangle.data.errors import CorruptReplicaError
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.layout import EpochPlace, ObjectPlace, Position
from alphatriangle.data.replica.records import Dropped, Held
from alphatriangle.data.replica.verifying import check_sizes
from alphatriangle.data.stores.store import StoredObject

GRACE_SECONDS: Final = 3600.0
"""So long a reader may take over a commit that is dropped meanwhile."""
_ORPHAN_SECONDS: Final = 7 * 86_400.0
"""So long what a fenced writer has put stays, in case somebody wants it."""


class Orphans(NamedTuple):
    """What a look through all of a replica has found."""

    objects: list[StoredObject]
    """Commits first: what can be read is whole."""
    missing: list[str]
    """Keys of objects that the replica needs and a list does not show, or with another size; then
    nothing may be removed."""

    @property
    def size(self) -> int:
        """Bytes of them all."""
        return sum(item.size for item in self.objects)


def find_orphans(
    reader: ReplicaReader, epoch: int, holds: Iterable[Held], dropped: Iterable[Dropped]
) -> Orphans:
    """Look through all of a replica, with a list, as the writer of ``epoch`` may clear it.

    Raises:
        StoreError: it is out of reach, or may not be listed.
    """
    held, waiting = [h.position for h in holds], [d.position for d in dropped]
    listed = list(reader.store.list(reader.layout.prefix))
    damaged = check_sizes(reader, held, listed)
    if damaged or not listed:
        return Orphans([], sorted(damage.key for damage in damaged))
    needed = {place for position in held for place in reader.read(position).sizes()}
    for position in waiting:
        try:
            needed |= reader.read(position).file_sizes().keys()
        except CorruptReplicaError:
            continue
    kept, now_ns = {*held, *waiting}, max(item.modified_ns for item in listed)
    orphans = []
    for item in listed:
        place, age = reader.layout.parse(item.key), (now_ns - item.modified_ns) / 1e9
        if place is None or isinstance(place, EpochPlace) or place.epoch > epoch:
            continue
        is_own = place.epoch == epoch
        match place:
            case ObjectPlace():
                is_needed = place in needed
            case Position():
                is_needed = is_own or place in kept
        if not is_needed and age >= (GRACE_SECONDS if is_own else _ORPHAN_SECONDS):
            orphans.append(item)
    return Orphans(sorted(orphans, key=lambda item: "/objects/" in item.key), [])
