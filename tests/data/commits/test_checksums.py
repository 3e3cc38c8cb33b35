"""Two digests of every file: which is made when, and who looks at which."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data.commits.files import (
    list_commits,
    parse_commit,
    sealed,
)
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import CorruptBufferError, CorruptCommitError, DataError
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.records import Commit, CommittedFile, FileKind
from alphatriangle.data.replay.recordings import merge_episodes
from alphatriangle.data.replay.segments import SegmentRef, check_segment, merge_segments
from alphatriangle.data.runs.archive import restore_run, write_archive
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.runs.inspection import check_files
from alphatriangle.data.serializer import Serializer
from alphatriangle.data.storage.digests import fastest
from tests.conftest import tiny_config
from tests.data.helpers import AnyTraining, flip_bit, over_all_kinds, reload, started
from tests.golden import make_v3

GOLDEN = Path(__file__).parent.parent.parent / "golden"
FILES: tuple[FileKind, ...] = ("checkpoint", "buffer", "segment", "episodes")
WRONG = {"sha256": "0" * 64, "xxh3": "0" * 32}


def newest(paths: PathManager) -> Commit:
    return list_commits(paths).commits[0].commit


def say_otherwise(paths: PathManager, kind: FileKind, digest: str) -> None:
    """Let the newest commit say another digest of a file, and be sealed; its bytes are whole."""
    stored = list_commits(paths).commits[0]
    wrong = stored.commit.of_kind(kind)[-1].model_copy(update={digest: WRONG[digest]})
    files = [wrong if file.path == wrong.path else file for file in stored.commit.files]
    stored.path.write_bytes(sealed(stored.commit.model_copy(update={"files": files})))


@over_all_kinds
def test_every_file_of_a_commit_has_both_digests_of_its_bytes(
    tmp_path: Path, kind: type[AnyTraining]
) -> None:
    """Merged segments and recordings among them."""
    training = started(tiny_config(tmp_path), kind)
    for _ in range(6):
        training.commit(rows=12)
    training.manager.close()
    paths = training.manager.paths
    is_merged = set()
    for stored in list_commits(paths).commits:
        assert json.loads(stored.path.read_bytes())["format_version"] == 2
        for file in stored.commit.files:
            content = (paths.run / file.path).read_bytes()
            found = (len(content), hashlib.sha256(content).hexdigest())
            assert (file.size, file.sha256) == found
            assert file.xxh3 == xxhash.xxh3_128_hexdigest(content)
            if file.kind == "segment":
                is_merged.add((file.end or 0) - (file.first or 0) > 12)
    assert is_merged == {True, False}


@pytest.mark.parametrize("kind", FILES)
def test_a_start_goes_by_the_checksum(config: Config, kind: FileKind) -> None:
    training = started(config)
    for _ in range(2):
        training.commit()
    training.manager.close()
    say_otherwise(training.manager.paths, kind, "xxh3")
    state = reload(config)
    assert state.commit is not None
    if kind == "episodes":
        assert "xxh3 differs" in state.damaged_recordings[0].reason
    else:
        assert state.commit.global_step == 1
        # A segment that is wrong is wrong in whatever way.
        said = "not those that were saved" if kind == "segment" else "xxh3 differs"
        assert said in state.rejected[0].reason


@pytest.mark.parametrize("digest", ["sha256", "xxh3"])
@pytest.mark.parametrize("kind", FILES)
def test_whoever_verifies_looks_at_both(config: Config, kind: FileKind, digest: str) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    assert not any(check.problem for check in check_files(paths, list_commits(paths)))
    say_otherwise(paths, kind, digest)
    problems = [c.problem for c in check_files(paths, list_commits(paths)) if c.problem]
    assert len(problems) == 1
    assert f"{digest} differs" in problems[0]


@pytest.mark.parametrize("digest", ["sha256", "xxh3"])
def test_what_crosses_machines_is_checked_by_both(
    config: Config, tmp_path: Path, digest: str
) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    say_otherwise(paths, "checkpoint", digest)
    archive = tmp_path / "run.tar"
    write_archive(paths, newest(paths), archive)
    other = PersistenceConfig(root_data_dir=tmp_path / "elsewhere", mlflow=False)
    with pytest.raises(DataError, match=f"{digest} differs"):
        restore_run(other, archive)
    with pytest.raises(DataError, match=f"{digest} differs"):
        fork_run(config.persistence, "tiny", "other")


@pytest.mark.parametrize("digest", ["sha256", "xxh3"])
def test_a_source_is_checked_before_it_is_merged(config: Config, digest: str) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    file = newest(paths).of_kind("segment")[0].model_copy(update={digest: WRONG[digest]})
    name = file.path.rpartition("/")[2]
    ref = SegmentRef(name, file.first or 0, file.end or 0, file.sha256, file.xxh3)
    with pytest.raises(CorruptBufferError, match="not those that were saved"):
        merge_segments(paths.segments / "merged.arrow", paths.segments, [ref])
    with pytest.raises(CorruptBufferError, match="not those that were saved"):
        check_segment(paths.segments / name, ref)
    assert not (paths.segments / "merged.arrow").exists()


def test_a_recording_is_checked_before_it_is_merged(config: Config) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    (file,) = newest(paths).of_kind("episodes")
    source, target = paths.run / file.path, paths.episodes / "merged.arrow"
    checksum = fastest(file.sha256, file.xxh3)
    assert checksum.algorithm == "xxh3"
    merge_episodes(target, [(source, checksum)])
    target.unlink()
    flip_bit(source, 0)
    with pytest.raises(CorruptBufferError, match="not those that were saved"):
        merge_episodes(target, [(source, checksum)])
    assert not target.exists()


class Begun:
    """A run that was begun when files had a sha256 alone, and goes on."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(GOLDEN / "run_v2", folder, symlinks=True, dirs_exist_ok=True)
        self.config = PersistenceConfig(root_data_dir=folder, mlflow=False)
        self.paths = existing_run(self.config, "golden")
        before = list_commits(self.paths).commits
        self.old = {f.path: f for stored in before for f in stored.commit.files}
        make_v3.go_on(folder, steps=(6,))


