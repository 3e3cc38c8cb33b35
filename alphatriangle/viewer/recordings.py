"""Which recorded game to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import verify_file
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import DataError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.replay.recordings import read_episodes
from alphatriangle.utils.types import Episode


class EpisodeNotFoundError(DataError):
    """There is no recorded game of that number."""


def recorded_games(config: PersistenceConfig, run: str) -> list[Episode]:
    """All self-play games of a run up to its newest sound commit, oldest first.

    Raises:
        DataError: the run has none, or their files are damaged.
    """
    paths = PathManager(config, run)
    commit = load_for_reading(config, run).commit
    assert commit is not None
    games: list[Episode] = []
    for file in commit.of_kind("episodes"):
        verify_file(paths.run, file)
        games += read_episodes(paths.run / file.path)
    return games


def choose_game(games: Sequence[Episode], wanted: str, where: str | Path) -> Episode:
    """``best`` by score, ``latest``, or by its number.

    Raises:
        EpisodeNotFoundError: there is no such game in ``games``.
    """
    if not games:
        raise EpisodeNotFoundError(f"{where} has no finished game yet")
    if wanted == "best":
        return max(games, key=lambda e: e.score)
    if wanted == "latest":
        return games[-1]
    for game in games:
        if str(game.episode) == wanted:
            return game
    numbers = [game.episode for game in games]
    raise EpisodeNotFoundError(
        f"{where} has no game {wanted!r}; there are best, latest, and {len(numbers)} numbers from "
        f"{min(numbers)} to {max(numbers)}"
    )
