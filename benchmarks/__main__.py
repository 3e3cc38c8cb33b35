"""``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import importlib
import platform
import sys

from rich.console import Console
from rich.table import Table

from alphatriangle.utils.environment import keep_freed_memory

NAMES = (
    "game", "search", "together", "scale", "replay", "finite", "persistence", "frames", "kept",
    "replica", "crowd", "rounds",
)  # fmt: skip


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.stderr.write(f"error: no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}\n")
        return 2
    keep_freed_memory()
    table = Table(title=f"{platform.machine()}, Python {platform.python_version()}")
    for column in ("what", "value", "compared"):
        table.add_column(column)
    for name in names or NAMES:
        for result in importlib.import_module(f"benchmarks.{name}").run():
            table.add_row(*result)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
