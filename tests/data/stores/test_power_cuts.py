"""A power cut while a folder is written to: what was acknowledged is there, and nothing is torn."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from alphatriangle.data.stores.folder import FolderStore
from alphatriangle.data.stores.store import ObjectNotFoundError
from tests.durability.crash_disk import Log, Volume, recording, write_tree

STATES_PER_POINT = 15


class Known:
    """What may be found of each object: what was acknowledged last, and what was on its way."""

    def __init__(self) -> None:
        self.allowed: dict[str, set[bytes | None]] = {}

    def hear(self, mark: tuple[str, str, bytes | None]) -> None:
        kind, key, content = mark
        if kind == "begun":
            self.allowed.setdefault(key, {None}).add(content)
        else:
            self.allowed[key] = {content}


def work(store: FolderStore, log: Log, source: Path) -> None:
    def do(key: str, content: bytes | None, operation: Callable[[], None]) -> None:
        log.mark(("begun", key, content))
        operation()
        log.mark(("done", key, content))

    def put(key: str, content: bytes) -> Callable[[], None]:
        source.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return lambda: store.put_file(key, source, len(content), sha256)

    do("run/epochs/1", b"epoch", lambda: store.create("run/epochs/1", b"epoch"))
    do("run/objects/a", bytes(5000), put("run/objects/a", bytes(5000)))
    do("run/HEAD", b"first", lambda: store.overwrite("run/HEAD", b"first"))
    do("run/commits/1", b"commit", lambda: store.create("run/commits/1", b"commit"))
    do("run/HEAD", b"second", lambda: store.overwrite("run/HEAD", b"second"))
    do("run/objects/a", bytes(5000), put("run/objects/a", bytes(5000)))
    do("run/commits/1", None, lambda: store.delete(["run/commits/1"]))
    do("run/objects/a", None, lambda: store.delete(["run/objects/a"]))


def test_a_power_cut_at_any_change(tmp_path: Path) -> None:
    root, crashed = tmp_path / "disk", tmp_path / "crashed"
    root.mkdir()
    with recording(root) as log:
        work(FolderStore(root), log, tmp_path / "source")
    volume, known, rng = Volume(log.base), Known(), random.Random(1)
    tried = 0
    for op in log.ops:
        if op.kind == "mark":
            known.hear(op.mark)
        else:
            volume.apply(op)
        for tree in volume.crashes(STATES_PER_POINT, rng):
            tried += 1
            crashed.mkdir()
            write_tree(crashed, tree)
            store = FolderStore(crashed)
            for key, allowed in known.allowed.items():
                assert read(store, key) in allowed, f"{key} after {op.kind}"
            listed = {o.key for o in store.list("run/")}
            assert listed <= set(known.allowed)
            if tried % 20 == 0:
                store.create("run/next", b"goes on")
            shutil.rmtree(crashed)
    assert tried > 200


def read(store: FolderStore, key: str) -> bytes | None:
    try:
        return store.get(key, limit=10_000)
    except ObjectNotFoundError:
        return None
