"""URLs of stores: what one means, and what cannot be one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from urllib.request import url2pathname

from alphatriangle.data.path_manager import check_run_name
from alphatriangle.data.stores.folder import FolderStore
from alphatriangle.data.stores.keys import what_is_wrong
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import Store, StoreAddressError

EXAMPLES: Final = "s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///folder"
_REMOTE: Final = ("s3", "gs", "az")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")


class Address(NamedTuple):
    """Where a store is."""

    scheme: str
    bucket: str
    """Empty for a folder."""
    folder: str
    """The first part of every key in a bucket, perhaps empty; or the absolute path of a folder."""

    @property
    def url(self) -> str:
        """In the one form that is shown and remembered."""
        if self.scheme == "file":
            return Path(self.folder).as_uri()
        return f"{self.scheme}://{self.bucket}" + (f"/{self.folder}" if self.folder else "")


def is_address(text: str) -> bool:
    """Whether this is meant to be the URL of a store, and no name or path."""
    return "://" in text


def parse_address(url: str) -> Address:
    """What a URL means. Names are taken as they are, but in ``file://``, where ``%20`` is a space.

    Raises:
        StoreAddressError: it is none; the message does not hold a password that is in it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise _refused(url, f"it is not like {EXAMPLES}")
    if scheme not in (*_REMOTE, "file"):
        raise _refused(url, f"{scheme!r} is not a kind of store; there are {EXAMPLES}")
    authority, _, folder = rest.partition("/")
    if "@" in authority or (":" in authority and scheme != "file"):
        raise _refused(
            url,
            "no user and no password here, where they would be saved and shown: they come from "
            "the environment, a profile, or the machine's role",
        )
    if "?" in rest:
        raise _refused(url, "there is a question mark in it; settings come from the environment")
    if scheme == "file":
        return Address("file", "", _folder_of(url, authority, folder))
    if not authority:
        raise _refused(url, "it names no bucket")
    if not _BUCKET.fullmatch(authority):
        raise _refused(url, f"{authority!r} cannot be the name of a bucket")
    folder = folder.rstrip("/")
    if folder and (problem := what_is_wrong(folder)) is not None:
        raise _refused(url, problem)
    return Address(scheme, authority, folder)


def _folder_of(url: str, authority: str, path: str) -> str:
    if authority not in ("", "localhost"):
        raise _refused(url, "a folder's URL has three slashes and its whole path: file:///folder")
    folder = Path(url2pathname("/" + path))
    if "\0" in unquote(path):
        raise _refused(url, "it contains a NUL")
    if not folder.is_absolute() or folder == Path(folder.anchor):
        raise _refused(url, "it names no folder")
    if ".." in folder.parts:
        raise _refused(url, "it leads upwards")
    return str(folder)


def _refused(url: str, problem: str) -> StoreAddressError:
    # What stands before the last @ may be a password, and so may what comes after a ?.
    scheme, separator, rest = url.partition("?")[0].partition("://")
    _, at, after = rest.rpartition("@")
    secret = at or ":" in rest.partition("/")[0]
    shown = f"{scheme}{separator}***{at}{after if at else ''}" if secret else url.partition("?")[0]
    return StoreAddressError(f"{shown!r} cannot be the address of a store: {problem}")


def run_url(url: str, run_name: str) -> str:
    """The URL of a run in the store at ``url``, which is in the form that is shown."""
    return f"{url}/{quote(run_name) if url.startswith('file:') else run_name}"


def split_run_url(url: str) -> tuple[str, str]:
    """The URL of the store that a run is in, and the name of the run.

    Raises:
        StoreAddressError: it is not the URL of a run.
        InvalidRunNameError: its last part cannot be the name of a run.
    """
    address = parse_address(url)
    if address.scheme == "file":
        above, name = str(Path(address.folder).parent), Path(address.folder).name
        is_one = above != Path(above).anchor
    else:
        above, _, name = address.folder.rpartition("/")
        is_one = bool(name)
    if not is_one:
        raise _refused(url, "the last part of a run's address is its name, after that of a store")
    return address._replace(folder=above).url, check_run_name(name)


def open_store(url: str) -> Store:
    """The store at a URL; nothing is asked of it yet.

    Raises:
        StoreAddressError: the URL is none.
    """
    address = parse_address(url)
    if address.scheme == "file":
        return FolderStore(Path(address.folder))
    return RemoteStore(address.scheme, address.bucket, address.folder)
