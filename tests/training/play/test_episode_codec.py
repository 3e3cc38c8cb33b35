"""What a commit says of episodes is exactly what was so, in little room, and read with care."""

from __future__ import annotations

import heapq
import pickle
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.training.play.episode_codec import decode, encode
from alphatriangle.training.play.episodes import OpenEpisodes, open_episodes

BOOKS = st.dictionaries(
    st.one_of(st.integers(0, 400), st.integers(10**9, 10**9 + 3)),
    st.one_of(
        st.just(0), st.integers(1, 60), st.sampled_from([127, 128, 255, 256, 65_534, 65_535])
    ),
    max_size=80,
)


def books_of(rows: dict[int, int]) -> OpenEpisodes:
    """Episodes that are out, and how many rows of each have been handed out."""
    books = OpenEpisodes()
    books.add([*rows])
    books.set_rows(np.array([*rows.items()], np.int64).reshape(-1, 2))
    return books


def near(rows: dict[int, int]) -> dict[int, int]:
    """Without those that would make the window a billion long."""
    return {e: n for e, n in rows.items() if e <= 400} or rows


@given(BOOKS)
def test_what_is_encoded_is_decoded(rows: dict[int, int]) -> None:
    rows = near(rows)
    before = books_of(rows).state_dict()
    after = decode(pickle.loads(pickle.dumps(encode(before))))
    assert {k: np.asarray(v).tolist() for k, v in after.items()} == {
        k: np.asarray(v).tolist() for k, v in before.items()
    }
    assert decode(before) is before, "as commits of before have it"
    numbers, known = open_episodes({"unfinished": np.empty(0, np.int64), "open": encode(before)})
    assert numbers.tolist() == sorted(rows)
    assert known == {e: n for e, n in rows.items() if n}


@given(BOOKS, st.data())
def test_what_is_damaged_is_refused_or_says_something_possible(
    rows: dict[int, int], data: st.DataObject
) -> None:
    state = encode(books_of(near(rows)).state_dict())
    which = data.draw(st.integers(0, 2))
    packed = bytearray(state["packed"][which])
    change = data.draw(st.sampled_from(["flip", "cut", "count"]))
    if change == "count":
        state["count"] += data.draw(st.sampled_from([8, 64, 1000]))
    elif change == "cut":
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place] ^= 1 << data.draw(st.integers(0, 7))
    state["packed"][which] = bytes(packed)
    books = OpenEpisodes()
    try:
        books.load_state_dict(state)
    except ValueError:
        return
    assert len(books) == len(books.numbers())


def test_a_thousand_workers_of_512_games_need_a_fifth_of_a_megabyte() -> None:
    """Games of 20 moves on average, nearly in lockstep; each worker at a pace of its own."""
    workers, games = 1000, 512
    state = lockstep(workers // 10, games)
    began = time.process_time()
    encoded = encode(state)
    assert time.process_time() - began < 1
    assert len(pickle.dumps(encoded, protocol=5)) * 10 < 200_000
    assert decode(encoded)["rows"].tolist() == state["rows"].tolist()


def lockstep(workers: int, games: int) -> dict[str, Any]:
    """Books after so long that all but a few of the first games are over."""
    rng = np.random.default_rng(1)
    books = OpenEpisodes()
    waiting: list[list[int]] = [[] for _ in range(workers)]
    lanes: list[list[tuple[int, int, int]]] = [[] for _ in range(workers)]  # ends, begun, episode
    pace = rng.uniform(0.7, 1.3, workers)
    following = 0
    now = np.zeros(workers, np.int64)
    for turn in range(100):
        now[:] = turn * pace
        for w in range(workers):
            room = 2 * games - len(waiting[w]) - len(lanes[w])
            if room >= games // 4:
                waiting[w] += range(following, following + room)
                books.add(np.arange(following, following + room))
                following += room
            lengths = np.maximum(rng.normal(20, 5, 2 * games).astype(int), 5).tolist()
            while len(lanes[w]) < games:
                heapq.heappush(lanes[w], (now[w] + lengths.pop(), now[w], waiting[w].pop(0)))
            over = []
            while lanes[w][0][0] <= now[w]:
                end, _, episode = lanes[w][0]
                over.append(episode)
                heapq.heapreplace(lanes[w], (end + lengths.pop(), end, waiting[w].pop(0)))
            books.close(over)
    for w in range(workers):
        flying = [(e, rows_of(e, int(now[w] - begun))) for _, begun, e in lanes[w]]
        books.set_rows(np.array(flying, np.int64))
    return books.state_dict()


def rows_of(episode: int, age: int) -> int:
    """An event for each move and each deal of three, five of which are no rows yet; some games are
    a tenth faster than others."""
    moves = int(age * (0.9 + 0.2 * (episode * 0.618 % 1)))
    return max(moves + moves // 3 - 5, 0)


@pytest.mark.parametrize(
    "bad", [{"packed": []}, {"packed": [b"", b"", b""]}, {"packed": [b"x"] * 3}]
)
def test_what_is_none_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unpack"):
        decode({"first": 0, "count": 5} | bad)
