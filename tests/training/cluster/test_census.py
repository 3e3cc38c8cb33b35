"""A head that does not answer: is it away, or has it only forgotten us?"""

from __future__ import annotations

import contextlib
import socket
import threading

from alphatriangle.training.cluster.census import Census, NodeFacts
from tests.helpers.nodes import until

NODE = NodeFacts("id", "alpha", 2.0, 1.0)


def test_a_call_that_never_returns_is_told_from_a_head_that_is_away() -> None:
    """Ray's calls may wait for ever after a link was down; only who joins again is heard."""
    never = threading.Event()

    def hang() -> dict[str, NodeFacts]:
        never.wait()
        return {}

    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with contextlib.closing(Census(address, hang, stale_seconds=0.5)) as census:
            until(lambda: census.lost, 10, "a word")
            assert f"its head at {address} can be reached" in str(census.lost)
    # Nobody listens there now.
    with contextlib.closing(Census(address, hang, stale_seconds=0.5)) as census:
        until(lambda: census.silent_seconds > 3, 10, "three seconds")
        assert census.lost is None
    never.set()


def test_a_head_that_answers_is_not_lost() -> None:
    asked = []

    def answer() -> dict[str, NodeFacts]:
        asked.append(len(asked))
        return {"id": NODE}

    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with contextlib.closing(Census(address, answer, stale_seconds=2.0)) as census:
            until(lambda: len(asked) >= 4, 20, "four answers")
            assert census.nodes == {"id": NODE}
            assert census.lost is None
