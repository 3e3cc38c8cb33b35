"""Keys and records: what is written is read, and nothing else is."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from alphatriangle.data.errors import CorruptReplicaError, DataError, UnsupportedFormatError
from alphatriangle.data.records import Commit, CommittedFile
from alphatriangle.data.replica.layout import EpochPlace, Layout, ObjectPlace, Position
from alphatriangle.data.replica.records import (
    Dropped,
    Epoch,
    Held,
    Hint,
    RemoteCommit,
    parse,
    parse_commit,
    sealed,
)

LAYOUT = Layout("a run")
SHA = "ab" * 32
XXH3 = "cd" * 16
epochs = st.integers(1, 10**8)
numbers = st.integers(1, 10**14)
shas = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(epochs, numbers, shas)
def test_a_key_says_what_it_is_of(epoch: int, number: int, sha256: str) -> None:
    position, place = Position(epoch, number), ObjectPlace(epoch, sha256)
    assert LAYOUT.parse(LAYOUT.commit(position)) == position
    assert LAYOUT.parse(LAYOUT.object(place)) == place
    assert LAYOUT.parse(LAYOUT.epoch(epoch)) == EpochPlace(epoch)


@given(st.integers(1, 999_998), st.integers(1, 10**11))
def test_keys_are_in_the_order_of_their_numbers(epoch: int, number: int) -> None:
    assert LAYOUT.epoch(epoch) < LAYOUT.epoch(epoch + 1)
    assert LAYOUT.commit(Position(epoch, number)) < LAYOUT.commit(Position(epoch, number + 1))


@pytest.mark.parametrize(
    "key",
    [
        "a run/HEAD.json",
        "another/epochs/000001.json",
        "a run/epochs/1.json",
        "a run/epochs/000000.json",
        "a run/epochs/0000001.json",
        "a run/e000001/objects/../../x",
        "a run/e000001/commits/000000000001.json.tmp",
        f"a run/e000001/objects/{SHA.upper()}",
        "a run/e000001/commits/٠٠٠٠٠٠٠٠٠٠٠١.json",
    ],
)
def test_other_keys_are_nothing(key: str) -> None:
    assert LAYOUT.parse(key) is None


def a_commit(version: int = 2, **more: object) -> RemoteCommit:
    """Of files with a checksum and without, in version 2."""
    checkpoint = CommittedFile(path="checkpoints/c.pkl", kind="checkpoint", size=3, sha256=SHA)
    files = [checkpoint]
    if version == 2:
        files.append(checkpoint.model_copy(update={"path": "checkpoints/d.pkl", "xxh3": XXH3}))
    commit = Commit(
        format_version=version,  # type: ignore[arg-type]
        run_name="a run",
        sequence=7,
        global_step=70,
        created_at="then",
        created_ns=5,
        episodes_played=1,
        total_simulations_run=2,
        is_best=False,
        metrics={"score": 1.5},
        files=files,
    )
    fields: dict[str, object] = {
        "format_version": version,
        "epoch": 2,
        "number": 3,
        "nonce": "0" * 32,
        "commit": commit,
        "epochs": [1] * len(files),
        "holds": [Held(2, 3, 7, 70, 5, "seal")],
        "dropped": [Dropped(1, 1, 2)],
        **more,
    }
    return RemoteCommit(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [1, 2])
def test_a_record_is_read_as_it_was_written(version: int) -> None:
    record, content = sealed(a_commit(version))
    found = parse_commit(content, "key", Position(2, 3))
    assert found == record
    assert found.sizes() == {ObjectPlace(1, SHA): 3}
    hint, content = sealed(Hint(epoch=1, number=2))
    assert parse(content, "key", Hint) == hint


def test_a_record_of_version_1_is_what_it_was_when_there_was_no_other() -> None:
    """Packages that know no checksum refuse a field that they do not know."""
    fields = json.loads(sealed(a_commit(1))[1])
    assert list(fields["commit"]["files"][0]) == ["path", "kind", "size", "sha256", "first", "end"]
    assert (fields["format_version"], fields["commit"]["format_version"]) == (1, 1)
    assert fields["seal"] == "2dc0410f6050d0c08a86d03885b78acc10fcc3ff199a03bbe97509f754085d3a"


@pytest.mark.parametrize("version", [1, 2])
def test_a_record_is_of_the_version_of_its_commit(version: int) -> None:
    """So that older packages, which look at the record first, say that it is newer."""
    fields = json.loads(sealed(a_commit(3 - version))[1]) | {"format_version": version}
    with pytest.raises(CorruptReplicaError, match=f"its commit has format version {3 - version}"):
        parse_commit(json.dumps(fields).encode(), "key", Position(2, 3))


@pytest.mark.parametrize("version", [1, 2])
def test_every_change_of_a_record_is_found(version: int) -> None:
    content = sealed(a_commit(version))[1]
    for place in range(len(content) - 1):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(DataError):
            parse_commit(changed, "key", Position(2, 3))
        with pytest.raises(DataError):
            parse_commit(content[:place], "key", Position(2, 3))


def test_a_record_of_another_place_is_none_of_this() -> None:
    content = sealed(a_commit())[1]
    with pytest.raises(CorruptReplicaError, match="it says that it is commit 2/3"):
        parse_commit(content, "key", Position(2, 4))


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": "2"},
        {"epoch": 2.0},
        {"epoch": 10**30},
        {"number": 0},
        {"nonce": "x"},
        {"epochs": []},
        {"holds": []},
        {"holds": [[1, 2, 3]]},
        {"holds": [[2, 3, 7, 70, 5, "s" * 10_000]]},
        {"holds": {"2": 3}},
        {"holds": [[2, 3, -7, 70, 5, "seal"]]},
        {"dropped": [[1, 1, 1, 1]]},
        {"dropped": "all"},
        {"pins": ["1"]},
        {"more": 1},
    ],
)
def test_values_that_cannot_be_are_refused(fields: dict[str, object]) -> None:
    record = {**json.loads(sealed(a_commit())[1]), **fields}
    with pytest.raises(CorruptReplicaError, match=r"^key: "):
        parse_commit(json.dumps(record).encode(), "key", Position(2, 3))


def test_paths_out_of_the_run_are_refused() -> None:
    record = json.loads(sealed(a_commit())[1])
    record["commit"]["files"][0]["path"] = "../../x"
    with pytest.raises(CorruptReplicaError, match="does not lie inside"):
        parse_commit(json.dumps(record).encode(), "key", Position(2, 3))


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b"{}", b"\xff", b'{"epoch":1}'])
@pytest.mark.parametrize("model", [Epoch, Hint, RemoteCommit])
def test_what_is_no_record_is_refused(content: bytes, model: type[Hint]) -> None:
    with pytest.raises(CorruptReplicaError):
        parse(content, "key", model)


def test_a_newer_version_is_said_to_be_one() -> None:
    record = {**json.loads(sealed(a_commit())[1]), "format_version": 3}
    with pytest.raises(UnsupportedFormatError, match="use a newer alphatriangle"):
        parse_commit(json.dumps(record).encode(), "key", Position(2, 3))
