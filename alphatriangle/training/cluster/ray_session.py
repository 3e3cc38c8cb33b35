"""The Ray that workers run in: a private one on this machine, or a cluster somebody names.

A Ray of our own is nobody else's business and depends on no network: it listens on the loopback
interface only, keeps its files in a folder of its own that only this user can enter, ignores every
other Ray on the machine, and is gone with the process that started it. What Ray has to be told for
that is partly not public, so all of it is here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

_FOLDER_PREFIX: Final = "atr-ray-"
# Below its folder Ray makes sockets with names like these, of at most 107 bytes (103 on macOS).
_LONGEST_NAME: Final = "/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_LONGEST_SOCKET: Final = 103 if sys.platform == "darwin" else 107
_LEAST_FREE_BYTES: Final = 64 << 20
# Weights of a few versions and results on their way; pages that are not used cost nothing.
_OBJECT_STORE_BYTES: Final = 512 << 20
_PROBE_SECONDS: Final = 5.0
# A folder this old whose lock is free was left by a process that is dead, not one that is starting.
_STALE_SECONDS: Final = 60.0
_SET_BY_RAY: Final = {"PYTHONBREAKPOINT"}


class NoRayError(RuntimeError):
    """Ray cannot be started or reached; the message says why and what to do."""


def import_ray(*, loopback: bool) -> None:
    """Import Ray so that it neither prints nor sends what belongs to nobody here.

    With ``loopback``, and when nobody has imported it before, it takes 127.0.0.1 for the address of
    this machine, as it does by itself on macOS and Windows. Otherwise it takes the address that
    this machine has at the moment, and ends every process when that changes.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if loopback:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray  # noqa: F401 - it sets the level of its logger

    # Its notes on security modes belong to Ray's logs, not over the display.
    logging.getLogger("ray").setLevel(logging.ERROR)


def named_address() -> str | None:
    """The cluster that RAY_ADDRESS names, or None."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


def probe(address: str) -> bool:
    """Find out in 5 s whether somebody listens at ``host:port`` or ``ray://host:port``.

    Returns:
        Whether it is a Ray that is on this machine's loopback interface only.

    Raises:
        NoRayError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    host = host.strip("[]")
    try:
        _connect(host, int(port))
    except (OSError, ValueError, OverflowError) as e:
        raise NoRayError(
            f"no Ray can be reached at {address!r} ({_said(e)}), which RAY_ADDRESS names; "
            "unset RAY_ADDRESS to use this machine alone, or --workers 0 to do without Ray"
        ) from e
    if host not in ("127.0.0.1", "localhost", "::1"):
        return False
    try:
        # What Ray puts in the place of these names.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
            outward.connect(("8.8.8.8", 53))
            _connect(outward.getsockname()[0], int(port))
    except OSError:
        return True
    return False


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()


@contextlib.contextmanager
def _environment_of_ray() -> Iterator[None]:
    """What Ray is told through this process's environment ends with the block: later processes of
    this one are told something else."""

    def told() -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if k.startswith("RAY_") or k in _SET_BY_RAY}

    before = told()
    try:
        yield
    finally:
        for name in told():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def cluster(address: str, *, package: str | None = None) -> Iterator[None]:
    """Within it, this process is connected to the Ray at ``address``.

    ``package`` is the folder of a package that Ray shall bring to every node for us.

    Raises:
        NoRayError: nobody answers there, or not as this version of Ray does.
    """
    loopback = address != "auto" and probe(address)
    with _environment_of_ray():
        try:
            import_ray(loopback=loopback)
            import ray

            travels = {} if package is None else {"runtime_env": {"py_modules": [package]}}
            ray.init(
                address,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                **travels,
            )
        except (Exception, SystemExit) as e:
            # Ray raises bare exceptions here and, of its own, some that are no RayError.
            raise NoRayError(_not_joined(address, e)) from e
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def own_ray(cpus: int) -> Iterator[None]:
    """Within it there is a Ray of this process, with its files in a private folder.

    Raises:
        NoRayError: it cannot be started.
    """
    with _environment_of_ray(), private_folder(_temporary_folders()) as folder:
        # A Redis that other Rays use is no place for this one's state.
        os.environ.pop("RAY_REDIS_ADDRESS", None)
        _use_token()
        try:
            import_ray(loopback=True)
            import ray

            ray.init(
                "local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                _temp_dir=str(folder / "r"),
            )
        except (Exception, SystemExit) as e:
            # Ray raises bare exceptions here and, of its own, some that are no RayError.
            _print_logs(folder)
            raise NoRayError(
                f"Ray cannot be started on this machine: {_said(e)}; --workers 0 does without it"
            ) from e
        try:
            yield
        finally:
            ray.shutdown()


