"""Random damage to every kind of file: an error of ours or a sound record, never anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from alphatriangle.data import Serializer
from alphatriangle.data.commits.files import list_commits, read_commit
from alphatriangle.data.errors import DataError
from alphatriangle.data.replay.recordings import read_episodes
from alphatriangle.data.replay.segments import read_segment
from tests.conftest import tiny_config
from tests.data.helpers import KINDS, AnyTraining, started
from tests.durability.budget import SOAK, budget, report

READERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": lambda path: Serializer().load_checkpoint(path),
    "buffer": lambda path: Serializer().load_buffer(path),
    "segment": read_segment,
    "episodes": read_episodes,
    "commit": read_commit,
}
edits = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["change", "insert", "delete", "repeat", "cut"]),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for share, kind, data in changes:
        at = int(share * len(content))
        match kind:
            case "change":
                content = content[:at] + data + content[at + len(data) :]
            case "insert":
                content = content[:at] + data + content[at:]
            case "delete":
                content = content[:at] + content[at + len(data) :]
            case "repeat":
                content = content[:at] + content[at : at + 64] + content[at:]
            case "cut":
                content = content[:at]
    return content


class Files(NamedTuple):
    """Of one commit: kind of file -> file."""

    kind: type[AnyTraining]
    paths: dict[str, Path]


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    kind: type[AnyTraining] = request.param
    config = tiny_config(tmp_path_factory.mktemp("fuzz"))
    training = started(config, kind)
    training.commit(rows=12)
    training.manager.close()
    stored = list_commits(training.manager.paths).commits[0]
    folder = training.manager.paths.run
    found: dict[str, Path] = {f.kind: folder / f.path for f in stored.commit.files}
    return Files(kind, {**found, "commit": stored.path})


@pytest.mark.parametrize("kind", READERS)
def test_damage_at_random(files: Files, kind: str) -> None:
    path = files.paths[kind]
    content = path.read_bytes()
    # In the folder of the original, so that a buffer finds its segments.
    copy = path.with_name(f"fuzzed{path.suffix}")
    tried = 0

    @settings(
        max_examples=budget(120, 50_000, files.kind.share),
        deadline=None,
        derandomize=not SOAK,
        suppress_health_check=list(HealthCheck),
    )
    @given(edits)
    def fuzz(changes: list[tuple[float, str, bytes]]) -> None:
        nonlocal tried
        tried += 1
        copy.write_bytes(edited(content, changes))
        try:
            READERS[kind](copy)
        except DataError as e:
            assert str(e)  # noqa: PT017

    fuzz()
    copy.unlink()
    report(f"fuzz: {kind}, {files.kind.kind}", files=tried, lost=0)
