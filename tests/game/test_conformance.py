"""The recorded games, every field of every step."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from alphatriangle.game.conformance import check_file, check_game, read_games

GOLDEN = Path(__file__).parent.parent / "golden" / "golden_games.jsonl.gz"


def test_all_recorded_games_are_reproduced() -> None:
    report = check_file(GOLDEN)
    assert report == (40, 1082, [])


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("reward", lambda v: v + 0.005),
        ("score", lambda v: v + 0.01),
        ("cleared", lambda v: v + 1),
        ("done", lambda v: not v),
        ("legal", lambda v: v[1:]),
        ("occupied_after", lambda v: f"{int(v, 16) ^ 1 << 20:030x}"),
    ],
)
def test_any_wrong_field_is_found(field: str, change: object) -> None:
    """The check can fail: each field is looked at."""
    game = next(read_games(GOLDEN))
    step = game["steps"][3]
    step[field] = change(step[field])  # type: ignore[operator]
    assert any(field in problem for problem in check_game(game))


def run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alphatriangle.game.conformance", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_prints_counts_and_exits_by_them(tmp_path: Path) -> None:
    good = run(GOLDEN)
    assert (good.returncode, good.stdout) == (0, "40 games, 1082 steps, 0 mismatches\n")
    with gzip.open(GOLDEN) as lines:
        game = json.loads(lines.readline())
    game["steps"][0]["reward"] = 9.0
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(json.dumps(game) + "\n")
    bad = run(wrong)
    assert bad.returncode == 1
    assert "reward" in bad.stdout
    unusable = tmp_path / "unusable.jsonl"
    unusable.write_text("not json\n")
    assert run(unusable).returncode == 2
    assert run(tmp_path / "missing").returncode == 2
