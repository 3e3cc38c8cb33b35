"""The note of the newest commit: it names the newest, or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alphatriangle.data.commits import files, loading
from alphatriangle.data.commits.files import list_commits, write_commit
from alphatriangle.data.commits.newest import NewestNote, noted_newest
from tests.conftest import tiny_config
from tests.data.commits.test_known import commit, run_folder
from tests.data.helpers import AnyTraining, Config, flip_bit, over_all_kinds, reload, started

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit and die", "remove", "start again"]), st.integers(0, 4)
    ),
    max_size=25,
)


@given(actions=ACTIONS)
@example([("commit", 0), ("commit", 1), ("remove", 0), ("commit and die", 0)])
@settings(deadline=None)
def test_it_names_the_newest_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    """Whatever is removed behind its back, and wherever the process dies: few steps, many times."""
    paths = run_folder(tmp_path_factory.mktemp("newest"))
    note = NewestNote(paths)
    for sequence, (action, number) in enumerate(actions, 1):
        there = sorted(paths.commits.iterdir())
        if action.startswith("commit"):
            note.before_commit(number)
            write_commit(paths, commit(sequence, number))
            if action == "commit":
                note.after_commit(list_commits(paths))
                assert noted_newest(paths) is not None
            else:
                note = NewestNote(paths)
        elif action == "remove" and there:
            there[number % len(there)].unlink()
        else:
            note = NewestNote(paths)
        noted = noted_newest(paths)
        assert noted is None or noted == list_commits(paths).commits[0]


def commits_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    parse = files.parse_commit

    def counted(content: bytes, path: Path) -> object:
        read.append(path.name)
        return parse(content, path)

    monkeypatch.setattr(files, "parse_commit", counted)
    return read


@over_all_kinds
def test_a_start_reads_one_commit_however_many_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[AnyTraining]
) -> None:
    keeping = tiny_config(tmp_path, persistence={"keep_last": 50})
    training = started(keeping, kind)
    for _ in range(7):
        training.commit()
    training.manager.close()
    read = commits_read(monkeypatch)
    state = reload(keeping)
    assert state.commit is not None
    assert state.commit.global_step == 7
    assert read == ["step_7.json"]


@over_all_kinds
def test_a_save_and_a_start_list_the_commits_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[AnyTraining]
) -> None:
    """Retention among it, which removes one at every save. Only the first save looks around."""
    config = tiny_config(tmp_path, persistence={"keep_last": 2})
    training = started(config, kind)
    for _ in range(3):
        training.commit()
    folder, listed = training.manager.paths.commits, []
    real = os.listdir

    def counted(path: Any = ".") -> list[str]:
        listed.extend([path] if path == folder else [])
        return real(path)

    monkeypatch.setattr(os, "listdir", counted)
    for saves in range(1, 4):
        training.commit()
        assert len(listed) == saves
    training.manager.close()
    assert noted_newest(training.manager.paths) == list_commits(training.manager.paths).commits[0]
    listed.clear()
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 6
    assert len(listed) == 1


def test_a_note_of_commits_that_somebody_has_removed_meanwhile_says_nothing(
    tmp_path: Path,
) -> None:
    """Between the look at the folder and the note: a step comes back, and it still says nothing."""
    paths = run_folder(tmp_path)
    for sequence in (1, 2, 3):
        write_commit(paths, commit(sequence, sequence))
    known = list_commits(paths)
    paths.commit(2).unlink()
    note = NewestNote(paths)
    note.after_commit(known)
    assert noted_newest(paths) is None
    note.before_commit(2)
    write_commit(paths, commit(4, 2))
    assert noted_newest(paths) is None
    note.after_commit(list_commits(paths))
    newest = noted_newest(paths)
    assert newest is not None
    assert newest.commit.sequence == 4


@pytest.mark.parametrize("content", [None, b"", b"{", b"\x00" * 300, b'{"newest": 7}', b"[]"])
def test_without_a_note_that_can_be_read_all_commits_are(
    config: Config, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    note = training.manager.paths.newest
    if content is None:
        note.unlink()
    else:
        note.write_bytes(content)
    read = commits_read(monkeypatch)
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 2
    assert sorted(read) == ["step_1.json", "step_2.json"]


def test_a_newest_that_is_damaged_is_passed_over_and_reported(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    flip_bit(training.manager.paths.checkpoint(2), 50)
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 1
    assert [Path(r.path).name for r in state.rejected] == ["step_2.json"]


def test_a_commit_newer_than_the_note_is_found(config: Config) -> None:
    """The process died between the two."""
    training = started(config)
    training.commit()
    paths = training.manager.paths
    noted = paths.newest.read_bytes()
    training.commit()
    training.manager.close()
    paths.newest.write_bytes(noted)
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 2
    assert loading.noted_newest(paths) is None