def _not_joined(address: str, error: BaseException) -> str:
    token = ""
    if "InvalidAuthToken" in f"{error} {error.__cause__}":
        token = " (it wants its token: RAY_AUTH_MODE=token, and ~/.ray/auth_token from there)"
    return (
        f"the Ray at {address!r}, which RAY_ADDRESS names, cannot be joined: {_said(error)}{token};"
        " unset RAY_ADDRESS to use this machine alone, or --workers 0 to do without Ray"
    )


def dead_processes() -> list[str]:
    """Which of the processes that make up our own Ray have ended."""
    import ray

    node = ray._private.worker._global_node
    return [] if node is None else [name for name, _ in node.dead_processes()]


@contextlib.contextmanager
def private_folder(bases: Sequence[Path]) -> Iterator[Path]:
    """A new folder, for this user only and while it lasts, in the first of ``bases`` that will do.

    What killed processes left there is removed.

    Raises:
        NoRayError: none can be used; the message says why for each.
    """
    for base in bases:
        _remove_stale(base)
    folder = _make_folder(bases)
    lock = FileLock(folder / "lock")
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_folders() -> list[Path]:
    """Where temporary files may go: where the person wants them, then the usual places."""
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR")]
    usual = ["/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/var/tmp", "/dev/shm"]
    found = [Path(name) for name in [*named, *usual] if name]
    return [base for base in dict.fromkeys(found) if base.is_absolute() and base.is_dir()]


def _make_folder(bases: Sequence[Path]) -> Path:
    problems = []
    for base in bases:
        sample = f"{base}/{_FOLDER_PREFIX}12345678{_LONGEST_NAME}"
        over = len(os.fsencode(sample)) - _LONGEST_SOCKET
        try:
            if over > 0:
                problems.append(f"{base} (its path is {over} bytes too long)")
            elif shutil.disk_usage(base).free < _LEAST_FREE_BYTES:
                problems.append(f"{base} (it is full)")
            else:
                # Ray opens its own folder to everybody; this one around it stays closed.
                return Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=base))
        except OSError as e:
            problems.append(f"{base} ({e.strerror})")
    raise NoRayError(
        "Ray needs a folder for temporary files and can use none of "
        f"{', '.join(problems)}; set RAY_TMPDIR to a short path where there is room, "
        "or use --workers 0"
    )


def _remove_stale(base: Path) -> None:
    """Remove what processes left that were killed."""
    for folder in base.glob(f"{_FOLDER_PREFIX}*"):
        try:
            status = folder.stat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _STALE_SECONDS:
                continue
            with FileLock(folder / "lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):
            # In use, or somebody else's to look after.
            continue


def _use_token() -> None:
    """Where the person's home takes no files, Ray's token of this session is in no file."""
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "auth_token").is_file() or os.access(folder, os.W_OK | os.X_OK):
            return
    except (OSError, RuntimeError):
        # No home, or none that takes files.
        pass
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _print_logs(folder: Path) -> None:
    """The ends of what Ray's processes have said, before their folder goes."""
    for path in sorted(folder.glob("r/session_latest/logs/*.err")):
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()[-20:]
            sys.stderr.write("\n".join([f"{path.name}:", *lines, ""]))


def _said(error: BaseException) -> str:
    """The first line of an error, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