def test_old_files_keep_what_they_had(tmp_path: Path) -> None:
    """A checksum is made of bytes on their way to the disk alone, never of what was read there."""
    begun = Begun(tmp_path)
    commit = newest(begun.paths)
    assert commit.format_version == 2
    kept = [file for file in commit.files if file.path in begun.old]
    assert kept
    assert kept == [begun.old[file.path] for file in kept]
    assert all(file.xxh3 is None for file in kept)
    new = [file for file in commit.files if file.path not in begun.old]
    assert {file.kind for file in new} == {"checkpoint", "buffer", "segment"}
    assert all(file.xxh3 is not None for file in new)


@pytest.mark.parametrize("is_old", [True, False], ids=["old file", "new file"])
def test_damage_to_either_kind_of_file_is_found_by_a_start(tmp_path: Path, is_old: bool) -> None:
    begun = Begun(tmp_path)
    stored = list_commits(begun.paths).commits[0]
    files = [f for f in stored.commit.files if (f.path in begun.old) == is_old]
    assert files
    for file in files:
        path = begun.paths.run / file.path
        content = path.read_bytes()
        for place in (0, len(content) // 3, len(content) - 1):
            flip_bit(path, place)
            with pytest.raises(DataError, match=path.name):
                read_sound(begun.paths.run, stored.path, stored.commit, Serializer())
            path.write_bytes(content)


def test_forks_say_what_their_origin_said(tmp_path: Path) -> None:
    """Also that they are of format version 1, for packages that know no other."""
    begun = Begun(tmp_path)
    for step, version in ((5, 1), (6, 2)):
        forked = fork_run(begun.config, "golden", f"of-{step}", step=step)
        assert forked.format_version == version
        assert newest(existing_run(begun.config, f"of-{step}")) == forked


def commit_of(change: Callable[[dict[str, Any]], object]) -> Commit:
    """A golden commit that says something else, sealed as anybody could."""
    path = GOLDEN / "run_v1/runs/golden/commits/step_3.json"
    fields = json.loads(path.read_bytes())
    del fields["seal"]
    change(fields)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    fields["seal"] = hashlib.sha256(text.encode()).hexdigest()
    return parse_commit(json.dumps(fields).encode(), path)


def test_a_commit_of_version_1_says_no_checksum() -> None:
    assert commit_of(lambda _: None).format_version == 1
    with pytest.raises(CorruptCommitError, match="an xxh3, which is of format version 2"):
        commit_of(lambda f: f["files"][0].update(xxh3="0" * 32))
    said = commit_of(
        lambda f: (f.update(format_version=2), f["files"][0].update(xxh3="0" * 32))
    ).files
    assert [file.xxh3 for file in said] == ["0" * 32] + [None] * (len(said) - 1)


def test_a_buffer_file_does_not_say_the_checksum(config: Config) -> None:
    """It is as it was, and read without its commit it goes by the sha256."""
    training = started(config)
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    (buffer,) = newest(paths).of_kind("buffer")
    rows = Serializer().load_buffer(paths.run / buffer.path).buffer_list
    assert [ref.checksum.algorithm for ref in rows.refs] == ["sha256"]
    state = load_for_reading(config.persistence, "tiny")
    assert state.buffer_data is not None
    rows = state.buffer_data.buffer_list
    assert [ref.checksum.algorithm for ref in rows.refs] == ["xxh3"]
    again = paths.buffers / "again.pkl"
    Serializer().save_buffer(state.buffer_data, again)
    rows = Serializer().load_buffer(again).buffer_list
    assert [ref.checksum.algorithm for ref in rows.refs] == ["sha256"]


def test_a_file_is_known_by_the_same_record_with_and_without() -> None:
    file = CommittedFile(path="a", kind="buffer", size=1, sha256="0" * 64)
    assert "xxh3" not in file.model_dump(mode="json")
    assert CommittedFile.model_validate(file.model_dump()) == file
