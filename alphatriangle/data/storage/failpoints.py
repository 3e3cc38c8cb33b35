"""Named places in which a test can end the process as a power cut would.

``ALPHATRIANGLE_FAILPOINT=name`` kills the process, with SIGKILL, when it gets there for the first
time; ``name:3`` the third time. Without the variable a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

FAILPOINTS: Final = (
    "start.loaded",
    "start.warm",
    "start.recorded",
    "start.prepared",
    "train.rows",
    "capture.begin",
    "capture.end",
    "write.segment",
    "write.buffer",
    "write.checkpoint",
    "write.episodes",
    "commit.before",
    "commit.after",
    "commit.read-back",
    "links.checkpoint",
    "links.end",
    "retention.commits",
    "retention.file",
    "retention.end",
    "newest.noted",
    "merge.segment",
    "outbox.uploaded",
    "outbox.logged",
    "replica.linked",
    "replica.object",
    "replica.commit",
    "replica.checked",
    "replica.head",
    "replica.gc",
)

_name, _, _count = os.environ.get("ALPHATRIANGLE_FAILPOINT", "").partition(":")
_left = int(_count) if _count.isdigit() else 1


def failpoint(name: str) -> None:
    """End the process here, if this is where the environment says so."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
