"""What ``obstore`` raises, as errors of ours.

Its messages hold the request: addresses with signatures, headers, and what the server has sent
back, which for a wrong signature is all that was signed. So nothing of them is passed on but words
that are known here: a status, the short code of an error, and how a connection has failed.
"""

from __future__ import annotations

import re
from typing import Final

from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreDeniedError,
    StoreError,
    StoreUnavailableError,
)

# Only these say that there is no object, and not that there is no bucket, or that it was some other
# server that has answered. Who is told that there is nothing goes on from there.
_NO_OBJECT: Final = ("NoSuchKey", "BlobNotFound")
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
# Those that do not come as 401 or 403.
_DENIED: Final = (
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
_METADATA: Final = re.compile(r"/latest/api/token|/latest/meta-data|/computeMetadata/|/metadata/id")
_STATUS: Final = re.compile(r"status code: ([1-5]\d\d)\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,48})</Code>|\(code: ([A-Za-z]{1,48})\)")
_KIND: Final = re.compile(r"\bkind: (Timeout|Connect|Interrupted|Decode)\b")
_KEYS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def is_foreign(error: BaseException) -> bool:
    """Whether an error is one of ``obstore``'s, or one of Python's that it raises."""
    from obstore.exceptions import BaseError

    # A panic in Rust is no Exception, and must end training no more than any other failure.
    is_panic = type(error).__module__ == "pyo3_runtime"
    return is_panic or isinstance(error, (BaseError, OSError, ValueError, TypeError))


def translated(error: BaseException, doing: str, url: str) -> StoreError:
    """The error of ours. It is to be raised where the first one is not being handled any more."""
    from obstore import exceptions

    text = str(error)
    status, code = _answer(text)
    answer = " ".join(filter(None, (status, code)))
    said = f"{doing} in {url}"
    if isinstance(error, (exceptions.AlreadyExistsError, exceptions.PreconditionError)):
        return ObjectExistsError(f"{said}: it is there already")
    if _METADATA.search(text):
        scheme = url.partition(":")[0]
        return StoreDeniedError(
            f"{said}: there are no keys, and this machine has no role: set {_KEYS[scheme]}"
        )
    denials = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, denials) or status in ("401", "403") or code in _DENIED:
        return StoreDeniedError(f"{said} was refused: {answer or 'no permission'}")
    if code in _NO_OBJECT:
        return ObjectNotFoundError(f"{said}: there is none")
    if code in _NO_BUCKET:
        return StoreUnavailableError(f"{said}: there is no such bucket; it is not made here")
    if answer:
        return StoreUnavailableError(f"{said} failed: the store answers {answer}")
    return StoreUnavailableError(f"{said} failed: {_how(error, text)}")


def is_refusal_of_content(error: BaseException) -> bool:
    """Whether the store has said that it does not take these bytes."""
    status, code = _answer(str(error))
    return status in ("400", "422") and code not in _DENIED


def _answer(text: str) -> tuple[str | None, str | None]:
    """The status of the answer, and the code of the error in it."""
    status, code = _STATUS.search(text), _CODE.search(text)
    return status and status.group(1), code and (code.group(1) or code.group(2))


def _how(error: BaseException, text: str) -> str:
    if "certificate" in text.lower():
        return "its certificate is not accepted"
    kinds = set(_KIND.findall(text))
    if "Timeout" in kinds or "TimedOut" in text:
        return "no answer within its time"
    if "Connect" in kinds:
        return "the host is not known" if "dns error" in text else "no connection"
    if "reqwest::Error" in text:
        return "the connection broke"
    return f"its settings in the environment or its answer make no sense ({type(error).__name__})"
