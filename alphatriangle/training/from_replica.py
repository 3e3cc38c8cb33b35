"""A run that is meant and lies elsewhere is brought here, before anything is planned with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from alphatriangle.config import PersistenceConfig, merge
from alphatriangle.data.commits.files import commit_names
from alphatriangle.data.errors import RunExistsError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.replica.opening import bring_here, is_in_replica
from alphatriangle.data.replica.restoring import Restored, restore_replica
from alphatriangle.data.stores.addresses import (
    is_address,
    open_store,
    parse_address,
    split_run_url,
)
from alphatriangle.training.display.display import Display
from alphatriangle.training.run_plan import Asked, TrainRequest, what_is_asked

_NEVER: Final = "never"


def with_run_here(request: TrainRequest, display: Display) -> TrainRequest:
    """The request, where the run that it means may be planned with.

    ``--resume URL`` means the run at that URL: it is restored where it is not here, and goes on
    being replicated there. So is a run with a name and a replica that has no commits here.

    Raises:
        RunExistsError: a new run is asked for, and the replica has one of that name.
        StoreAddressError: a URL is none.
        ReplicaNotFoundError: there is no run at the URL.
        DataError: it cannot be restored; see :func:`restore_replica`.
    """
    asked = what_is_asked(request)
    if asked.persistence.replica is not None:
        # Said before anything else is: whatever it would be used for.
        parse_address(asked.persistence.replica)
    if is_address(request.resume):
        return _from_address(asked, display)
    if asked.persistence.replica is None or asked.name is None:
        return request
    if request.resume == _NEVER:
        _refuse_if_there(asked.persistence, asked.name)
    elif request.resume == "auto":
        paths = PathManager(asked.persistence, asked.name)
        with display.phase(f"looking for run {asked.name!r} in its replica"):
            restored = bring_here(asked.persistence, paths)
        if restored is not None:
            _tell(restored, asked.name, str(asked.persistence.replica), display)
    return request


def _from_address(asked: Asked, display: Display) -> TrainRequest:
    url = asked.request.resume
    replica, name = split_run_url(url)
    wanted = asked.name or name
    paths = PathManager(asked.persistence, wanted)
    if wanted != name or not commit_names(paths):
        with display.phase(f"restoring {url}"):
            restored = restore_replica(
                asked.persistence,
                open_store(replica),
                name,
                new_name=None if wanted == name else wanted,
            )
        _tell(restored, wanted, url, display)
    settings = asked.request.settings or {}
    if wanted == name and "replica" not in settings.get("persistence", {}):
        settings = merge(settings, {"persistence": {"replica": replica}})
    return replace(asked.request, resume="auto", run_name=wanted, settings=settings)


def _refuse_if_there(persistence: PersistenceConfig, name: str) -> None:
    if is_in_replica(persistence, name):
        raise RunExistsError(
            f"run {name!r} is in the replica {persistence.replica} and --resume never was given; "
            "choose another --run-name, or leave --resume away to go on with it"
        )


def _tell(restored: Restored, name: str, url: str, display: Display) -> None:
    size = restored.bytes_downloaded / 1e6
    display.note(
        f"restored run {name!r} at step {restored.commit.global_step} from {url} ({size:.1f} MB)"
    )
    for rejected in restored.rejected:
        display.note(f"passed over a damaged commit: {rejected.path}: {rejected.reason}")
    for file in restored.damaged:
        display.note(f"lost, but no part of the training state: {file.path}: {file.reason}")
