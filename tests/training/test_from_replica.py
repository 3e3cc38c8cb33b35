"""A training and its replica: from one machine to the next, and never two writers."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.training.command import alphatriangle, commits, send_when, show, start, train_arguments


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def replicated(data: Path, store: Path, *more: str, steps: int = 12) -> list[str]:
    replica = f"persistence.replica={store.as_uri()}"
    return train_arguments(data, "--workers", "0", "--set", replica, *more, steps=steps)


def acknowledged(data: Path) -> int:
    """The step that the replica has, as the run's folder remembers."""
    path = data / "runs/r/replica/state.json"
    if not path.exists():
        return 0
    last = json.loads(path.read_bytes())["acknowledged"]
    return 0 if last is None else int(last["step"])


def test_another_machine_goes_on_from_the_url_alone(tmp_path: Path, store: Path) -> None:
    """With the run's settings, its replica among them."""
    first = alphatriangle(*replicated(tmp_path / "a", store, steps=8))
    assert first.returncode == 0, first.stderr
    assert "replica       step 8, up to date" in first.stdout
    second = tmp_path / "b"
    url = f"{store.as_uri()}/r"
    words = ["train", "--resume", url, "--data-dir", str(second), "--max-steps", "12"]
    done = alphatriangle(*words)
    assert done.returncode == 0, done.stderr
    assert "restored run 'r' at step 8" in done.stdout
    assert "replica       step 12, up to date" in done.stdout
    # The same command again goes on where it was: nothing is restored over it.
    again = alphatriangle(*words[:-1], "16")
    assert again.returncode == 0, again.stderr
    assert "restored" not in again.stdout
    assert acknowledged(second) == 16
    here = tmp_path / "here"
    for steps in (8, 12, 16):
        done = alphatriangle(*train_arguments(here, "--workers", "0", steps=steps))
        assert done.returncode == 0, done.stderr
    assert show(second)["state_digest"] == show(here)["state_digest"]


def test_another_name_is_another_run(tmp_path: Path, store: Path) -> None:
    assert alphatriangle(*replicated(tmp_path / "a", store, steps=4)).returncode == 0
    words = ["train", "--resume", f"{store.as_uri()}/r", "--run-name", "other"]
    done = alphatriangle(*words, "--data-dir", str(tmp_path / "b"), "--max-steps", "8")
    assert done.returncode == 0, done.stderr
    assert commits(tmp_path / "b", "other")[-1] == "step_8.json"
    assert not commits(tmp_path / "b")


def test_an_older_step_goes_on_under_another_name(tmp_path: Path, store: Path) -> None:
    """Under its own it would take the place of what the replica has since."""
    often = ["--set", "persistence.save_freq_steps=2"]
    assert alphatriangle(*replicated(tmp_path / "a", store, *often, steps=8)).returncode == 0
    data = ["--data-dir", str(tmp_path / "b")]
    done = alphatriangle("runs", "restore", f"{store.as_uri()}/r", "--step", "4", *data)
    assert done.returncode == 0, done.stderr
    assert "the replica has 2 newer commits" in done.stdout
    assert "runs fork r NEW" in done.stdout
    refused = alphatriangle(*replicated(tmp_path / "b", store, *often, steps=12))
    assert refused.returncode == 1
    assert refused.stderr.count("is ahead of this folder") == 1
    assert alphatriangle("runs", "fork", "r", "new", *data).returncode == 0
    done = alphatriangle("train", "--run-name", "new", "--max-steps", "8", *data)
    assert done.returncode == 0, done.stderr
    assert "replica       step 8, up to date" in done.stdout


def test_a_folder_that_is_behind_is_told_the_way_on(tmp_path: Path, store: Path) -> None:
    a, b, url = tmp_path / "a", tmp_path / "b", f"{store.as_uri()}/r"
    assert alphatriangle(*replicated(a, store, steps=4)).returncode == 0
    assert alphatriangle(*replicated(b, store, steps=8)).returncode == 0
    refused = alphatriangle(*replicated(a, store, steps=12))
    assert refused.returncode == 1
    assert "is ahead of this folder, which it goes on from: step 8" in refused.stderr
    assert f"train --resume {url} goes on from what is there" in refused.stderr
    (a / "runs/r").rename(a / "away")
    done = alphatriangle("train", "--resume", url, "--data-dir", str(a), "--max-steps", "12")
    assert done.returncode == 0, done.stderr
    assert acknowledged(a) == 12


def test_what_has_just_been_restored_is_not_handed_over(tmp_path: Path, store: Path) -> None:
    assert alphatriangle(*replicated(tmp_path / "a", store, steps=4)).returncode == 0
    done = alphatriangle(*replicated(tmp_path / "b", store, steps=4))
    assert done.returncode == 0, done.stderr
    assert "restored run 'r' at step 4" in done.stdout
    assert acknowledged(tmp_path / "b") == 4
    assert len(list(store.glob("r/epochs/*"))) == 1


def test_a_new_run_does_not_take_the_place_of_one_there(tmp_path: Path, store: Path) -> None:
    assert alphatriangle(*replicated(tmp_path / "a", store, steps=4)).returncode == 0
    refused = alphatriangle(*replicated(tmp_path / "b", store, "--resume", "never"))
    assert refused.returncode == 2
    assert "is in the replica" in refused.stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("where", ["gone", "r-that-is-not-there", "store/r"])
