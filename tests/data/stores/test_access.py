"""Keys, regions and endpoints: where they come from, and where they do not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatriangle.data.stores.access import endpoint_of, read_profile, s3_settings
from alphatriangle.data.stores.remote import RemoteStore
from alphatriangle.data.stores.store import (
    StoreAddressError,
    StoreDeniedError,
    StoreUnavailableError,
)
from tests.helpers.fault_proxy import Fault, FaultProxy
from tests.helpers.seaweedfs import BUCKET, OWNER, SeaweedFS, set_s3

CREDENTIALS = """
[default]
aws_access_key_id = default-key
aws_secret_access_key = default%secret

[other]
aws_access_key_id=other-key
aws_secret_access_key=other-secret
aws_session_token=other-token

[empty]
"""
CONFIG = """
[default]
region = eu-central-1
[profile other]
region = eu-west-1
endpoint_url = http://127.0.0.1:9000/
[profile login]
sso_session = company
[profile worker]
role_arn = arn:aws:iam::1:role/x
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with profiles."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def test_the_default_profile_is_read(home: dict[str, str]) -> None:
    assert s3_settings(home) == {
        "region": "eu-central-1",
        "access_key_id": "default-key",
        "secret_access_key": "default%secret",
    }


def test_a_profile_is_read(home: dict[str, str]) -> None:
    assert s3_settings({**home, "AWS_PROFILE": "other"}) == {
        "region": "eu-west-1",
        "endpoint": "http://127.0.0.1:9000",
        "access_key_id": "other-key",
        "secret_access_key": "other-secret",
        "session_token": "other-token",
    }


@pytest.mark.parametrize(
    "name",
    ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"],
)
def test_what_the_environment_has_goes_first(home: dict[str, str], name: str) -> None:
    more = {name: "x", "AWS_REGION": "us-west-2", "AWS_PROFILE": "other"}
    assert s3_settings({**home, **more}) == {"endpoint": "http://127.0.0.1:9000"}
    more["AWS_ENDPOINT_URL"] = "https://store.example"
    assert s3_settings({**home, **more}) == {"endpoint": "https://store.example"}


@pytest.mark.parametrize("name", ["login", "worker"])
def test_a_profile_that_cannot_be_followed_says_what_to_do(home: dict[str, str], name: str) -> None:
    with pytest.raises(StoreDeniedError, match=f"export-credentials --profile {name}"):
        s3_settings({**home, "AWS_PROFILE": name})


@pytest.mark.parametrize("name", ["empty", "nobody"])
def test_a_profile_without_keys_is_an_error(home: dict[str, str], name: str) -> None:
    with pytest.raises(StoreDeniedError, match=f"no keys of the AWS profile '{name}'"):
        s3_settings({**home, "AWS_PROFILE": name})


def test_a_file_of_profiles_that_is_none_is_not_repeated(home: dict[str, str]) -> None:
    path = Path(home["HOME"]) / ".aws" / "credentials"
    path.write_text("aws_secret_access_key = swordfish\n")
    with pytest.raises(StoreDeniedError, match="cannot be read as a file") as raised:
        read_profile(home)
    assert "swordfish" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_without_profiles_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert s3_settings({"HOME": str(tmp_path)}) == {}


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:9000",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://user:swordfish@host",
        "http://host/?x=swordfish",
        "http://host#x",
        "http://ho st",
        "http://höst",
    ],
)
def test_an_endpoint_is_the_url_of_a_server(endpoint: str) -> None:
    for scheme, name in (("s3", "AWS_ENDPOINT_URL"), ("az", "AZURE_ENDPOINT")):
        with pytest.raises(StoreAddressError) as raised:
            endpoint_of(scheme, {name: endpoint})
        assert "swordfish" not in str(raised.value)
        assert name in str(raised.value)


def test_an_endpoint_that_is_none_is_an_error_of_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_s3(monkeypatch, "::not a url")
    with pytest.raises(StoreAddressError, match="AWS_ENDPOINT_URL is no URL"):
        RemoteStore("s3", BUCKET).get("key", limit=1)


def test_the_endpoint_of_s3_alone_goes_first() -> None:
    both = {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "https://b/"}
    assert endpoint_of("s3", both) == "https://b"
    assert endpoint_of("gs", both) is None


def test_a_profile_is_enough_to_be_let_in(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_s3(monkeypatch, None, None)
    path = tmp_path / "credentials"
    path.write_text(
        f"[it]\naws_access_key_id={OWNER.key}\naws_secret_access_key={OWNER.secret}\n"
        f"endpoint_url={seaweedfs.url}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", "it")
    store = RemoteStore("s3", BUCKET, "access")
    store.overwrite("profile", b"1")
    assert store.get("profile", limit=1) == b"1"


@pytest.fixture
def metadata(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """What stands where a cloud's machines ask for the keys of their role."""
    with FaultProxy(seaweedfs.address) as proxy:
        set_s3(monkeypatch, seaweedfs.url)
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", proxy.url)
        yield proxy


def test_who_has_keys_does_not_ask_the_cloud_for_any(metadata: FaultProxy) -> None:
    RemoteStore("s3", BUCKET, "access").overwrite("keys", b"1")
    assert not metadata.requests


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(answer=403), Fault(answer=500)])
def test_a_cloud_that_has_no_keys_is_asked_for_a_limited_time(
    metadata: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    begun = time.monotonic()
    with (
        metadata.faulty(fault, times=10),
        pytest.raises(StoreDeniedError, match="set AWS_ACCESS_KEY_ID"),
    ):
        RemoteStore("s3", BUCKET, "access", small_seconds=0.5).get("key", limit=1)
    assert time.monotonic() - begun < 1.5
    assert metadata.requests


def test_without_keys_nothing_is_asked_where_that_is_forbidden(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s3(monkeypatch, seaweedfs.url, None)
    with pytest.raises(StoreDeniedError, match="no keys for S3"):
        RemoteStore("s3", BUCKET).get("key", limit=1)


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_clouds_without_any_settings_say_what_to_set(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = tmp_path / "account.json"
    account.write_text('{"private_key": "swordfish"')
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    with pytest.raises((StoreDeniedError, StoreUnavailableError), match=r"settings|set ") as raised:
        RemoteStore(scheme, BUCKET).get("key", limit=1)
    assert "swordfish" not in str(raised.value)


def test_plain_http_is_spoken_only_where_the_endpoint_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that is asked for HTTPS is not told a word before it has shown its certificate."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        set_s3(monkeypatch, f"https://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        with pytest.raises(StoreUnavailableError):
            RemoteStore("s3", BUCKET, small_seconds=0.3).get("key", limit=1)
        connection, _ = listener.accept()
        with connection:
            hello = connection.recv(1000)
    assert hello[0] == 22  # a TLS handshake
    assert OWNER.key.encode() not in hello
