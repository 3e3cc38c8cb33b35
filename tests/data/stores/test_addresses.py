"""Which URLs are those of stores, and what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatriangle.data.errors import InvalidRunNameError
from alphatriangle.data.stores.addresses import (
    is_address,
    open_store,
    parse_address,
    run_url,
    split_run_url,
)
from alphatriangle.data.stores.folder import FolderStore
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import StoreAddressError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("s3://my.bucket-1/some/where/", ("s3", "my.bucket-1", "some/where")),
        ("gs://bucket_1/a%20b#1", ("gs", "bucket_1", "a%20b#1")),
        ("az://container/alphatriangle", ("az", "container", "alphatriangle")),
        ("file:///mnt/disk", ("file", "", "/mnt/disk")),
        ("file://localhost/mnt/a%20b/", ("file", "", "/mnt/a b")),
    ],
)
def test_what_a_url_means(url: str, address: tuple[str, str, str]) -> None:
    assert parse_address(url) == address
    assert parse_address(parse_address(url).url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "not like s3://"),
        ("bucket/folder", "not like s3://"),
        ("s3:bucket", "not like s3://"),
        ("ftp://host/folder", "not a kind of store"),
        ("https://bucket.s3.amazonaws.com/folder", "not a kind of store"),
        ("S3://bucket", "not a kind of store"),
        ("s3://", "names no bucket"),
        ("s3:///folder", "names no bucket"),
        ("s3://b", "cannot be the name of a bucket"),
        ("s3://bück/folder", "cannot be the name of a bucket"),
        ("s3://bucket//folder", "nothing between two slashes"),
        ("s3://bucket/../other", "begins with a dot"),
        ("s3://bucket/.hidden", "begins with a dot"),
        ("s3://bucket/folder?region=x", "question mark"),
        ("file://", "names no folder"),
        ("file:///", "names no folder"),
        ("file://host/folder", "three slashes"),
        ("file://folder", "three slashes"),
        ("file:///a/../b", "leads upwards"),
        ("file:///a%00b", "NUL"),
    ],
)
def test_what_is_none_is_refused_and_why(url: str, why: str) -> None:
    with pytest.raises(StoreAddressError, match=why):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:swordfish@bucket/folder",
        "s3://swordfish@bucket/folder",
        "s3://user:swordfish/x@bucket/folder",
        "s3://user:swordfish",
        "s3://bucket/folder?secret=swordfish",
        "file://user:swordfish@host/folder",
        "https://user:swordfish@host/bucket",
        "ftp://user:swordfish@host?x=swordfish",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StoreAddressError) as raised:
        parse_address(url)
    assert "swordfish" not in str(raised.value)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/some/where", "file:///mnt/a%20b"])
@pytest.mark.parametrize("name", ["first", "two words", "100%20", "grün#1"])
def test_the_name_of_a_run_is_the_last_part_of_its_url(url: str, name: str) -> None:
    assert split_run_url(run_url(url, name)) == (url, name)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "file:///run"])
def test_the_url_of_a_store_alone_is_not_that_of_a_run(url: str) -> None:
    with pytest.raises(StoreAddressError, match="last part"):
        split_run_url(url)


def test_what_cannot_be_the_name_of_a_run_is_refused() -> None:
    with pytest.raises(InvalidRunNameError):
        split_run_url("s3://bucket/x" + "y" * 250)


def test_a_store_is_opened_without_asking_anything() -> None:
    store = open_store("s3://no-such-bucket/some/where")
    assert isinstance(store, RemoteStore)
    assert store.url == "s3://no-such-bucket/some/where"
    folder = open_store("file:///no/such/folder")
    assert isinstance(folder, FolderStore)
    assert (folder.url, folder.root) == ("file:///no/such/folder", Path("/no/such/folder"))


def test_an_address_is_told_from_a_name_and_a_path() -> None:
    assert is_address("s3://bucket/run")
    assert not is_address("first")
    assert not is_address("/data/runs/first")
