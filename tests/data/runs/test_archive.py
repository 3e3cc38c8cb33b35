"""A run as one file, and a run made of it again."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.files import list_commits, sealed
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import (
    ArchiveNotFoundError,
    CorruptArchiveError,
    CorruptCheckpointError,
    CorruptCommitError,
    CorruptConfigsError,
    DataError,
    ExportError,
    InvalidRunNameError,
    RunExistsError,
    SaveFailedError,
)
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, RunInfo
from alphatriangle.data.runs.archive import restore_run, write_archive
from alphatriangle.data.runs.summary import read_configs, read_run_info
from tests.conftest import tiny_config
from tests.data.helpers import Training, rows_of, started
from tests.features.test_encoder import assert_same_rows

Members = dict[str, bytes]


def trained(config: Config, commits: int = 3) -> Training:
    training = started(config)
    info = RunInfo(
        run_name="tiny", created_at="", target_steps=99, steps_per_round=9, num_threads=2
    )
    training.manager.write_run_info(info)
    training.manager.save_run_config({"train": {"seed": 5, "run_name": "tiny"}})
    for _ in range(commits):
        training.commit()
    return training


def archived(training: Training, path: Path) -> Commit:
    commit = list_commits(training.manager.paths).commits[0].commit
    write_archive(training.manager.paths, commit, path)
    return commit


def digest(config: PersistenceConfig, name: str) -> str:
    state = load_for_reading(config, name)
    assert state.checkpoint_data is not None
    return state_digest(state.checkpoint_data, state.buffer_data)


def elsewhere(tmp_path: Path) -> PersistenceConfig:
    return PersistenceConfig(root_data_dir=tmp_path / "elsewhere", mlflow=False)


def test_a_restored_run_is_the_run_at_that_commit(config: Config, tmp_path: Path) -> None:
    training = trained(config)
    archive = tmp_path / "a.tar"
    commit = archived(training, archive)
    other = elsewhere(tmp_path)
    restored = restore_run(other, archive)
    assert (restored.run_name, restored.global_step, restored.sequence) == ("tiny", 3, 1)
    assert digest(other, "tiny") == digest(config.persistence, "tiny")
    paths = PathManager(other, "tiny")
    assert read_configs(paths) == {"train": {"seed": 5, "run_name": "tiny"}}
    info = read_run_info(paths)
    assert info is not None
    assert (info.target_steps, info.num_threads) == (99, 2)
    assert info.started_from == "tiny at step 3"
    for link in (paths.latest_checkpoint, paths.latest_buffer):
        assert link.exists()
    assert {f.path for f in restored.files} == {f.path for f in commit.files}


def test_a_restored_run_goes_on(config: Config, tmp_path: Path) -> None:
    training = trained(config)
    archive = tmp_path / "a.tar"
    archived(training, archive)
    training.manager.close()
    restore_run(config.persistence, archive, "again")
    other = Training(tiny_config(tmp_path, train={"run_name": "again"}))
    state = other.manager.load_initial_state()
    other.buffer.load_state_dict(state.buffer_data.buffer_state(), rows_of(state))  # type: ignore[union-attr]
    assert_same_rows(other.rows(), training.rows())
    other.step = 3
    other.commit()
    other.manager.close()
    state = load_for_reading(config.persistence, "again")
    assert state.commit is not None
    assert (state.commit.global_step, state.commit.sequence) == (4, 2)


def test_any_tar_program_reads_it_and_it_says_nothing_of_the_machine(
    config: Config, tmp_path: Path
) -> None:
    training = trained(config)
    commit = archived(training, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
        assert members[0].name == "commits/step_3.json"
        first = tar.extractfile(members[0])
        assert first is not None
        assert first.read() == sealed(commit)
    assert [m.name for m in members[1:3]] == ["run.json", "configs.json"]
    assert {m.name for m in members[3:]} == {f.path for f in commit.files}
    assert {(m.uid, m.uname, m.mtime) for m in members} == {(0, "", commit.created_ns // 10**9)}


def test_what_cannot_be_written_is_said_so(config: Config, tmp_path: Path) -> None:
    training = trained(config)
    archive = tmp_path / "a.tar"
    commit = archived(training, archive)
    before = archive.read_bytes()
    paths = training.manager.paths
    with pytest.raises(ExportError, match="exists; choose another"):
        write_archive(paths, commit, archive)
    assert archive.read_bytes() == before
    with pytest.raises(ExportError, match="there is no folder"):
        write_archive(paths, commit, tmp_path / "no" / "a.tar")
    paths.checkpoint(3).unlink()
    with pytest.raises(ExportError, match="was removed while it was copied"):
        write_archive(paths, commit, tmp_path / "b.tar")
    assert not list(tmp_path.glob("*b.tar*")), "nothing is left behind"


def members_of(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]


def write_members(archive: Path, members: Members) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def _without(name: str) -> Callable[[Members], Members]:
    return lambda members: {k: v for k, v in members.items() if not k.startswith(name)}


def _flipped(name: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        content = bytearray(members[name])
        content[len(content) // 2] ^= 1
        return {**members, name: bytes(content)}

    return change


CHANGES: dict[str, tuple[Callable[[Members], Members], type[Exception], str]] = {
    "no commit": (_without("commits/"), CorruptArchiveError, "holds 0 commits"),
    "two commits": (
        lambda m: {**m, "commits/step_9.json": m["commits/step_3.json"]},
        CorruptArchiveError,
        "holds 2 commits",
    ),
    "no checkpoint": (_without("checkpoints/"), SaveFailedError, "lacks checkpoints/"),
    "no segment": (_without("buffers/segments/"), SaveFailedError, "lacks buffers/segments/"),
    "commit changed": (_flipped("commits/step_3.json"), CorruptCommitError, "step_3.json"),
    "checkpoint changed": (
        _flipped("checkpoints/checkpoint_step_3.pkl"),
        CorruptCheckpointError,
        "sha256 differs",
    ),
    "checkpoint longer": (
        lambda m: {k: v + b"x" * k.startswith("checkpoints/") for k, v in m.items()},
        CorruptArchiveError,
        "bytes, the commit says",
    ),
    "settings of another kind": (
        lambda m: {**m, "configs.json": b"[1]"},
        CorruptConfigsError,
        "does not hold settings",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_an_archive_that_is_not_what_was_written_makes_no_run(
    config: Config, tmp_path: Path, case: str
) -> None:
    change, error, message = CHANGES[case]
    archive = tmp_path / "a.tar"
    archived(trained(config), archive)
    write_members(archive, change(members_of(archive)))
    other = elsewhere(tmp_path)
    with pytest.raises(error, match=message):
        restore_run(other, archive)
    assert PathManager(other, "tiny").run_names() == []


def test_a_recording_that_is_lost_is_left_out_and_said_so(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = tmp_path / "a.tar"
    archived(trained(config), archive)
    write_members(archive, _without("episodes/episodes_step_1")(members_of(archive)))
    other = elsewhere(tmp_path)
    commit = restore_run(other, archive)
    assert "recorded games are lost" in caplog.text
    assert "episodes_step_1.arrow" in caplog.text
    assert [f.path for f in commit.of_kind("episodes")] == [
        "episodes/episodes_step_2.arrow",
        "episodes/episodes_step_3.arrow",
    ]
    assert load_for_reading(other, "tiny").damaged_recordings == []


def test_what_is_no_archive_is_said_so(config: Config, tmp_path: Path) -> None:
    other = elsewhere(tmp_path)
    with pytest.raises(ArchiveNotFoundError):
        restore_run(other, tmp_path / "none.tar")
    with pytest.raises(CorruptArchiveError):
        restore_run(other, tmp_path)
    for content in (b"", b"hello", b"\0" * 1024, b"\x1f\x8b" + b"x" * 600):
        path = tmp_path / "bad.tar"
        path.write_bytes(content)
        with pytest.raises(CorruptArchiveError, match=r"bad\.tar"):
            restore_run(other, path)


def test_names_are_checked_and_nothing_is_overwritten(config: Config, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archived(trained(config), archive)
    before = digest(config.persistence, "tiny")
    with pytest.raises(RunExistsError, match="choose another name"):
        restore_run(config.persistence, archive)
    with pytest.raises(InvalidRunNameError):
        restore_run(config.persistence, archive, "../out")
    assert digest(config.persistence, "tiny") == before


def test_links_in_an_archive_are_not_followed(config: Config, tmp_path: Path) -> None:
    """A member that is a link is none of ours, wherever it leads."""
    archive = tmp_path / "a.tar"
    archived(trained(config), archive)
    members = members_of(archive)
    secret = tmp_path / "secret"
    secret.write_bytes(members.pop("checkpoints/checkpoint_step_3.pkl"))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        write_members(archive, members)
        with tarfile.open(archive, "a") as tar:
            link = tarfile.TarInfo("checkpoints/checkpoint_step_3.pkl")
            link.type, link.linkname = kind, str(secret)
            tar.addfile(link)
        with pytest.raises(SaveFailedError, match="lacks checkpoints/"):
            restore_run(elsewhere(tmp_path), archive)


@pytest.mark.parametrize("path", ["../out.pkl", "/tmp/out.pkl", "a/../../out.pkl", "c:out.pkl"])
def test_paths_out_of_the_run_are_refused(config: Config, tmp_path: Path, path: str) -> None:
    archive = tmp_path / "a.tar"
    commit = archived(trained(config), archive)
    members = members_of(archive)
    forged = commit.model_copy(
        update={"files": [f.model_copy(update={"path": path}) for f in commit.files]}
    )
    members |= {"commits/step_3.json": sealed(forged), path: b"out"}
    write_members(archive, members)
    with pytest.raises(CorruptCommitError, match="does not lie inside the run folder"):
        restore_run(elsewhere(tmp_path), archive)
    assert not list(tmp_path.rglob("out.pkl"))


def test_damage_anywhere_is_found_or_costs_no_state(config: Config, tmp_path: Path) -> None:
    """Each restore gives the state that was archived, or says what is wrong."""
    archive = tmp_path / "a.tar"
    archived(trained(config), archive)
    expected = digest(config.persistence, "tiny")
    content = archive.read_bytes()
    places = range(0, len(content), len(content) // 120)
    damages = [content[:n] for n in places]
    damages += [content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :] for n in places]
    other = elsewhere(tmp_path)
    found = 0
    for number, damaged in enumerate(damages):
        archive.write_bytes(damaged)
        try:
            restore_run(other, archive, f"r{number}")
        except DataError:
            found += 1
        else:
            # In padding, a time, or a recorded game: what is trained from is whole.
            assert digest(other, f"r{number}") == expected
    runs = PathManager(other, "any").run_names()
    assert len(runs) == len(damages) - found, "what was refused has left nothing"
    assert found > len(damages) / 2
