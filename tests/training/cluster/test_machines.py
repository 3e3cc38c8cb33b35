"""The machines that clusters are tested on: alone among themselves, and gone with who made them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.nodes import Nodes, nodes, until, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
ANSWERS = "import socket; socket.create_connection(('10.77.0.1', 6379), timeout=5)"
LISTENS = "import socket, time; s = socket.create_server(('10.77.0.1', 6379)); time.sleep(1e6)"


def asks(machines: Nodes, output: Path) -> str:
    """One machine listens on the port of a cluster's head; what another hears of it, or why not."""
    first, second = machines.add("alpha"), machines.add("beta")
    first.start([sys.executable, "-c", LISTENS], output)
    listening = f":{6379:04X} 00000000:0000 0A"
    until(lambda: listening in first.run("cat", "/proc/net/tcp"), 20, "somebody who listens")
    answer = second.run(sys.executable, "-c", ANSWERS, check=False)
    second.unplug()
    cut_off = second.run(sys.executable, "-c", ANSWERS, check=False)
    assert "Error" in cut_off, "a link that is cut carries nothing"
    return answer


def test_two_clusters_at_a_time_know_nothing_of_each_other(tmp_path: Path) -> None:
    """As two workers of pytest have them: the same names, addresses, ports and files."""
    folders = [tmp_path / "one", tmp_path / "two"]
    with nodes(folders[0]) as one, nodes(folders[1]) as two:
        assert asks(one, tmp_path / "first") == ""
        first, second = one.alive["alpha"], two.add("alpha")
        assert first.address == second.address
        Path("/tmp/ray").mkdir(exist_ok=True)
        first.run("touch", "/tmp/ray/mine")
        assert "mine" not in second.run("ls", "/tmp/ray")
        assert not Path("/tmp/ray/mine").exists()
        other = two.add("beta")
        refused = other.run(sys.executable, "-c", ANSWERS, check=False)
        assert "ConnectionRefusedError" in refused, "that port is the other cluster's"


def test_a_machine_is_told_nothing_of_what_the_tests_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ray within this process leaves words for later ones: all nodes failed for that once."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("ALPHATRIANGLE_TRAIN__SEED", "3")
    with nodes(tmp_path) as machines:
        node = machines.add("alpha")
        told = node.run("env", env=node.environ())
    assert "RAY_ENABLE" not in told
    assert "ALPHATRIANGLE_TRAIN" not in told
    assert "PYTHONPATH=" in told


def test_a_run_that_is_killed_leaves_no_machine(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.helpers.nodes import nodes\n"
        f"with nodes(Path({str(tmp_path)!r})) as made:\n"
        "    node = made.add('alpha')\n"
        f"    node.start(['sleep', 'infinity'], Path({str(tmp_path / 'output')!r}))\n"
        "    print(node.pid, flush=True)\n"
        "    sys.stdin.read()"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    space = Path(f"/proc/{int(run.stdout.readline())}/ns/pid").readlink()
    assert in_space(space)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    until(lambda: not in_space(space), 20, "an end of all its processes")


def in_space(space: Path) -> list[str]:
    """Processes of a machine."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "ns/pid").readlink() == space:
                found.append(entry.name)
        except OSError:
            continue  # it has ended
    return found
