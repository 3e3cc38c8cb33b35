"""A Ray cluster of nodes that share nothing but the processor and the files of the package.

Each node is a set of namespaces of its own (network, mounts, host name, processes), joined by a
bridge in another network namespace. A node dies with its first process, as a machine does when it
loses its power; its link goes down as when its cable is pulled. Needs Linux, root, util-linux and
iproute2; :func:`why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alphatriangle

PORT = 6379
PACKAGE = Path(alphatriangle.__file__).parent
_RAY_FILES = Path("/tmp/ray")
_OF_THE_TESTS = ("RAY_", "ALPHATRIANGLE_", "MLFLOW_", "PYTEST_", "PYTHONBREAKPOINT")


def why_not() -> str | None:
    """Why there can be no such nodes here; None where there can."""
    if missing := [t for t in ("unshare", "nsenter", "ip", "mount") if shutil.which(t) is None]:
        return f"needs {', '.join(missing)} (packages util-linux and iproute2)"
    flags = ["-n", "-m", "-u", "-p", "-f", "--kill-child"]
    link = ["ip", "link", "add", "type", "veth"]
    made = subprocess.run(["unshare", *flags, *link], check=False, capture_output=True, text=True)
    return None if made.returncode == 0 else f"needs root and namespaces: {made.stderr.strip()}"


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """What the condition says as soon as that is true."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return answer


class _Holder:
    """A process in whose namespaces others run; they end with it, and it ends with this process,
    however that ends: its standard input is a pipe from here."""

    def __init__(self, *flags: str) -> None:
        # It says so when it is in its namespaces.
        hold = ["sh", "-c", "echo here; exec cat > /dev/null"]
        self._process = subprocess.Popen(
            ["unshare", *flags, "-f", "--kill-child", *hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == b"here\n", self._process.communicate()[1].decode()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.pid = int(children.read_text())

    def enter(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-a", *command]

    def run(self, *command: str, check: bool = True, **more: Any) -> str:
        done = subprocess.run(
            self.enter(*command), check=False, capture_output=True, text=True, timeout=120, **more
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout + done.stderr

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


class Node(_Holder):
    """A machine. Its files of Ray, and what is laid over the package, are its own."""

    def __init__(self, name: str, number: int, switch: _Holder, folder: Path) -> None:
        super().__init__("-n", "-m", "-u", "-p", "--mount-proc")
        self.name = name
        self.address = f"10.77.0.{number}"
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment: dict[str, str] = {}
        self._switch = switch
        self._port = f"port{number}"
        _RAY_FILES.mkdir(exist_ok=True)
        self.run("hostname", name)
        self.run("mount", "-t", "tmpfs", "ray", str(_RAY_FILES))
        # Nobody here knows names: whoever asks for one hears that at once.
        self.run("mount", "--bind", "/dev/null", "/etc/resolv.conf")
        links = ["ip", "link", "add", "eth0", "netns", str(self.pid), "type", "veth"]
        subprocess.run([*links, "peer", "name", self._port, "netns", str(switch.pid)], check=True)
        for line in (
            "ip link set lo up",
            f"ip addr add {self.address}/24 dev eth0",
            "ip link set eth0 up",
            "ip route add default dev eth0",
        ):
            self.run(*line.split())
        switch.run("ip", "link", "set", self._port, "master", "bridge0", "up")

    def environ(self, **more: str) -> dict[str, str]:
        """A machine is told nothing that the process of the tests has been told."""
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(_OF_THE_TESTS)}
        ours = {
            "PYTHONPATH": str(PACKAGE.parent),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "PYTHONUNBUFFERED": "1",
        }
        return {**theirs, **ours, **self.environment, **more}

    def ray(self, *arguments: str, check: bool = True) -> str:
        """A command of Ray's on this node."""
        ray = str(Path(sys.executable).parent / "ray")
        return self.run(ray, *arguments, check=check, env=self.environ(), cwd=self.folder)

    def start_head(self, cpus: int, *more: str) -> None:
        """Become the cluster's head."""
        self.ray(
            "start",
            "--head",
            f"--port={PORT}",
            "--include-dashboard=false",
            *self._own(cpus),
            *more,
        )

    def join(self, head: Node, cpus: int, *more: str) -> None:
        """Become a node of the cluster."""
        self.ray("start", f"--address={head.address}:{PORT}", *self._own(cpus), *more)

    def _own(self, cpus: int) -> list[str]:
        address = f"--node-ip-address={self.address}"
        return [
            address,
            f"--num-cpus={cpus}",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
        ]

    def start(self, command: list[str], output: Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command on this node, whose output goes to a file, its errors beside it."""
        with output.open("w") as f, output.with_suffix(".errors").open("w") as errors:
            return subprocess.Popen(
                self.enter(*command),
                stdin=subprocess.DEVNULL,
                stdout=f,
                stderr=errors,
                text=True,
                cwd=self.folder,
                env=self.environ(**environment),
            )

    def signal(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """To a command that was started on this node, which is a child of what entered it."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for pid in children.read_text().split():
            os.kill(int(pid), number)

    def lay_over(self, original: Path, other: Path) -> None:
        """On this node, ``original`` is what ``other`` is."""
        self.run("mount", "--bind", str(other), str(original))

    def unplug(self) -> None:
        """Nothing goes out or comes in."""
        self._switch.run("ip", "link", "set", self._port, "down")

    def plug_in(self) -> None:
        """As before."""
        self._switch.run("ip", "link", "set", self._port, "up")

    def processes(self, words: str) -> list[int]:
        """Which processes of this node have these words in their command; ids out here."""
        found = []
        space = Path(f"/proc/{self.pid}/ns/pid").readlink()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words in command and (entry / "ns/pid").readlink() == space:
                    found.append(pid)
        return found

    def kill(self, words: str) -> None:
        """SIGKILL to every process of this node whose command has these words."""
        found = self.processes(words)
        assert found, words
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Nodes:
    """The machines and the switch between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._switch = _Holder("-n", "-p")
        self._count = 0
        self.alive: dict[str, Node] = {}
        self._switch.run("ip", "link", "add", "bridge0", "type", "bridge")
        self._switch.run("ip", "link", "set", "bridge0", "up")

    def add(self, name: str) -> Node:
        """A machine that runs nothing yet."""
        self._count += 1
        node = self.alive[name] = Node(name, self._count, self._switch, self.folder)
        return node

    def lose(self, node: Node) -> None:
        """Its power goes."""
        self.alive.pop(node.name).end()

    def close(self) -> None:
        """Everything ends."""
        for node in list(self.alive.values()):
            self.lose(node)
        self._switch.end()


@contextlib.contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    """Machines until the end of the block, or of this process; their files are in ``folder``."""
    made = Nodes(folder)
    try:
        yield made
    finally:
        made.close()
