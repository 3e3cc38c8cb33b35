"""Which commits are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.data.commits.retention import CommitFacts, sequences_to_delete

histories = st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30).map(
    lambda items: [CommitFacts(i + 1, step, best) for i, (step, best) in enumerate(items)]
)


@given(histories, st.integers(1, 8), st.none() | st.integers(1, 20))
def test_laws(commits: list[CommitFacts], keep_last: int, every: int | None) -> None:
    gone = sequences_to_delete(commits, keep_last=keep_last, keep_every_steps=every)
    left = [c for c in commits if c.sequence not in gone]
    assert gone <= {c.sequence for c in commits}
    assert commits[-keep_last:] == left[-keep_last:], "the newest are kept"
    best = [c for c in commits if c.is_best]
    assert not best or best[-1] in left, "the best is kept"
    if every:
        assert all(c in left for c in commits if c.step and c.step % every == 0)
    again = sequences_to_delete(left, keep_last=keep_last, keep_every_steps=every)
    assert again == set(), "what has been kept once stays"
    extra = len(best) > 0
    if every is None:
        assert len(left) <= keep_last + extra


def test_an_example() -> None:
    commits = [CommitFacts(i, 100 * i, i == 2) for i in range(1, 8)]
    assert sequences_to_delete(commits, keep_last=2, keep_every_steps=300) == {1, 4, 5}
