"""A replica on a real S3 server, behind a line that fails at random: machines are lost one after
the other, and each goes on as the run that was never interrupted."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.errors import ReplicaUnavailableError
from alphatriangle.data.replica.restoring import Restored
from alphatriangle.data.stores.conditions import check_suitable
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import StoreError
from tests.data.replica.helpers import Machine, digest_at, restored, train_on
from tests.durability.budget import budget, report
from tests.helpers.fault_proxy import Fault, FaultProxy, Request
from tests.helpers.seaweedfs import BUCKET, KEEPER, OWNER, Identity, SeaweedFS, set_s3

LOSSES = budget(12, 500)
FAULTY = 0.05
"""Share of the requests that go wrong."""
FAULTS = (
    Fault(answer=503),
    Fault(answer=429),
    Fault(answer=403),
    Fault(drop_before=True),
    Fault(drop_after=True),
    Fault(flip_request=7),
    Fault(flip_response=7),
    Fault(cut_response=40),
)


@pytest.fixture
def proxy(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(seaweedfs.address) as proxy:
        set_s3(monkeypatch, proxy.url)
        yield proxy


@pytest.mark.parametrize("identity", [OWNER, KEEPER], ids=["owner", "may remove nothing"])
def test_machines_lost_over_a_bad_line(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: Identity
) -> None:
    set_s3(monkeypatch, proxy.url, identity)
    rng = random.Random(3)
    store = RemoteStore("s3", BUCKET, f"machines/{uuid4().hex}", small_seconds=5.0)
    check_suitable(store)
    calm, digests = tmp_path / "calm", {0: ""}
    faults = step = lost = 0

    def at_random(_: Request) -> Fault | None:
        nonlocal faults
        if rng.random() >= FAULTY:
            return None
        faults += 1
        return rng.choice(FAULTS)

    for number in range(LOSSES):
        root = tmp_path / f"machine{number}"
        if number:
            proxy.choose = at_random
            found = _insistently(lambda root=root: restored(root, store))  # type: ignore[misc]
            proxy.choose = None
            step = found.commit.global_step
            assert digest_at(root) == digests[step]
        commits = rng.randint(1, 3)
        train_on(root, commits)
        for _ in range(commits):
            step += 1
            if step not in digests:
                digests[step] = train_on(calm)
        assert digest_at(root) == digests[step]
        machine = Machine(root, store)
        machine.boot()
        proxy.choose = at_random
        assert machine.catch_up(40)
        with contextlib.suppress(StoreError):
            machine.collect()
        proxy.choose = None
        assert machine.acknowledged_step == step
        lost += 1
        shutil.rmtree(root)
    report("machines lost, S3 over a bad line", losses=lost, faults=faults, equal=lost, lost=0)


def _insistently(restore: Callable[[], Restored]) -> Restored:
    """Until the line lets it: what stops a restore leaves the next one what there is."""
    for _ in range(40):
        try:
            return restore()
        except ReplicaUnavailableError:
            continue
    raise AssertionError("no restore got through")


def test_requests_and_bytes(proxy: FaultProxy, tmp_path: Path) -> None:
    """In steady state a commit takes at most 8 requests, no list, and little more than is new."""
    store = RemoteStore("s3", BUCKET, f"steady/{uuid4().hex}")
    root = tmp_path / "machine"
    train_on(root, 4)
    machine = Machine(root, store)
    machine.boot()
    assert machine.catch_up()
    for _ in range(6):
        before = {f.sha256 for s in list_commits(machine.paths).commits for f in s.commit.files}
        train_on(root)
        newest = list_commits(machine.paths).commits[0].commit
        new = sum(file.size for file in newest.files if file.sha256 not in before)
        proxy.requests.clear()
        assert machine.catch_up(1)
        assert len(proxy.requests) <= 8
        assert not any("list-type" in request.path for request in proxy.requests)
        sent = sum(len(r.body) for r in proxy.requests if "/objects/" in r.path)
        assert new <= sent <= 1.2 * new
