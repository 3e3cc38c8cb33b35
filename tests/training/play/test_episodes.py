"""The books of episodes: nothing is forgotten, nothing is counted twice, a million cost little."""

from __future__ import annotations

import pickle
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.training.play.episodes import GamesAtHome, OpenEpisodes, open_episodes
from alphatriangle.training.play.stock import Portion, Stock

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "close", "rows"]),
        st.lists(st.integers(0, 60), unique=True, max_size=8),
        st.sampled_from([1, 9, 255, 256, 60_000]),
    ),
    max_size=25,
)


@given(ACTIONS)
def test_the_books_are_a_set_and_a_map(actions: list[tuple[str, list[int], int]]) -> None:
    books, model = OpenEpisodes(), {}
    for what, episodes, rows in actions:
        if what == "add":
            books.add(episodes)
            model |= dict.fromkeys(episodes, 0)
        elif what == "close":
            books.close(episodes)
            for episode in episodes:
                model.pop(episode, None)
        else:
            books.set_rows(np.array([[e, rows] for e in episodes], np.int64).reshape(-1, 2))
            model |= {episode: rows for episode in episodes if episode in model}
        again = OpenEpisodes()
        again.load_state_dict(pickle.loads(pickle.dumps(books.state_dict())))
        for copy in (books, again):
            assert copy.numbers().tolist() == sorted(model)
            assert len(copy) == len(model)
            assert dict(copy.rows().tolist()) == {e: n for e, n in model.items() if n}


def test_a_thousand_workers_of_512_games_keep_a_save_waiting_for_milliseconds() -> None:
    """Of the two episodes and a half that a worker has for each game, every tenth has finished."""
    out = 1000 * 512 * 5 // 2
    books = OpenEpisodes()
    books.add(np.arange(out))
    rng = np.random.default_rng(1)
    begun = rng.choice(out, out * 2 // 5, replace=False)
    books.set_rows(np.stack([begun, rng.integers(1, 60, len(begun))], axis=1))
    books.close(rng.choice(out, out // 10, replace=False).tolist())
    begin = time.process_time()
    books.state_dict()
    assert time.process_time() - begin < 0.1


def test_states_of_before_are_read() -> None:
    numbers, rows = open_episodes(
        {"next_episode": 9, "unfinished": np.array([3, 5]), "games": None}
    )
    assert numbers.tolist() == [3, 5]
    assert rows == {}


def test_games_at_home_are_kept_while_they_are_the_newest() -> None:
    home = GamesAtHome()
    home.put(b"first", [1, 2, 3])
    home.put(b"second", [2, 4])
    assert home.homes_of([1, 2, 5]) == [(b"first", [1]), (b"second", [2])]
    home.drop([2, 4])
    assert home.packed == [b"first"]
    assert home.homes_of([2, 4]) == []
    home.drop([1])
    assert home.homes() == [(b"first", [3])]
    home.put(b"third", [3])
    assert home.packed == [b"third"]
    home.put(b"nothing", [])
    assert home.packed == [b"third"]


def test_what_a_worker_leaves_is_played_by_the_next_from_where_it_was() -> None:
    stock = Stock()
    stock.put([0, 1, 2, 3, 4, 5])
    assert stock.take(4) == Portion([0, 1, 2, 3], [], {})
    stock.came_home(b"games", [0, 1, 2])
    stock.finished([1])
    # It dies: two games are at home, one of them older than its rows, and one had only begun.
    stock.put([0, 2, 3], {0: 0, 2: 7, 3: 2})
    taken = stock.take(3)
    assert taken == Portion([3], [(b"games", [0, 2])], {2: 7, 3: 2})
    assert sorted(taken.all_episodes) == [0, 2, 3]
    assert stock.take(9) == Portion([4, 5], [], {})


def test_many_games_go_to_a_worker_with_little_room() -> None:
    stock = Stock()
    stock.know([(b"games", list(range(40)))], {7: 3})
    stock.put(list(range(40)))
    assert stock.take(0).all_episodes == []
    assert stock.take(1) == Portion([], [(b"games", list(range(40)))], {7: 3})
