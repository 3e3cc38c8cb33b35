"""Recorded games as pictures: every frame is what the rules say, and nothing is missing."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from alphatriangle.game import GameState
from alphatriangle.game.geometry import COLS, SHAPE_SIZE
from alphatriangle.utils.types import Episode
from alphatriangle.viewer.frames import Frame, ReplayError, frames
from alphatriangle.viewer.page import game_page
from alphatriangle.viewer.recordings import EpisodeNotFoundError, choose_game
from alphatriangle.viewer.terminal import board_text, frame_line, frame_text


def random_game(seed: int, number: int = 3) -> Episode:
    game = GameState(seed, number)
    rng = np.random.default_rng(seed)
    while not game.is_over:
        game.step(int(rng.choice(game.legal_actions())))
    return Episode(number, seed, np.array(game.moves, np.int16), game.score, 0, False)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_frames_follow_from_each_other(seed: int) -> None:
    episode = random_game(seed)
    seen = list(frames(episode))
    assert [f.number for f in seen] == list(range(len(episode.moves) + 1))
    assert seen[0].filled == frozenset()
    assert seen[-1].score == pytest.approx(episode.score)
    for before, after in pairwise(seen):
        assert after.slot is not None
        assert len(after.placed) == SHAPE_SIZE[after.slots[after.slot]]
        assert not before.filled & after.placed
        assert after.cleared <= before.filled | after.placed
        assert after.filled == (before.filled | after.placed) - after.cleared
        assert after.score == pytest.approx(before.score + after.reward)


def test_what_does_not_follow_the_rules_is_said() -> None:
    episode = random_game(1)
    with pytest.raises(ReplayError, match=r"was recorded with a score of 99\.000"):
        list(frames(episode._replace(score=99.0)))
    twice = episode._replace(moves=np.concatenate([episode.moves[:1], episode.moves[:1]]))
    with pytest.raises(ReplayError, match="placement 2 of game 3 is not legal"):
        list(frames(twice))


def test_games_are_chosen_by_score_by_age_or_by_number() -> None:
    games = [random_game(2, n) for n in (4, 9, 5)]
    assert choose_game(games, "best", "here").score == max(g.score for g in games)
    assert choose_game(games, "latest", "here").episode == 5
    assert choose_game(games, "9", "here").episode == 9
    with pytest.raises(EpisodeNotFoundError, match="3 numbers from 4 to 9"):
        choose_game(games, "6", "here")
    with pytest.raises(EpisodeNotFoundError, match="no finished game"):
        choose_game([], "best", "here")


def clearing_frame() -> Frame:
    """A frame in which something was cleared."""
    for seed in range(1000):
        for frame in frames(random_game(seed)):
            if frame.cleared and frame.filled:
                return frame
    raise AssertionError


def test_the_board_in_the_terminal_shows_each_cell_for_what_it_is() -> None:
    frame = clearing_frame()
    text = board_text(frame)
    lines = text.plain.split("\n")
    assert [len(line) for line in lines] == [COLS] * 8
    solid = {r * COLS + c for r, line in enumerate(lines) for c, x in enumerate(line) if x in "▲▼"}
    assert solid == frame.filled | (frame.placed - frame.cleared)
    assert lines[0] == "   " + lines[0][3:12] + "   ", "cells that are no part of the board"
    console = Console(file=io.StringIO(), width=40, color_system=None)
    console.print(frame_text(frame, "title"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{len(frame.cleared)} cleared" in shown
    assert f"score {frame.score:.2f}" in shown
    assert f"{len(frame.cleared)} cleared" in frame_line(frame)


def test_the_page_holds_the_whole_game_and_nothing_from_elsewhere() -> None:
    seen = list(frames(random_game(5)))
    page = game_page(seen, "a <game> & its title")
    assert "<title>a &lt;game&gt; &amp; its title</title>" in page
    match = re.search(r'<script id="game" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    game = json.loads(match[1])
    assert len(game["frames"]) == len(seen)
    assert [frozenset(f["filled"]) for f in game["frames"]] == [f.filled for f in seen]
    assert len(game["cells"]) == 96
    assert not re.search(r"(src|href)\s*=|@import|url\(", page), "one file is enough"
