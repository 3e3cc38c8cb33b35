"""Our own Ray depends on nothing around it, and a cluster that is not there is noticed soon."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatriangle.training.cluster.ray_session import NoRayError, private_folder
from tests.durability.test_kills import newest_step
from tests.training.command import COMMAND, alphatriangle, commits, train_arguments


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="atr-", dir="/tmp") as name:
        yield Path(name)


def test_the_folder_is_private_and_gone_afterwards(short: Path) -> None:
    with private_folder([short]) as folder:
        assert folder.parent == short
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(short.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(short: Path) -> None:
    with private_folder([short]) as used:
        left = short / used.name.replace(used.name[-3:], "xyz")
        (left / "r").mkdir(parents=True)
        for folder in (used, left):
            os.utime(folder, (0, 0))
        with private_folder([short]):
            assert used.exists()
            assert not left.exists()


def test_a_folder_whose_path_is_too_long_is_passed_over(short: Path, tmp_path: Path) -> None:
    too_long = tmp_path / ("t" * 87)
    too_long.mkdir()
    with private_folder([too_long, short]) as folder:
        assert folder.parent == short
    with (
        pytest.raises(NoRayError, match=r"bytes too long\).*set RAY_TMPDIR.*--workers 0"),
        private_folder([too_long]),
    ):
        pass


def test_our_own_ray_takes_no_notice_of_what_is_around_it(tmp_path: Path) -> None:
    """A long TMPDIR that holds the address of somebody's Ray, another's Redis, no home."""
    temporary = tmp_path / ("t" * (87 - len(str(tmp_path)) - 1))
    (temporary / "ray").mkdir(parents=True)
    (temporary / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    around = {
        "TMPDIR": str(temporary),
        "RAY_REDIS_ADDRESS": "127.0.0.1:1",
        "HOME": "/proc",
        "XDG_CACHE_HOME": cache,
    }
    arguments = train_arguments(tmp_path, "--workers", "1", "--log-format", "json", steps=8)
    result = alphatriangle(*arguments, env={**os.environ, **around})
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(line.startswith("{") for line in result.stdout.splitlines())
    assert result.stderr == ""


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "somewhere"])
def test_a_cluster_that_is_not_there_is_an_error_at_once(tmp_path: Path, address: str) -> None:
    arguments = train_arguments(tmp_path, "--workers", "1")
    result = alphatriangle(*arguments, env={**os.environ, "RAY_ADDRESS": address})
    assert result.returncode == 1
    assert f"no Ray can be reached at {address!r}" in result.stderr
    assert "unset RAY_ADDRESS" in result.stderr
    assert "Traceback" not in result.stderr


def namespaces_work() -> bool:
    tools = all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip"))
    return tools and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0


@pytest.mark.skipif(not namespaces_work(), reason="needs root, util-linux and iproute2")
def test_training_does_not_notice_that_the_machine_loses_its_address(tmp_path: Path) -> None:
    """In a network of its own, whose only address but 127.0.0.1 goes away."""
    network = (
        "ip link set lo up && ip addr add 10.9.9.1/24 dev lo"
        ' && ip route add default dev lo src 10.9.9.1 && exec "$@"'
    )
    arguments = train_arguments(
        tmp_path, "--workers", "1", "--set", "persistence.save_freq_steps=2", steps=100_000
    )
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", network, "sh", *COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
    )

    def until_step(step: int) -> None:
        while newest_step(tmp_path) < step and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)

    until_step(2)
    leave = ["nsenter", "-t", str(process.pid), "-n", "ip", "addr", "del", "10.9.9.1/24"]
    subprocess.run([*leave, "dev", "lo"], check=True)
    before = newest_step(tmp_path)
    # Weights go to the worker and rows come back from it many times.
    until_step(before + 200)
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert newest_step(tmp_path) >= before + 200
    assert commits(tmp_path)
