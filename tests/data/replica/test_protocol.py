"""The pure decisions, each for itself; together they are explored in tests/durability."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from alphatriangle.data.commits.retention import CommitFacts
from alphatriangle.data.replica.layout import ObjectPlace, Position
from alphatriangle.data.replica.outbox import to_send
from alphatriangle.data.replica.protocol import (
    History,
    KeepRules,
    garbage,
    goes_on_from,
    judged,
    kept,
    last_existing,
    may_leave_behind,
)
from alphatriangle.data.replica.records import Held


def held(sequence: int, *, epoch: int = 1, created_ns: int = 0) -> Held:
    return Held(epoch, sequence, sequence, 10 * sequence, created_ns, f"seal {sequence}")


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_the_last_number_is_found_in_few_steps(last: int, start: int) -> None:
    asked: list[int] = []

    def exists(number: int) -> bool:
        asked.append(number)
        return number <= last

    start = min(start, last)
    assert last_existing(exists, start) == last
    assert len(asked) <= 4 * (last - start + 1).bit_length() + 2


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 200))
def test_one_that_has_rotted_away_is_looked_past(last: int, start: int, lost: int) -> None:
    start = min(start, last)
    found = last_existing(lambda n: n <= last and n != lost, start)
    assert found == (last - 1 if start < lost == last else last)


def test_nothing_after_the_hint_takes_two_questions() -> None:
    asked: list[int] = []
    assert last_existing(lambda n: asked.append(n) is not None, 41) == 41
    assert asked == [42, 43]


def test_what_exists_is_compared() -> None:
    assert judged(b"mine", b"mine") == "landed"
    assert judged(b"mine", None) == "absent"
    assert judged(b"mine", b"other") == "another"
    assert judged(b"mine", b"") == "another"


def test_a_folder_goes_on_from_what_it_has() -> None:
    history = History(frozenset({"seal 3", "seal 4"}), newest_sequence=5)
    assert goes_on_from(None, history)
    assert goes_on_from(held(4), history)
    assert not goes_on_from(held(6), history)
    assert not goes_on_from(held(4)._replace(seal="another"), history)
    assert not goes_on_from(held(4), history._replace(newest_sequence=3))


def test_only_what_is_known_may_be_left_behind() -> None:
    history = History(frozenset(), 1, Position(1, 7), frozenset({Position(2, 1)}))
    assert may_leave_behind(Position(1, 7), history)
    assert may_leave_behind(Position(2, 1), history)
    assert not may_leave_behind(Position(1, 8), history)


@given(
    st.sets(st.integers(1, 30)),
    st.integers(1, 30),
    st.integers(1, 5),
    st.none() | st.integers(1, 50),
    st.sets(st.integers(1, 30)),
    st.none() | st.integers(1, 30),
)
def test_what_is_kept(
    sequences: set[int],
    new: int,
    keep_last: int,
    every: int | None,
    pins: set[int],
    best: int | None,
) -> None:
    before = [held(s) for s in sequences]
    added = held(new, epoch=2)
    rules = KeepRules(keep_last, every)
    choice = kept(before, added, rules, best_sequence=best, pins=pins, now_ns=0)
    assert {*choice.holds, *choice.dropped} == {*before, added}
    assert not {*choice.holds} & {*choice.dropped}
    there = [h.sequence for h in choice.holds]
    assert there == sorted(set(there), reverse=True)
    assert added in choice.holds
    everything = sequences | {new}
    must = {*sorted(everything)[-keep_last:], *(everything & pins), new}
    must |= {best} & everything if best else set()
    must |= {s for s in everything if every and 10 * s % every == 0}
    assert set(there) == must
    everything_stays = kept(before, added, None, best_sequence=best, pins=pins, now_ns=0)
    assert {h.sequence for h in everything_stays.holds} == everything


def test_garbage_is_what_nothing_kept_needs() -> None:
    a, b, c = (ObjectPlace(1, name * 64) for name in "abc")
    places = {1: {a, b}, 2: {b, c}, 3: {c}}
    assert garbage([1], [2], places) == {a}
    assert garbage([1, 2], [3], places) == {a, b}
    assert garbage([], [1], places) == set()


@given(
    st.sets(st.integers(1, 20), min_size=1),
    st.sets(st.integers(1, 20)),
    st.sets(st.integers(1, 20)),
    st.integers(1, 20),
)
def test_what_has_to_go(local: set[int], there: set[int], pins: set[int], best: int) -> None:
    facts = [CommitFacts(s, s, s == best) for s in local]
    rules = KeepRules(keep_last=3, keep_every_steps=7)
    order = to_send(facts, there, rules, pins=pins)
    assert len(set(order)) == len(order)
    assert set(order) <= local - there
    if (newest := max(local)) not in there:
        assert order[0] == newest, "what would be lost comes first"
    for sequence in local - there:
        must = sequence in {newest, best} | pins or sequence % 7 == 0
        assert (sequence in order) == must
    assert to_send(facts, there | set(order), rules, pins=pins) == []
    assert to_send(facts, there, rules, pins=pins, skipped=order) == []
