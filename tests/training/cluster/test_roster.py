"""Who is given up and who is not, as far as that follows from what was heard and when."""

from __future__ import annotations

import pytest

from alphatriangle.training.cluster.census import NodeFacts
from alphatriangle.training.cluster.identity import here
from alphatriangle.training.cluster.roster import Roster

OWN = "own"


def roster(*names: str, head: str = OWN) -> Roster:
    """Nodes that have all been asked at 100 s, and have not answered since."""
    made = Roster(here(), OWN, is_trusted=True)
    facts = {n: NodeFacts(n, n, 4.0, 4.0, is_head=n == head) for n in (OWN, *names)}
    made.take(facts, 0.0)
    for node in made.nodes.values():
        node.agent, node.beat, node.beat_at, node.heard_at = object(), object(), 100.0, 99.0
    return made


def answers(made: Roster, *names: str, at: float) -> None:
    for name in names:
        made.nodes[name].beat_at = made.nodes[name].heard_at = at


def states(made: Roster) -> dict[str, str]:
    return {name: node.state for name, node in made.nodes.items()}


def test_a_node_that_is_silent_while_others_answer_is_given_up() -> None:
    made = roster("a", "b")
    answers(made, OWN, "b", at=112.0)
    assert made.turn(113.9, head_answers=True) == []
    assert [node.id for node in made.turn(114.1, head_answers=True)] == ["a"]
    assert states(made) == {OWN: "ready", "a": "silent", "b": "ready"}
    assert made.turn(114.2, head_answers=True) == [], "once"


def test_nobody_is_given_up_while_it_may_be_us() -> None:
    made = roster("a", "b")
    answers(made, OWN, at=130.0)
    assert made.turn(131.0, head_answers=True) == []
    # The last answer before the cut came later than the question that a has not answered.
    answers(made, "b", at=102.0)
    assert made.turn(131.0, head_answers=True) == []


def test_the_heads_answer_says_that_it_is_not_us() -> None:
    made = roster("a", "head", head="head")
    answers(made, OWN, at=130.0)
    assert made.turn(131.0, head_answers=False) == []
    # Our link may have come back this moment, and be tried again for some later than for others.
    assert made.turn(131.1, head_answers=True) == []
    answers(made, OWN, at=158.0)
    gone = made.turn(159.1, head_answers=True)
    assert {node.id for node in gone} == {"a", "head"}


def test_a_node_where_worker_after_worker_dies_is_left_out_for_a_while() -> None:
    made = roster("a", "b")
    for time in (1.0, 2.0):
        made.died("a", time)
    made.gave_result("a")
    for time in (3.0, 4.0):
        made.died("a", time)
    assert made.nodes["a"].state == "ready"
    made.died("a", 5.0)
    assert made.nodes["a"].state == "left out"
    assert "3 workers died there" in made.nodes["a"].reason
    answers(made, OWN, "a", "b", at=600.0)
    made.turn(604.0, head_answers=True)
    assert made.nodes["a"].state == "left out"
    answers(made, OWN, "a", "b", at=606.0)
    made.turn(606.0, head_answers=True)
    assert made.nodes["a"].state == "ready"


@pytest.mark.parametrize("others", [(), ("b",)])
def test_the_only_node_is_never_left_out(others: tuple[str, ...]) -> None:
    """Somebody has to play; that workers die again and again ends training elsewhere."""
    made = Roster(here(), None, is_trusted=True)
    made.take({n: NodeFacts(n, n, 4.0, 4.0) for n in ("a", *others)}, 0.0)
    for node in made.nodes.values():
        node.agent = None
    for time in range(9):
        made.died("a", float(time))
    assert made.nodes["a"].state == ("left out" if others else "ready")


def test_a_node_that_is_gone_is_forgotten() -> None:
    made = roster("a")
    (gone,) = made.take({OWN: NodeFacts(OWN, OWN, 4.0, 4.0)}, 1.0)
    assert gone.id == "a"
    made.died("a", 2.0)
    assert set(made.nodes) == {OWN}
