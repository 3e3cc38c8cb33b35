"""A cluster of three nodes, and trainings on nodes of it, told by their JSON lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.helpers.nodes import PORT, Node, Nodes, until
from tests.training.command import COMMAND, train_arguments


class Here:
    """This machine, where there can be no others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, command: list[str], output: Path, **environment: str) -> subprocess.Popen[str]:
        """As :meth:`Node.start`."""
        with output.open("w") as f, output.with_suffix(".errors").open("w") as errors:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=f,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )

    def signal(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        """As :meth:`Node.signal`."""
        process.send_signal(number)


class Training:
    """Started at once; :meth:`stop` asks it to end, :meth:`close` does not ask."""

    def __init__(
        self,
        node: Node | Here,
        head: Node | str,
        *more: str,
        folder: str = "first",
        **environment: str,
    ) -> None:
        self.node = node
        self.data = node.folder / folder / "data"
        self.output = node.folder / folder / "output"
        self.data.mkdir(parents=True)
        arguments = train_arguments(self.data, "--log-format", "json", *more, steps=1_000_000)
        address = f"{head.address}:{PORT}" if isinstance(head, Node) else head
        environment = {"RAY_ADDRESS": address, **environment}
        self.process: subprocess.Popen[str] = node.start(
            [*COMMAND, *arguments], self.output, **environment
        )

    def errors(self) -> str:
        """What it has said beside that."""
        return self.output.with_suffix(".errors").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """All that it has said, each line an object."""
        text = self.output.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def progress(self) -> list[dict[str, Any]]:
        """How it went."""
        return [line for line in self.lines() if line["event"] == "progress"]

    def now(self) -> dict[str, Any]:
        """The newest of that."""
        return ([{"step": -1, "workers": None, "problem": None}] + self.progress())[-1]

    def nodes(self) -> dict[str, dict[str, Any]]:
        """How the nodes are, by name."""
        workers = self.now()["workers"] or {}
        return {node["name"]: node for node in workers.get("nodes", [])}

    def counts(self) -> list[int]:
        """Workers at work on each node, where nodes have no names of their own; ascending."""
        workers = self.now()["workers"] or {}
        return sorted(node["running"] for node in workers.get("nodes", []))

    def running(self) -> dict[str, int]:
        """Workers at work, by node."""
        return {name: node["running"] for name, node in self.nodes().items() if node["running"]}

    def until(self, condition: Any, seconds: float, what: str) -> float:
        """Wait for it; how long that took."""
        began = time.monotonic()

        def holds() -> bool:
            assert self.process.poll() is None, self.output.read_text()[-2000:] + self.errors()
            return bool(condition())

        try:
            until(holds, seconds, what)
        except AssertionError as e:
            raise AssertionError(f"{e}; {self.now()}") from None
        return time.monotonic() - began

    def until_steps(self, more: int, seconds: float = 60.0) -> None:
        """Wait until it has made so many further steps."""
        step = self.now()["step"]
        self.until(lambda: self.now()["step"] >= step + more, seconds, f"{more} steps")

    def longest_gap(self, since: float) -> float:
        """Seconds between two lines in which it made a step, at most; after the time ``since``."""
        gaps, before = [0.0], None
        for line in [line for line in self.progress() if line["time"] >= since]:
            if before is None or line["step"] > before["step"]:
                gaps.append(line["time"] - before["time"] if before else 0.0)
                before = line
        return max(gaps)

    def stop(self) -> dict[str, Any]:
        """Let it save and end; the last that it said."""
        self.node.signal(self.process, signal.SIGTERM)
        assert self.process.wait(90) == 0, self.output.read_text()[-2000:] + self.errors()
        return self.lines()[-1]

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.node.signal(self.process, signal.SIGKILL)
            self.process.wait()

    def log(self) -> str:
        """What the run's log says."""
        return next(Path(self.data).glob("runs/*/logs/train.log")).read_text()


class Cluster:
    """alpha, its head, beta, where training is, and gamma, of two CPUs each."""

    EVERYBODY = {"alpha": 2, "beta": 1, "gamma": 2}  # noqa: RUF012  (workers; a test's constant)

    def __init__(
        self, machines: Nodes, *more: str, head: Sequence[str] = (), **environment: str
    ) -> None:
        """``more`` are options of its training, ``head`` and ``environment`` those of its head."""
        self.machines = machines
        self.head = machines.add("alpha")
        self.head.environment |= environment
        self._head_options = head
        self.start_head()
        self._more = more
        self._training: Training | None = None
        self._trainings = 0

    def start_head(self) -> None:
        """Of a new cluster, unless it remembers one."""
        self.head.start_head(2, *self._head_options)

    def stop(self) -> None:
        """End the training, for another one."""
        if self._training is not None:
            self._training.close()

    def training(self) -> Training:
        """One that has workers everywhere; what is missing of that is started."""
        missing = [name for name in self.EVERYBODY if name not in self.machines.alive]
        self.join(*missing)
        if self._training is None or self._training.process.poll() is not None:
            self._trainings += 1
            folder = f"training-{self._trainings}"
            beta = self.machines.alive["beta"]
            self._training = Training(beta, self.head, *self._more, folder=folder)
        training = self._training
        training.until(lambda: training.running() == self.EVERYBODY, 120, "five workers")
        return training

    def join(self, *names: str) -> list[Node]:
        """Machines of two CPUs, new ones where there are none of these names, become nodes."""
        nodes = [self.machines.alive.get(n) or self.machines.add(n) for n in names]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.join(self.head, 2), nodes))
        return nodes
