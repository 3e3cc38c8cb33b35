"""Which keys there can be: those that mean the same in every store, and lead out of no folder."""

from __future__ import annotations

import unicodedata
from typing import Final

_FORBIDDEN: Final = frozenset('\\:*?"<>|')
_LONGEST_PART: Final = 255  # bytes: a file name
_LONGEST_KEY: Final = 900  # bytes: S3 takes 1,024 with what the address adds


def what_is_wrong(key: str) -> str | None:
    """Why this cannot be a key, in a few words, or None.

    A key is parts between slashes. None is empty or begins with a dot, so that no key is hidden,
    leads upwards, or is that of a file that is still being written.
    """
    if not key:
        return "it is empty"
    if len(key.encode(errors="replace")) > _LONGEST_KEY:
        return f"it is longer than {_LONGEST_KEY} bytes"
    for part in key.split("/"):
        if not part:
            return "there is nothing between two slashes"
        if part.startswith("."):
            return f"{part!r} begins with a dot"
        if len(part.encode(errors="replace")) > _LONGEST_PART:
            return f"a part is longer than {_LONGEST_PART} bytes"
        for character in part:
            # Category C: control characters, halves of surrogate pairs.
            if character in _FORBIDDEN or unicodedata.category(character)[0] == "C":
                return f"it contains {character!r}"
    return None


def check_key(key: str) -> str:
    """The key.

    Raises:
        ValueError: it cannot be one: a mistake of the caller.
    """
    if (problem := what_is_wrong(key)) is not None:
        raise ValueError(f"{key!r} cannot be a key: {problem}")
    return key


def check_prefix(prefix: str) -> str:
    """A prefix to list: keys' first parts, and a slash.

    Raises:
        ValueError: it cannot be one.
    """
    if not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} cannot be a prefix: it does not end with a slash")
    check_key(prefix[:-1])
    return prefix
