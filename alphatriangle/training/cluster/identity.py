"""What a process runs on: two that play for the same training must be the same where it matters.

Other sources play other games; other versions of what computes may. Another processor is only
slower or faster: it chooses its own arithmetic and needs kernels of its own.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

import alphatriangle

_LIBRARIES: Final = ("numpy", "torch", "numba", "ray")


class Identity(NamedTuple):
    """Of one process."""

    package: str
    """Digest of the package's sources."""
    versions: dict[str, str]
    """Of Python and the libraries that games depend on; "missing" where one is."""
    processor: str
    """Name and capabilities: kernels compiled for one are right for another that says the same."""


@functools.cache
def here() -> Identity:
    """This process."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    versions |= {name: _version(name) for name in _LIBRARIES}
    return Identity(package_digest(Path(alphatriangle.__file__).parent), versions, _processor())


def package_digest(folder: Path) -> str:
    """A short digest of every module below ``folder``, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def difference(ours: Identity, theirs: Identity) -> str | None:
    """Why ``theirs`` cannot play for ``ours``; None when it can."""
    if theirs.package != ours.package:
        return f"its alphatriangle is other code ({theirs.package}, here {ours.package})"
    names = {**ours.versions, **theirs.versions}
    missing = "missing"
    other = [
        f"{name} {theirs.versions.get(name, missing)} (here {ours.versions.get(name, missing)})"
        for name in names
        if theirs.versions.get(name) != ours.versions.get(name)
    ]
    return f"it has {', '.join(other)}" if other else None


def _version(name: str) -> str:
    """Without what a build adds: +cpu and +cu126 are the same torch."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "missing"


def _processor() -> str:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    return f"{platform.machine()} {llvm.get_host_cpu_name()} {digest}"
