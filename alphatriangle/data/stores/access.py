"""How a bucket is reached: endpoint, region, keys. From the environment or a profile, never from a
setting of ours.

Most is read by ``obstore`` itself from the variables that the clouds' own tools use. What it does
not do is done here: profiles of AWS, plain HTTP only where an endpoint says so, deadlines.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from alphatriangle.data.stores.store import StoreAddressError, StoreDeniedError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CONNECT_SECONDS: Final = 5.0
_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
# Where keys come from that AWS asks before profiles.
_BEFORE_PROFILES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
# How a profile can get its keys that nothing here can follow.
_ELSEWHERE: Final = ("sso_session", "sso_start_url", "role_arn", "credential_process")
_EMULATOR: Final = "AZURE_STORAGE_USE_EMULATOR"


def open_bucket(
    scheme: str,
    bucket: str,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
    checksums: bool = True,
) -> ObjectStore:
    """A client that asks nothing yet, with a deadline for each request, and without trying again:
    a create whose answer was lost would find its own object and take it for another's.

    Raises:
        StoreAddressError: the endpoint that is set is none.
        StoreDeniedError: the profile that is set has no keys.
        Exception: one of ``obstore``'s, where what is set makes no sense.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    settings: dict[str, Any] = {}
    if scheme == "s3":
        settings = s3_settings(os.environ)
        settings["conditional_put"] = "etag"
        if checksums:
            settings["checksum_algorithm"] = "SHA256"
    endpoint = settings.get("endpoint") or endpoint_of(scheme, os.environ)
    emulated = scheme == "az" and os.environ.get(_EMULATOR, "").lower() in ("1", "true")
    client: dict[str, Any] = {
        "timeout": timedelta(seconds=seconds),
        "connect_timeout": timedelta(seconds=min(seconds, CONNECT_SECONDS)),
        "allow_http": emulated or (endpoint or "").startswith("http:"),
    }
    if headers:
        client["default_headers"] = dict(headers)
    kind = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme]
    return kind(  # type: ignore[no-any-return]
        bucket,
        config=settings,
        client_options=client,
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
    )


def endpoint_of(scheme: str, environment: Mapping[str, str]) -> str | None:
    """The server that is to be asked in place of the cloud's own.

    Raises:
        StoreAddressError: it is no URL of a server, or holds a password.
    """
    for name in _ENDPOINTS[scheme]:
        if environment.get(name):
            return _checked(environment[name], name)
    return None


def _checked(endpoint: str, source: str) -> str:
    try:
        parts = urlsplit(endpoint)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https") or not endpoint.isascii():
        raise StoreAddressError(f"{source} is no URL such as https://host or http://127.0.0.1:9000")
    if "@" in parts.netloc or parts.query or parts.fragment or set(endpoint) & set(" \t\r\n"):
        raise StoreAddressError(f"{source} holds more than a server: no user, password or query")
    return endpoint.rstrip("/")


def s3_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """What ``obstore`` is told beside what it finds in the environment by itself.

    Raises:
        StoreAddressError: the endpoint is none.
        StoreDeniedError: the profile is not there, or has no keys of its own.
    """
    settings: dict[str, Any] = {}
    profile = read_profile(environment)
    endpoint = endpoint_of("s3", environment)
    if endpoint is None and "endpoint_url" in profile:
        endpoint = _checked(profile["endpoint_url"], "endpoint_url of the profile")
    if endpoint is not None:
        settings["endpoint"] = endpoint
    if not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(environment) and "region" in profile:
        settings["region"] = profile["region"]
    if any(environment.get(name) for name in _BEFORE_PROFILES):
        return settings
    for setting in ("access_key_id", "secret_access_key", "session_token"):
        if f"aws_{setting}" in profile:
            settings[setting] = profile[f"aws_{setting}"]
    if "access_key_id" not in settings:
        name = environment.get("AWS_PROFILE", "default")
        if elsewhere := [how for how in _ELSEWHERE if how in profile]:
            raise StoreDeniedError(
                f"the AWS profile {name!r} gets its keys by {elsewhere[0]}, which is not followed "
                f"here: eval $(aws configure export-credentials --profile {name} --format env)"
            )
        if "AWS_PROFILE" in environment:
            raise StoreDeniedError(f"there are no keys of the AWS profile {name!r}")
        if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise StoreDeniedError(
                "there are no keys for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE"
            )
    return settings


def read_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """The profile of ``AWS_PROFILE``, else the default one; empty where there is none.

    Raises:
        StoreDeniedError: its files cannot be read.
    """
    name = environment.get("AWS_PROFILE") or "default"
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or "~").expanduser()
    found: dict[str, str] = {}
    for variable, usual, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        path = Path(environment.get(variable) or home / ".aws" / usual).expanduser()
        # No interpolation: a secret may hold a percent sign.
        parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\n")
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, configparser.Error):
            # Not what is wrong: the message would hold a line of it.
            raise StoreDeniedError(f"{path} cannot be read as a file of AWS profiles") from None
        if parser.has_section(section):
            found.update({key: value.strip() for key, value in parser.items(section) if value})
    return found
