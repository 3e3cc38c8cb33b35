"""State that gets the form it is saved in behind the training thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class LateState:
    """What is known now, and how it is brought into a form that takes more time.

    A save copies ``now`` and lets its own thread do the rest.
    """

    now: Any
    form: Callable[[Any], dict[str, Any]]
    """Takes a copy of ``now``; what it returns is part of the saved state."""

    def formed(self) -> dict[str, Any]:
        """At once."""
        return self.form(self.now)
