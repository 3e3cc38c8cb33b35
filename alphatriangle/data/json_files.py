"""JSON files to records: validated, and loud about what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from alphatriangle.data.errors import CorruptFileError, UnsupportedFormatError, reading_failed
from alphatriangle.data.storage import fs

Record = TypeVar("Record", bound=BaseModel)


def read_json(path: Path, model: type[Record], corrupt: type[CorruptFileError]) -> Record:
    """Read and validate a JSON record; duplicate keys count as damage.

    Raises:
        CorruptFileError: of the kind given.
        UnsupportedFormatError: a newer version wrote it.
    """
    return parse_json(read_bytes(path, corrupt), path, model, corrupt)


def read_json_if_any(
    path: Path, model: type[Record], corrupt: type[CorruptFileError]
) -> Record | None:
    """:func:`read_json`, None where there is no such file.

    Raises:
        CorruptFileError: of the kind given.
        FileUnavailableError: it cannot be read now.
        UnsupportedFormatError: a newer version wrote it.
    """
    content = read_if_any(path, corrupt)
    return None if content is None else parse_json(content, path, model, corrupt)


def read_if_any(path: Path, corrupt: type[CorruptFileError]) -> bytes | None:
    """All bytes of a file, None where there is none.

    Raises:
        CorruptFileError: of the kind given: the medium or the folder is at fault.
        FileUnavailableError: it cannot be read now.
    """
    try:
        return fs.read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise reading_failed(path, e, corrupt) from e


def parse_json(
    content: bytes, path: Path, model: type[Record], corrupt: type[CorruptFileError]
) -> Record:
    """:func:`read_json` of bytes that come from ``path``.

    Raises:
        CorruptFileError: of the kind given.
        UnsupportedFormatError: a newer version wrote it.
    """
    try:
        fields = json.loads(content, object_pairs_hook=_no_duplicates)
        if not isinstance(fields, dict):
            raise corrupt(path, "it is not a JSON object")
        check_format(path, fields.get("format_version", 1), model)
        return model.model_validate(fields)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise corrupt(path, f"{where}: {first['msg']}") from e
    except (ValueError, RecursionError) as e:
        raise corrupt(path, f"not readable JSON: {e}") from e


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise ValueError("a key stands twice")
    return seen


def read_bytes(path: Path, corrupt: type[CorruptFileError]) -> bytes:
    """All bytes of a file.

    Raises:
        CorruptFileError: of the kind given: it is not there, or the medium is at fault.
        FileUnavailableError: it cannot be read now.
    """
    try:
        return fs.read_bytes(path)
    except OSError as e:
        raise reading_failed(path, e, corrupt) from e


def check_format(path: Path, version: object, model: type[BaseModel]) -> None:
    """
    Raises:
        UnsupportedFormatError: ``version`` is newer than those that ``model`` knows.
    """
    newest = max(get_args(model.model_fields["format_version"].annotation))
    if isinstance(version, int) and version > newest:
        raise UnsupportedFormatError(
            f"{path} has format version {version}, this package reads up to {newest}; "
            "use a newer alphatriangle"
        )
