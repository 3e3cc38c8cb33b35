"""Who does not use a bucket does not pay for it, and a process that was forked does not hang."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.helpers.seaweedfs import SeaweedFS, set_s3


def run(code: str, seconds: float = 60.0) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_obstore_is_imported_with_the_first_request() -> None:
    code = """
        import sys
        import alphatriangle.data
        from alphatriangle.data.stores.addresses import open_store
        from alphatriangle.data.stores.conditions import check_suitable

        open_store("s3://bucket/folder")
        print(*[name for name in sys.modules if name.startswith("obstore")])
    """
    assert run(code).split() == []


FORK = """
    import os, signal, time
    from alphatriangle.data.stores.remote import RemoteStore
    from alphatriangle.data.stores.store import StoreError

    def ask():
        try:
            RemoteStore("s3", "bucket", "forks").overwrite("key", b"1")
            return "asked"
        except StoreError as e:
            return str(e)

    if USED:
        assert ask() == "asked"
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        print("child", ask(), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print("parent", ask())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("used", [False, True], ids=["before", "after"])
def test_a_forked_process_opens_its_own_or_says_that_it_cannot(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    set_s3(monkeypatch, seaweedfs.url)
    child, parent = run(FORK.replace("USED", str(used))).splitlines()
    assert parent == "parent asked"
    if used:
        assert "forked from one that has asked" in child
    else:
        assert child == "child asked"
