"""The command line: what it prints, how it exits, and that bad input is one clear line."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from alphatriangle.cli.app import app
from alphatriangle.data.replay.recordings import read_episodes
from tests.conftest import tiny_settings
from tests.training.command import alphatriangle, commits, start, train_arguments


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one small complete run."""
    data = tmp_path_factory.mktemp("trained")
    arguments = train_arguments(data, "--workers", "0", steps=6)
    result = alphatriangle(*arguments, "--set", "stats.evaluation_games=12")
    assert result.returncode == 0, result.stderr
    for text in ("agent before training", "agent after training", "random", "greedy", "95%"):
        assert text in result.stdout
    assert f"saved in      {data}/runs/r" in result.stdout
    assert f"alphatriangle runs show r --data-dir {data}" in result.stdout
    return data


BAD_INPUT = {
    "a wrong value": (["--set", "train.batch_size=-5"], "train.batch_size is -5"),
    "a value of another type": (["--set", "train.batch_size=many"], "train.batch_size is 'many'"),
    "an unknown key": (["--set", "train.batchsize=5"], "did you mean 'batch_size'"),
    "an unknown section": (["--set", "trian.seed=5"], "did you mean 'train'"),
    "no key at all": (["--set", "seed"], "section.field=value"),
    "settings that contradict": (
        ["--preset", "convolutional-quick", "--set", "train.batch_size=5000000"],
        "batch_size 5000000 exceeds buffer_capacity",
    ),
    "an unknown preset": (["--preset", "quikc"], "unknown preset 'quikc'"),
    "a missing config file": (["--config", "nowhere.toml"], "nowhere.toml"),
    "a missing resume path": (["--resume", "gone/latest.pkl"], "gone/latest.pkl"),
    "a missing resume run": (["--resume", "gone"], "there is no run 'gone'"),
    "an unsafe run name": (["--run-name", "../up"], "'../up'"),
    "a device that is not there": (["--set", "train.device=cuda:7"], "not available"),
    "a missing buffer": (["--set", "train.load_buffer_path=gone.pkl"], "gone.pkl"),
}