def test_nothing_begins_where_a_replica_was_meant(tmp_path: Path, store: Path, where: str) -> None:
    """A store that is not mounted, a run that is not in it, and one whose objects are damaged."""
    url = (store / where if where == "r-that-is-not-there" else tmp_path / where / "r").as_uri()
    if where == "store/r":
        assert alphatriangle(*replicated(tmp_path / "a", store, steps=4)).returncode == 0
        for path in store.glob("r/e*/objects/*"):
            path.write_bytes(b"rotten")
        url = (store / "r").as_uri()
    data = tmp_path / "b"
    done = alphatriangle("train", "--resume", url, "--data-dir", str(data), "--max-steps", "8")
    assert done.returncode == 2, done.stdout
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(data.glob("runs/r/commits/*"))


def test_a_store_that_goes_away_holds_nothing_up(tmp_path: Path, store: Path) -> None:
    """Training ends well and says what the replica lacks; the next one hands it over."""
    data = tmp_path / "a"
    assert alphatriangle(*replicated(data, store, steps=4)).returncode == 0
    store.rename(tmp_path / "away")
    done = alphatriangle(*replicated(data, store, steps=12))
    assert done.returncode == 0, done.stderr
    assert "replica       step 4, stuck for" in done.stdout
    assert "is its disk mounted?" in done.stdout
    (tmp_path / "away").rename(store)
    done = alphatriangle(*replicated(data, store, steps=16))
    assert "replica       step 16, up to date" in done.stdout


def test_what_a_replica_lacks_is_handed_over_with_nothing_left_to_train(
    tmp_path: Path, store: Path
) -> None:
    data = tmp_path / "a"
    store.rename(tmp_path / "away")
    # A run that is new does not begin while nobody can tell whether it is.
    assert alphatriangle(*train_arguments(data, "--workers", "0", steps=4)).returncode == 0
    done = alphatriangle(*replicated(data, store, steps=8))
    assert "replica       no commit yet, stuck for" in done.stdout
    (tmp_path / "away").rename(store)
    for _ in range(2):
        done = alphatriangle(*replicated(data, store, steps=8))
        assert done.returncode == 0, done.stderr
        assert "already has 8 steps" in done.stdout
        assert acknowledged(data) == 8
    assert len(list(store.glob("r/epochs/*"))) == 1, "what is there is not handed over again"


def test_the_address_is_judged_before_anything_is_said(tmp_path: Path) -> None:
    data = tmp_path / "a"
    done = alphatriangle(
        *train_arguments(data, "--workers", "0", "--set", "persistence.replica=s3://b")
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "cannot be the name of a bucket" in done.stderr
    assert not data.exists()


def test_who_is_fenced_by_the_last_save_is_told_by_the_exit_code(
    tmp_path: Path, store: Path
) -> None:
    a, output = tmp_path / "a", tmp_path / "a.txt"
    seldom = ["--set", "persistence.save_freq_steps=100000"]
    with output.open("w") as f:
        first = start(replicated(a, store, *seldom, steps=40), f)
        # The claim alone may still be found to have come too late.
        claimed = a / "runs/r/replica/state.json"
        assert send_when(first, claimed.exists, signal.SIGSTOP)
        try:
            done = alphatriangle(*replicated(tmp_path / "b", store, steps=4))
            assert done.returncode == 0, done.stderr
        finally:
            first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=120) == 1
    assert "has been taken over" in output.read_text()
    assert commits(a) == ["step_40.json"]


@pytest.mark.parametrize("sync", ["true", "false"])
def test_who_comes_back_after_another_took_over_is_told(
    tmp_path: Path, store: Path, sync: str
) -> None:
    """Stopped for long enough, as by a network that is split: it keeps what it has, and ends."""
    often = ["--set", "persistence.save_freq_steps=1"]
    often += ["--set", f"persistence.replica_sync={sync}"]
    a, b = tmp_path / "a", tmp_path / "b"
    output = tmp_path / "a.txt"
    with output.open("w") as f:
        zombie = start(replicated(a, store, *often, steps=100_000), f)
        assert send_when(zombie, lambda: acknowledged(a) >= 2, signal.SIGSTOP)
        try:
            done = alphatriangle(*replicated(b, store, *often, steps=acknowledged(a) + 20))
            assert done.returncode == 0, done.stderr
        finally:
            zombie.send_signal(signal.SIGCONT)
        assert zombie.wait(timeout=120) == 1
    said = output.read_text()
    assert "has been taken over" in said
    assert "could not be saved" not in said
    assert "runs fork r NEW" in said
    assert commits(a), "its own commits are whole"
    assert alphatriangle("runs", "verify", "r", "--data-dir", str(a)).returncode == 0
    assert acknowledged(b) > acknowledged(a)
    # Started again it is told at once, and trains nothing.
    before = commits(a)
    again = alphatriangle(*replicated(a, store, *often, steps=100_000))
    assert again.returncode == 1
    assert "has another history here than its replica" in again.stderr
    assert "r --run-name NEW from what is there" in again.stderr
    assert commits(a) == before
    fork = ["runs", "fork", "r", "mine", "--data-dir", str(a)]
    assert alphatriangle(*fork).returncode == 0


def test_a_save_may_wait_for_the_replica(tmp_path: Path, store: Path) -> None:
    """Killed right after a save has returned, the replica has it."""
    data = tmp_path / "a"
    sync = ["--set", "persistence.replica_sync=true", "--set", "persistence.save_freq_steps=1"]
    process = start(replicated(data, store, *sync, steps=100_000))
    seen: list[tuple[int, int]] = []

    def is_far() -> bool:
        before = acknowledged(data)
        steps = [int(name[5:-5]) for name in commits(data) if name.count(".") == 1]
        seen.append((max(steps, default=0), before))
        return before >= 6

    assert send_when(process, is_far, signal.SIGKILL)
    process.communicate()
    # At most the commit that is being waited for is ahead, whenever one looks.
    assert all(here - there <= 1 for here, there in seen)
