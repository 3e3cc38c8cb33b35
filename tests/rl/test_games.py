"""Games that change hands: played on by others, and no row of them comes twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatriangle.config import Config
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult, SelfPlay
from alphatriangle.rl.games import Game, pack_games, unpack_games
from tests.conftest import make_network, tiny_config
from tests.rl.test_self_play import make

CONFIG = tiny_config()
NETWORK = make_network(CONFIG)
EPISODES = 12


def events_of(result: PlayResult) -> dict[int, int]:
    """Of each finished episode: its placements, and its deals but for the first."""
    counts = {}
    for episode in result.episodes:
        game = GameState(episode.seed, episode.episode)
        for move in episode.moves:
            game.step(int(move))
        counts[episode.episode] = len(episode.moves) + game.deals - 1
    return counts


def test_rows_say_where_they_are_from(network: NeuralNetwork, config: Config) -> None:
    player = make(network, config)
    player.add_episodes(range(EPISODES))
    result = player.play(0)
    expected = sorted((e, i) for e, n in events_of(result).items() for i in range(n))
    assert sorted(map(tuple, result.origins.tolist())) == expected
    assert len(result.rows) == len(result.origins)


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), max_size=6))
def test_every_event_comes_once_whoever_plays(stretches: list[tuple[int, int]]) -> None:
    """Workers of different sizes die; games come home often, now and then or never before."""
    player = make(NETWORK, CONFIG)
    player.add_episodes(range(EPISODES))
    results: list[PlayResult] = []
    home: list[Game] = []
    known: dict[int, int] = {}

    def play(player: SelfPlay, rounds: int | None) -> None:
        results.append(player.play(0, rounds))
        known.update(dict(player.flying().tolist()))
        for episode in results[-1].episodes:
            known.pop(episode.episode, None)

    for rounds, how in stretches:
        play(player, rounds)
        if how > 0:
            home = unpack_games(pack_games(player.games_in_flight()))
        if how == 1:
            play(player, rounds)  # the games at home are older than the rows
        open_episodes = player.unfinished()
        home = [game for game in home if game.episode in open_episodes]
        player = make(NETWORK, CONFIG, games=2 + how)
        player.leave_out(known)
        player.adopt(home)
        player.add_episodes(set(open_episodes) - {game.episode for game in home})
        assert player.unfinished() == open_episodes
    play(player, None)
    origins = [tuple(o) for r in results for o in r.origins.tolist()]
    assert len(origins) == len(set(origins))
    finished = [e.episode for r in results for e in r.episodes]
    assert sorted(finished) == list(range(EPISODES))
    expected = {e: n for r in results for e, n in events_of(r).items()}
    for episode, events in expected.items():
        numbers = {number for e, number in origins if e == episode}
        # Played again by other weights or other batches a game may be shorter than it was.
        assert set(range(events)) <= numbers


def test_a_game_that_is_handed_over_goes_on_where_it_was() -> None:
    player = make(NETWORK, CONFIG, games=1)
    player.add_episodes([7])
    player.play(0, max_rounds=30)
    (game,) = player.games_in_flight()
    assert len(game.history) > 2
    other = make(NETWORK, CONFIG, games=3)
    other.adopt([game])
    ours, theirs = player.play(0), other.play(0)
    np.testing.assert_array_equal(ours.episodes[0].moves, theirs.episodes[0].moves)
    np.testing.assert_array_equal(ours.origins, theirs.origins)
    np.testing.assert_allclose(ours.rows.returns, theirs.rows.returns, atol=1e-4)


def test_what_waits_for_a_lane_is_part_of_the_state() -> None:
    player = make(NETWORK, CONFIG)
    player.add_episodes(range(5))
    player.play(0, max_rounds=20)
    crowded = make(NETWORK, CONFIG, games=2)
    crowded.adopt(player.games_in_flight())
    crowded.leave_out({0: 3})
    again = make(NETWORK, CONFIG, games=2)
    again.load_state_dict(crowded.state_dict())
    assert again.unfinished() == crowded.unfinished() == player.unfinished()
    ours, theirs = crowded.play(0), again.play(0)
    np.testing.assert_array_equal(ours.origins, theirs.origins)
    assert not {(0, 0), (0, 2)} & set(map(tuple, ours.origins.tolist()))


def test_some_of_the_games_at_home_can_be_taken() -> None:
    player = make(NETWORK, CONFIG)
    player.add_episodes(range(5))
    player.play(0, max_rounds=20)
    packed = pack_games(player.games_in_flight())
    assert {game.episode for game in unpack_games(packed, only=[1, 3, 99])} == {1, 3}


def test_what_is_no_game_is_refused() -> None:
    with pytest.raises(ValueError, match="no packed games"):
        unpack_games(b"nothing of the kind")
    player = make(NETWORK, CONFIG, games=1)
    player.add_episodes([7])
    player.play(0, max_rounds=30)
    small = CONFIG.env.model_copy(update={"max_moves_per_episode": 2})
    other = make(NETWORK, CONFIG, games=1, env=small)
    other.adopt(player.games_in_flight())
    with pytest.raises(ValueError, match="other settings"):
        other.play(0)
