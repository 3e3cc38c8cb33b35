"""``make soak``: the long form of the proof, the gate on it, the suite with the lowest versions
that are declared, and the figures at the end.

Writes them to ``soak.json`` too. Takes several hours on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """Run everything; 0 when nothing failed and no mutant survived."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes.jsonl"
        environment = {
            **os.environ,
            "ALPHATRIANGLE_SOAK": "1",
            "ALPHATRIANGLE_SOAK_REPORT": str(notes),
        }
        pytest = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal"]
        proof = subprocess.run(
            [*pytest, "--timeout", "36000", "tests/durability", "tests/training/cluster"],
            cwd=ROOT,
            env=environment,
            check=False,
        )
        lines = notes.read_text().splitlines() if notes.exists() else []
    gate = subprocess.run(
        [sys.executable, "-m", "tests.durability.gate"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    sys.stdout.write(gate.stdout)
    minimum = subprocess.run(["make", "test-minimum"], cwd=ROOT, check=False)
    figures: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for note in map(json.loads, lines):
        name = note.pop("name")
        for key, value in note.items():
            figures[name][key] += value
    results = {
        "passed": proof.returncode == 0,
        "seconds": round(time.monotonic() - begin),
        "tried": figures,
        "gate": json.loads(gate.stdout.splitlines()[-1]),
        "minimum_versions": minimum.returncode == 0,
    }
    (ROOT / "soak.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, counts in figures.items():
        said = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counts.items())
        sys.stdout.write(f"{name:<32} {said}\n")
    sys.stdout.write(f"survivors of the gate: {results['gate']['survivors'] or 'none'}\n")
    return proof.returncode or gate.returncode or minimum.returncode


if __name__ == "__main__":
    sys.exit(main())