@pytest.mark.parametrize("name", list(BAD_INPUT))
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, name: str) -> None:
    arguments, text = BAD_INPUT[name]
    result = alphatriangle("train", "--workers", "0", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert text in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stdout + result.stderr
    debugged = alphatriangle("train", "--workers", "0", "--debug", *arguments, cwd=tmp_path)
    assert "Traceback" in debugged.stderr
    assert not list(tmp_path.rglob("run.json")), "no run has been begun"


@pytest.mark.parametrize("content", ["train = 3", "[train]\nseed = [", "[train]\nsede = 3"])
def test_bad_config_files_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.toml").write_text(content)
    result = alphatriangle("train", "--config", "c.toml", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for command in (["train", "--workers", "0"], ["runs", "list"]):
        result = alphatriangle(*command, "--data-dir", str(tmp_path / "file" / "data"))
        assert result.returncode == 2, command
        assert "error: cannot" in result.stderr
        assert result.stderr.count("\n") == 1


def test_bad_input_loses_nothing(trained: Path) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    for more in (
        ["--seed", "9"],
        ["--set", "model.conv_channels=12"],
        ["--resume", "never"],
        ["--set", "train.optimizer_type=SGD", "--max-steps", "9"],
        ["--set", "train.batch_size=100000", "--max-steps", "9"],
    ):
        arguments = train_arguments(trained, "--workers", "0", *more, steps=8)
        result = alphatriangle(*arguments)
        assert result.returncode == 2, (more, result.stdout)
        assert result.stderr.count("\n") == 1, result.stderr
    assert {p: p.read_bytes() for p in before} == before
    assert commits(trained) == ["step_4.json", "step_6.json"]
    arguments = train_arguments(trained, "--workers", "0", steps=6)
    assert "already has 6 steps" in alphatriangle(*arguments).stdout


def test_enough_steps_is_said_and_no_error(trained: Path) -> None:
    result = alphatriangle(*train_arguments(trained, "--json", steps=5))
    assert result.returncode == 0
    assert "already has 6 steps, 5 were asked for" in result.stderr
    assert json.loads(result.stdout)["global_step"] == 6


def test_runs_list_and_show(trained: Path) -> None:
    listed = alphatriangle("runs", "list", "--data-dir", str(trained), "--json")
    (run,) = json.loads(listed.stdout)
    assert (run["name"], run["state"], run["step"], run["target_steps"]) == ("r", "complete", 6, 6)
    assert run["size_bytes"] > 0
    assert "complete" in alphatriangle("runs", "list", "--data-dir", str(trained)).stdout
    shown = alphatriangle("runs", "show", "r", "--data-dir", str(trained), "--json")
    facts = json.loads(shown.stdout)
    assert len(facts["state_digest"]) == 64
    assert facts["buffer_rows"] > 0
    assert facts["rejected_commits"] == []
    assert {f["kind"] for f in facts["commit"]["files"]} >= {"checkpoint", "buffer", "segment"}
    assert facts["tensors"]["stem.weight"]["bytes"] > 0
    text = alphatriangle("runs", "show", "r", "--data-dir", str(trained)).stdout
    assert facts["state_digest"] in text
    older = ["runs", "show", "r", "--step", "4", "--tensors", "--data-dir", str(trained)]
    text = alphatriangle(*older).stdout
    assert "step          4 of 6" in text
    assert "stem.weight  float32" in text
    gone = alphatriangle("runs", "show", "r", "--step", "5", "--data-dir", str(trained))
    assert gone.returncode == 2
    assert "its commits are of steps: 6, 4" in gone.stderr


def test_runs_of_nothing(tmp_path: Path) -> None:
    empty = alphatriangle("runs", "list", "--data-dir", str(tmp_path))
    assert empty.returncode == 0
    assert "no runs" in empty.stdout
    as_json = alphatriangle("runs", "list", "--data-dir", str(tmp_path), "--json")
    assert json.loads(as_json.stdout) == []
    missing = alphatriangle("runs", "show", "gone", "--data-dir", str(tmp_path))
    assert missing.returncode == 2
    assert "no run 'gone'" in missing.stderr
    assert not any(tmp_path.iterdir()), "looking makes nothing"


def test_eval_draws_and_saves_its_games(trained: Path, tmp_path: Path) -> None:
    plot, games = tmp_path / "scores.png", tmp_path / "games.arrow"
    arguments = ["eval", "r", "--data-dir", str(trained), "--games", "5", "--against", "mobility"]
    result = alphatriangle(*arguments, "--plot", str(plot), "--save-games", str(games))
    assert result.returncode == 0, result.stderr
    assert "agent ahead by" in result.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    saved = read_episodes(games)
    assert [e.episode for e in saved] == list(range(5))
    assert all(len(e.moves) > 0 for e in saved)
    nowhere = alphatriangle(*arguments, "--plot", str(tmp_path / "gone" / "x.png"))
    assert nowhere.returncode == 2
    assert "its folder does not exist" in nowhere.stderr


def test_eval_plays_the_run_against_others(trained: Path) -> None:
    arguments = ["eval", "r", "--data-dir", str(trained), "--games", "15", "--json"]
    result = alphatriangle(*arguments)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    players = {p["player"]: p for p in report["players"]}
    others = {"random", "greedy", "mobility", "beam", "planner"}
    assert set(players) == others | {"r (step 6)"}
    assert set(report["ahead"]) == others
    gap = report["ahead"]["beam"]
    expected = players["r (step 6)"]["mean"] - players["beam"]["mean"]
    assert gap["mean"] == pytest.approx(expected)
    assert gap["low"] <= gap["mean"] <= gap["high"] < 0
    for player in players.values():
        assert player["low"] <= player["mean"] <= player["high"]
        assert player["games"] == 15
    assert alphatriangle(*arguments).stdout == result.stdout, "fixed seeds, the same result"
    text = alphatriangle("eval", "--data-dir", str(trained), "--games", "5", "--against", "none")
    assert "r (step 6)" in text.stdout


def test_eval_refuses_what_is_not_there(trained: Path, tmp_path: Path) -> None:
    for arguments, text in (
        (["eval", "gone", "--data-dir", str(trained)], "no run 'gone'"),
        (["eval", "r", "--data-dir", str(trained), "--against", "god"], "no such player"),
        (["eval", "--data-dir", str(tmp_path)], "no run with a commit"),
    ):
        result = alphatriangle(*arguments)
        assert result.returncode == 2
        assert text in result.stderr
        assert result.stderr.count("\n") == 1


def test_looking_after_runs(trained: Path, tmp_path: Path) -> None:
    data = ["--data-dir", str(trained)]

    def say(*arguments: str, code: int = 0) -> str:
        result = alphatriangle("runs", *arguments)
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    assert "all sound" in say("verify", "r", *data)
    explained = json.loads(say("explain-resume", "r", *data, "--json"))
    assert (explained["step"], explained["passed_over"]) == (6, [])
    pinned = json.loads(say("pin", "r", "--step", "4", *data, "--json"))
    assert pinned == {"run": "r", "step": 4, "pinned": True}
    assert "step 4 of run 'r' is pinned" in say("pin", "r", "--step", "4", *data)
    assert "nothing was removed" not in say("prune", "r", *data)
    assert "no longer pinned" in say("pin", "r", "--step", "4", "--remove", *data)
    dry = say("prune", "r", *data)
    assert "would remove 1 commits" in dry
    assert commits(trained) == ["step_4.json", "step_6.json"]
    assert "begins at step 4" in say("fork", "r", "branch", "--step", "4", *data)
    assert commits(trained, "branch") == ["step_4.json"]
    weights = tmp_path / "w.safetensors"
    assert "MB" in say("export", "r", "--what", "weights", "--to", str(weights), *data)
    assert weights.stat().st_size > 0
    assert "exists" in say("export", "r", "--what", "weights", "--to", str(weights), *data, code=2)
    rows = tmp_path / "rows.parquet"
    arguments = ["--what", "replay", "--to", str(rows), "--step", "4", *data, "--json"]
    exported = json.loads(say("export", "r", *arguments))
    assert (exported["step"], exported["size"]) == (4, rows.stat().st_size)
    archive = tmp_path / "r.tar"
    say("export", "r", "--what", "run", "--to", str(archive), *data)
    other = ["--data-dir", str(tmp_path / "elsewhere")]
    restored = json.loads(say("restore", str(archive), *other, "--json"))
    assert restored == {"run": "r", "file": str(archive), "step": 6}
    again = say("restore", str(archive), "--run-name", "theirs", *other)
    assert "run 'theirs' begins at step 6" in again
    assert "run 'r' exists" in say("restore", str(archive), *other, code=2)
    assert "there is no archive" in say("restore", "none.tar", *other, code=2)
    digests = [json.loads(say("show", "r", *d, "--json"))["state_digest"] for d in (data, other)]
    assert digests[0] == digests[1]
    second = json.loads(say("fork", "r", "second", *data, "--json"))
    assert second == {"run": "second", "from": "r", "step": 6}
    assert "--what w" in say("export", "r", "--what", "w", "--to", "x", *data, code=2)
    assert "did you mean 'r'" in say("verify", "rr", *data, code=2)
    branch = trained / "runs/branch/checkpoints/checkpoint_step_4.pkl"
    content = branch.read_bytes()
    branch.unlink()  # the link alone: the file of run r is not touched
    branch.write_bytes(content[:-1])
    assert "damaged in 1 places" in say("verify", "branch", *data, code=1)
    assert "none is sound" in say("explain-resume", "branch", *data, code=2)
    assert "would remove 0" in say("prune", "branch", "--dry-run", *data)
    assert "bytes, the commit says" in say("prune", "branch", "--apply", *data, code=2)
    assert "all sound" in say("verify", "r", *data)


def test_a_port_in_use_is_said_so(trained: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = alphatriangle("ui", "tensorboard", "--data-dir", str(trained), "--port", port)
    assert result.returncode == 2
    assert f"port {port}" in result.stderr
    assert result.stderr.count("\n") == 1
    elsewhere = ["--data-dir", str(trained), "--host", "203.0.113.7"]
    foreign = alphatriangle("ui", "tensorboard", *elsewhere)
    assert foreign.returncode == 2
    assert "203.0.113.7 cannot be used" in foreign.stderr
    nothing = alphatriangle("ui", "mlflow", "--data-dir", str(tmp_path))
    assert nothing.returncode == 2
    assert "does not exist" in nothing.stderr


def test_a_dashboard_without_a_ray_is_refused() -> None:
    """Or without its packages, which are an extra."""
    nothing = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    result = alphatriangle("ui", "ray", env=nothing)
    assert result.returncode == 2
    assert re.search(r"no running Ray|alphatriangle\[dashboard\]", result.stderr)


def test_tensorboard_is_served_and_stops(trained: Path) -> None:
    """The address that is said answers; a signal ends the server and nothing is left behind."""
    process = start(["ui", "tensorboard", "--data-dir", str(trained)])
    assert process.stdout is not None
    address = process.stdout.readline().split()[0]
    for _line in process.stdout:
        if "Press CTRL+C" in _line or address.rstrip("/") in _line:
            break
    with urllib.request.urlopen(address, timeout=60) as page:
        assert page.status == 200
    process.terminate()
    process.communicate(timeout=60)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)


def all_commands() -> Iterator[list[str]]:
    """Every command, with the groups it stands in."""
    waiting: list[tuple[list[str], Any]] = [([], typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [([*words, name], one) for name, one in command.commands.items()]
        else:
            yield words


@pytest.mark.parametrize("command", list(all_commands()), ids=" ".join)
def test_help_teaches(command: list[str]) -> None:
    """A purpose in one line, an example that names the command, the exit codes."""
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    assert re.search(r"Examples?:", shown.stdout)
    assert f"alphatriangle {' '.join(command)}" in shown.stdout.split("Example")[1]
    assert "Exit codes:" in shown.stdout
    assert "<bool>" not in shown.stdout, "a flag wants no value"


def test_help_fills_the_terminal() -> None:
    """Paragraphs break where the terminal ends; each example is a line."""
    from alphatriangle.cli.help import reflowed

    text = """One
    line.

    Examples:

      alphatriangle a
      alphatriangle b

    Exit codes: 0 done;
    2 bad input.
    """
    assert reflowed(text).split("\n") == [
        "One line.",
        "",
        "Examples:",
        "",
        "  alphatriangle a",
        "  alphatriangle b",
        "",
        "Exit codes: 0 done; 2 bad input.",
    ]


def test_a_pipe_that_closes_early_is_no_error(trained: Path) -> None:
    import subprocess

    from tests.training.command import COMMAND

    process = subprocess.Popen(
        [*COMMAND, "runs", "show", "r", "--data-dir", str(trained), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.wait(60)


def test_options_are_stronger_than_the_environment_that_than_the_file(tmp_path: Path) -> None:
    """And the file than the preset, or than the run's own where one is gone on with. What is said
    to come from the environment does."""
    (tmp_path / "c.toml").write_text(
        "[train]\nbatch_size = 8\nlearning_rate = 0.5\nweight_decay = 0.25\nseed = 1\n"
    )
    variables = {
        "ALPHATRIANGLE_TRAIN__BATCH_SIZE": "10",
        "ALPHATRIANGLE_TRAIN__LEARNING_RATE": "0.25",
        "ALPHATRIANGLE_TRAIN__SEED": "2",
        "ALPHATRIANGLE_TRAIN__MAX_STEPS": "3",
        "ALPHATRIANGLE_TRAIN__RUN_NAME": "of-the-environment",
        "ALPHATRIANGLE_TRAIN__NUM_WORKERS": "1",
        "ALPHATRIANGLE_PERSISTENCE__ROOT_DATA_DIR": str(tmp_path / "elsewhere"),
    }
    environment = {**os.environ, **variables}
    small = [w for w in tiny_settings() if w != "--set" and not w.startswith("train.batch_size")]
    file, tiny = ["--config", "c.toml"], [w for text in small for w in ("--set", text)]
    options = [
        "--workers", "0", "--max-steps", "2", "--run-name", "r", "--seed", "3",
        "--data-dir", "data", "--set", "train.batch_size=11", "--set", "train.batch_size=12",
    ]  # fmt: skip
    first = ["train", "--preset", "quick", *tiny, *file, *options]
    result = alphatriangle(*first, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert "from the environment: train.learning_rate=0.25\n" in result.stdout
    saved = json.loads((tmp_path / "data/runs/r/configs.json").read_text())["train"]
    assert (saved["batch_size"], saved["learning_rate"]) == (12, 0.25)
    assert (saved["weight_decay"], saved["seed"], saved["num_workers"]) == (0.25, 3, 0)
    # Over the run's own, too: the environment, where nothing of the command says otherwise.
    del environment["ALPHATRIANGLE_TRAIN__SEED"]
    again = ["train", "--data-dir", "data", "--workers", "0", "--run-name", "r"]
    result = alphatriangle(*again, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    note = "from the environment: train.batch_size=10, train.learning_rate=0.25, train.max_steps=3"
    assert note + "\n" in result.stdout
    saved = json.loads((tmp_path / "data/runs/r/configs.json").read_text())["train"]
    assert (saved["batch_size"], saved["learning_rate"], saved["max_steps"]) == (10, 0.25, 3)
    assert (saved["weight_decay"], saved["seed"]) == (0.25, 3)
    # What is shown as the settings is what training would take.
    shown = alphatriangle(
        "config", "show", "quick", *file, "--set", "train.batch_size=12", "--json",
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    facts = json.loads(shown.stdout)["train"]
    assert (facts["batch_size"], facts["learning_rate"], facts["weight_decay"]) == (12, 0.25, 0.25)


def test_the_command_that_runs_show_prints_repeats_the_run(trained: Path, tmp_path: Path) -> None:
    shown = alphatriangle("runs", "show", "r", "--data-dir", str(trained), "--json")
    facts = json.loads(shown.stdout)
    words = shlex.split(facts["repeat"].partition("alphatriangle ")[2])
    repeated = alphatriangle(*words, "--data-dir", str(tmp_path), "--json")
    assert repeated.returncode == 0, repeated.stderr
    outcome = json.loads(repeated.stdout)
    assert outcome["run_name"] == "r-again"
    assert outcome["state_digest"] == facts["state_digest"]


def test_settings_come_from_a_run_s_file_too(tmp_path: Path) -> None:
    """Where it is no such file, that is said."""
    for text, why in (
        ("[1]", "not made of sections"),
        ("{", "not JSON"),
        ('{"train": 1}', "train"),
    ):
        (tmp_path / "c.json").write_text(text)
        result = alphatriangle("train", "--config", "c.json", cwd=tmp_path)
        assert result.returncode == 2
        assert why in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        *[("runs", command) for command in ("show", "verify", "explain-resume", "prune", "pin")],
        ("runs", "export"),
        ("config", "show"),
        ("eval",),
        ("report",),
        ("train", "--resume"),
        ("watch",),
        ("watch", "--game", "new"),
    ],
    ids=" ".join,
)
def test_the_nearest_run_is_suggested(trained: Path, words: tuple[str, ...]) -> None:
    more = ["--what", "weights", "--to", "x"] if "export" in words else []
    result = alphatriangle(*words, "rr", *more, "--data-dir", str(trained))
    assert result.returncode == 2
    assert "did you mean 'r'?" in result.stderr, result.stderr


@pytest.mark.parametrize("words", [("--no-color", "runs", "list"), ("runs", "list", "--no-color")])
def test_colours_can_be_switched_off(trained: Path, words: tuple[str, ...]) -> None:
    forced = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    forced.pop("NO_COLOR", None)
    unknown = ("runs", "show", "--no-color", "no-such-run")
    for line in (words, unknown):
        result = alphatriangle(*line, "--data-dir", str(trained), env=forced)
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", result.stdout + result.stderr)


def test_watch_shows_recorded_games(trained: Path, tmp_path: Path) -> None:
    data = ["--data-dir", str(trained)]
    best = alphatriangle("watch", "r", *data)
    assert best.returncode == 0, best.stderr
    title, *lines = best.stdout.splitlines()
    assert title.startswith("run 'r': game ")
    assert lines[0].endswith("empty board")
    final = float(lines[-1].rpartition(" ")[2])
    assert final == pytest.approx(float(title.rpartition(" ")[2]), abs=0.005)
    latest = alphatriangle("watch", *data, "--game", "latest")
    assert latest.returncode == 0, latest.stderr
    page = tmp_path / "game.html"
    assert alphatriangle("watch", "r", *data, "--html", str(page)).returncode == 0
    assert page.read_text().startswith("<!doctype html>")
    missing = alphatriangle("watch", "r", *data, "--game", "no-number")
    assert missing.returncode == 2
    assert "there are best, latest, and" in missing.stderr
    games = tmp_path / "games.arrow"
    saved = ["--games", "3", "--against", "none", "--save-games", str(games)]
    assert alphatriangle("eval", "r", *data, *saved).returncode == 0
    from_file = alphatriangle("watch", "--games", str(games), "--game", "2")
    assert from_file.returncode == 0, from_file.stderr
    assert "game 2, score" in from_file.stdout
    nothing = alphatriangle("watch", "--data-dir", str(tmp_path / "empty"))
    assert nothing.returncode == 2
    assert "no run to watch" in nothing.stderr


def test_watch_shows_a_new_game_and_what_the_agent_thinks(trained: Path, tmp_path: Path) -> None:
    new = ["watch", "r", "--data-dir", str(trained), "--game", "new", "--seed", "5"]
    played = alphatriangle(*new)
    assert played.returncode == 0, played.stderr
    title, empty, *lines = played.stdout.splitlines()
    assert re.fullmatch(r"r \(step \d+\) plays seed 5", title)
    assert empty == "0  empty board"
    assert all(re.search(r"; value -?\d+\.\d, looked at [123] at \d,\d+ \d+%", x) for x in lines)
    assert alphatriangle(*new).stdout == played.stdout, "the same seed, the same game"
    page = tmp_path / "new.html"
    assert alphatriangle(*new, "--html", str(page)).returncode == 0
    assert "before; it looked at" in page.read_text()
    for wrong, why in (
        (["--games", "x.arrow"], "leave --games away"),
        (["--checkpoint", "999"], "999"),
    ):
        result = alphatriangle(*new, *wrong)
        assert result.returncode == 2
        assert why in result.stderr
    recorded = alphatriangle("watch", "r", "--data-dir", str(trained), "--simulations", "9")
    assert recorded.returncode == 2
    assert "are for --game new" in recorded.stderr


def test_config_is_shown_compared_and_described(trained: Path, tmp_path: Path) -> None:
    shown = alphatriangle("config", "show", "quick", "--set", "train.batch_size=128")
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "mine.toml"
    file.write_text(shown.stdout)
    again = alphatriangle("config", "show", "full", "--config", str(file))
    assert again.stdout == shown.stdout, "what is shown can be used"
    data = ["--data-dir", str(trained)]
    diff = alphatriangle("config", "diff", "quick", "r", *data, "--json")
    assert json.loads(diff.stdout)["train.run_name"] == [None, "r"]
    assert alphatriangle("config", "diff", "quick", "quick").stdout == "no difference\n"
    schema = json.loads(alphatriangle("config", "schema").stdout)
    assert schema["properties"]["train"]
    missing = alphatriangle("config", "show", "gone", *data)
    assert missing.returncode == 2
    assert "'gone' is no preset" in missing.stderr


def test_help_does_not_wait_for_torch() -> None:
    """Heavy libraries are imported by what uses them: help answers at once."""
    code = """
import sys
import alphatriangle.cli.app
import alphatriangle.data.errors
heavy = {"torch", "ray", "mlflow", "numba", "pyarrow", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
from alphatriangle.data import DataManager, __all__
import alphatriangle.data as data
assert all(getattr(data, name).__name__ == name for name in __all__)
heavy = {"ray", "mlflow", "numba", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("command", [["list"], ["pin", "r"], ["prune", "r", "--dry-run"]])
def test_commands_that_only_look_do_not_wait_for_torch(
    trained: Path, tmp_path: Path, command: list[str]
) -> None:
    code = """
import sys
from alphatriangle.cli.app import main
try:
    main()
except SystemExit as e:
    assert not e.code
heavy = {"torch", "ray", "mlflow", "numba", "pyarrow", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    folder = tmp_path / "data"
    shutil.copytree(trained, folder, symlinks=True)
    arguments = ["runs", *command, "--data-dir", str(folder)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=120)


def test_playing_line_by_line_with_a_hint(trained: Path) -> None:
    commands = "hint\nplace 1 99 0\nplace 9 1 1\nnonsense\n\nundo\nu\nq\n"
    result = alphatriangle("play", "r", "--data-dir", str(trained), "--seed", "3", input=commands)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert re.match(r"r \(step \d+\) plays [123] at \d,\d+ \d+%, .*values this", lines[0])
    assert lines[1].startswith("shape 1 does not fit at 99,0; it fits at ")
    assert lines[2].startswith("shape 9 does not fit")
    assert lines[3].startswith("'nonsense': say place SLOT ROW COLUMN")
    assert lines[4] == lines[5] == "there is nothing to take back"
    assert lines[6] == "ended: 0 placements, score 0.00"
    place = re.search(r"plays ([123]) at (\d+),(\d+)", lines[0])
    assert place is not None
    moves = f"place {' '.join(place.groups())}\nundo\n"
    again = alphatriangle("play", "--data-dir", str(trained), "--seed", "3", input=moves)
    assert re.match(r"\+\d\.\d+, score \d\.\d+, shapes ", again.stdout)
    assert "taken back" in again.stdout
    nobody = alphatriangle("play", "gone", "--data-dir", str(trained), input="hint\n")
    assert nobody.returncode == 2
    assert "there is no run 'gone'" in nobody.stderr


@pytest.mark.parametrize("command", [("eval",), ("watch",), ("report",), ("runs", "show")])
def test_the_shell_completes_names_of_runs(trained: Path, command: tuple[str, ...]) -> None:
    line = f"alphatriangle {' '.join(command)} --data-dir {trained} "
    environment = {
        **os.environ,
        "_ALPHATRIANGLE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split())),
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("alphatriangle"))], env=environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "r" in done.stdout.split(), done.stderr
