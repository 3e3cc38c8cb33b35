"""Records to files and back. Paths in, records out; nothing here knows what a run is.

Writing is cloudpickle (protocol 5), but never code: classes and functions are named. Reading goes
through an allow-list: a file can build our records, arrays, tensors, plain containers and what
``state_types`` lists, and nothing else; so writing refuses the rest. ``trusted=True`` is the way
out of reading.
"""

from __future__ import annotations

import collections
import io
import json
import pickle
import re
import struct
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final

import cloudpickle
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ValidationError

from alphatriangle.data import dtypes, safe_pickle, state_types
from alphatriangle.data.errors import (
    BufferNotFoundError,
    CheckpointNotFoundError,
    CorruptBufferError,
    CorruptCheckpointError,
    CorruptFileError,
    DataError,
    StateTypeError,
)
from alphatriangle.data.json_files import Record, check_format, read_bytes
from alphatriangle.data.places import place_of
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replay.segments import RowsKind, SegmentRef, codec_of_file
from alphatriangle.data.replay.source import CapturedReplay
from alphatriangle.data.schemas import FORMAT_1, BufferData, CheckpointData
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import FileDigest
from alphatriangle.utils.columns import check_schema, schema_of
from alphatriangle.utils.flat import FlatState

_PROTOCOL: Final = 5
_SEGMENTS_TAG: Final = "alphatriangle.segments"
_ROW_NUMBERS: Final = 2**63
_SEGMENT_NAME: Final = re.compile(r"\w[\w.-]*\.arrow", re.ASCII)

# What damaged bytes make the unpickler or the validation raise.
_DAMAGE: Final = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    MemoryError,
    ArithmeticError,
    RuntimeError,
    SystemError,
    struct.error,
)

# Of types that NumPy lacks: whole numbers of as many bits.
_AS_BITS: Final = {
    "bfloat16": torch.int16,
    **{
        name: torch.uint8
        for name, kind in vars(torch).items()
        if isinstance(kind, torch.dtype) and name.startswith("float8")
    },
}
# What a pickle names, rather than holds.
_NAMED: Final = (type, types.FunctionType, types.BuiltinFunctionType)


def tensor_from_array(
    array: npt.NDArray[Any], dtype: str, channels_last: bool = False
) -> torch.Tensor:
    """Rebuild a tensor: arrays travel as NumPy, what NumPy lacks as its bits, channels_last as
    NHWC."""
    if not dtypes.is_sound(array.dtype):
        raise pickle.UnpicklingError("a tensor of a dtype that is none")
    tensor = torch.from_numpy(array)
    if dtype in _AS_BITS:
        tensor = tensor.view(getattr(torch, dtype))
    elif dtype == "complex32":
        tensor = torch.view_as_complex(tensor)
    return tensor.permute(0, 3, 1, 2) if channels_last else tensor


class _RefusedError(Exception):
    """A value that a reader would not take."""

    def __init__(self, value: object, reason: str | None) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes what the reader takes, and refuses the rest; segments by name."""

    def __init__(self, file: IO[bytes], allowed: frozenset[safe_pickle.Global]) -> None:
        super().__init__(file, protocol=_PROTOCOL)
        self._allowed = allowed

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is torch.Tensor:
            try:
                return _reduced_tensor(obj)
            except (TypeError, RuntimeError) as e:
                raise _RefusedError(obj, str(e)) from e
        try:
            found = state_types.apart(obj)
        except TypeError as e:
            raise _RefusedError(obj, str(e)) from e
        if found is not None:
            return state_types.rebuilt, (found[0], *found[1])
        if self._can_be_read(kind, obj):
            return NotImplemented
        raise _RefusedError(obj, obj.reason if kind is state_types.Uncopied else None)

    def _can_be_read(self, kind: type, obj: Any) -> bool:
        if isinstance(obj, np.dtype):
            return obj.kind in dtypes.NUMERIC
        if isinstance(obj, np.generic):
            return obj.dtype.kind in dtypes.NUMERIC
        if kind is FlatState:
            return True
        named = obj if isinstance(obj, _NAMED) else kind
        name = (str(named.__module__), str(named.__qualname__))
        return name in self._allowed or safe_pickle.is_allowed(*name)

    def persistent_id(self, obj: Any) -> Any:
        # Asked of every object: an isinstance with an abstract class would be half of pickling.
        if type(obj) is SegmentedRows:
            refs = [(ref.name, ref.first, ref.end, ref.sha256) for ref in obj.refs]
            return (_SEGMENTS_TAG, refs, obj.first, obj.end)
        return None


class _TrustedUnpickler(pickle.Unpickler):
    """Loads anything; for files whose origin is beyond doubt."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._path = path

    def persistent_load(self, pid: Any) -> Any:
        return _segments_from_id(pid, self._path)


def _segments_from_id(pid: Any, path: Path) -> SegmentedRows:
    """Rebuild the sequence a persistent ID names; segments lie in a folder beside the file."""
    match pid:
        case (str(tag), list(items), int(first), int(end)) if tag == _SEGMENTS_TAG:
            refs = []
            for item in items:
                match item:
                    case (str(name), int(ref_first), int(ref_end), str(sha256)) if (
                        _SEGMENT_NAME.fullmatch(name) and 0 <= ref_first <= ref_end < _ROW_NUMBERS
                    ):
                        refs.append(SegmentRef(name, ref_first, ref_end, sha256))
                    case _:
                        raise CorruptBufferError(path, f"it names a segment as {item!r}")
            if not 0 <= first <= end < _ROW_NUMBERS:
                raise CorruptBufferError(path, f"it names the rows [{first}, {end})")
            folder = path.resolve().parent / "segments"
            # What they are stands in the record around them.
            return SegmentedRows(folder, refs, first, end, RowsKind(FORMAT_1, {}))
    raise CorruptBufferError(path, f"it has an unknown persistent ID {str(pid)[:80]!r}")


class Serializer:
    """Reads and writes the files of a run."""

    def __init__(self, allowed_globals: Iterable[str] = ()) -> None:
        extra = set()
        for name in allowed_globals:
            module, dot, attribute = name.rpartition(".")
            if not dot:
                raise ValueError(f"persistence.allowed_globals: {name!r} is not module.name")
            extra.add((module, attribute))
        self._allowed = frozenset(extra)

    def save_checkpoint(self, data: CheckpointData, path: Path) -> FileDigest:
        """Write a checkpoint atomically; a plain ``cloudpickle.load`` reads it as well.

        Raises:
            OSError: nothing has been written.
            StateTypeError: nothing has been written: it holds what could not be read again.
        """
        return _dump(data, path, self._allowed)

    def load_checkpoint(
        self, path: Path, *, content: bytes | memoryview | None = None, trusted: bool = False
    ) -> CheckpointData:
        """Read and validate a checkpoint; ``content`` is what has been read from ``path`` already.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CorruptCheckpointError: it is damaged or not a checkpoint.
            UnsafePickleError: it names something a checkpoint does not need.
            UnsupportedFormatError: a newer version wrote it.
        """
        if content is None and not path.exists():
            raise CheckpointNotFoundError(f"there is no checkpoint {path}")
        return self._load(path, content, CheckpointData, CorruptCheckpointError, trusted)

    def save_buffer(self, data: BufferData, path: Path) -> FileDigest:
        """Write a buffer file atomically; segments that it names must be there already.

        Raises:
            OSError: nothing has been written.
            StateTypeError: nothing has been written: it holds what could not be read again.
        """
        return _dump(data, path, self._allowed)

    def load_buffer(
        self, path: Path, *, content: bytes | memoryview | None = None, trusted: bool = False
    ) -> BufferData:
        """Read and validate a buffer file, with a lazy or a plain list of experiences; ``content``
        is what has been read from ``path`` already.

        Raises:
            BufferNotFoundError: there is no such file.
            CorruptBufferError: it is damaged, not a buffer, or a segment is.
            UnknownCodecError: how its rows are coded is not known here.
            UnsafePickleError: it names something a buffer does not need.
            UnsupportedFormatError: a newer version wrote it.
        """
        if content is None and not path.exists():
            raise BufferNotFoundError(f"there is no buffer file {path}")
        data = self._load(path, content, BufferData, CorruptBufferError, trusted)
        _check_rows(data, path)
        _check_format_2(data, path)
        if isinstance(data.buffer_list, SegmentedRows):
            data.buffer_list.kind = RowsKind(data.codec, data.schema_of_rows)
        return data

    def save_config_json(self, configs: dict[str, Any], path: Path) -> FileDigest:
        """Write settings as indented JSON, atomically.

        Raises:
            OSError: nothing has been written.
        """
        text = json.dumps(configs, indent=2, sort_keys=True, default=str)
        return fs.write_bytes(path, text.encode() + b"\n")

    def _load(
        self,
        path: Path,
        content: bytes | memoryview | None,
        model: type[Record],
        corrupt: type[CorruptFileError],
        trusted: bool,
    ) -> Record:
        if content is None:
            content = read_bytes(path, corrupt)
        try:
            if trusted:
                record = _TrustedUnpickler(io.BytesIO(content), path).load()
            else:
                record = safe_pickle.load(
                    content, path, self._allowed, lambda pid: _segments_from_id(pid, path)
                )
            if not isinstance(record, model):
                raise corrupt(path, f"it holds a {type(record).__name__}, not a {model.__name__}")
            fields = dict(record.__dict__)
            check_format(path, fields.get("format_version", 1), model)
            # Unpickling fills fields without looking: look now.
            return model.model_validate(fields)
        except DataError:
            raise
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise corrupt(path, f"{where}: {first['msg']}") from e
        except _DAMAGE as e:
            raise corrupt(path, f"not a readable pickle: {type(e).__name__}: {e}") from e


def buffer_record(
    replay: CapturedReplay, segments_folder: Path, refs: Sequence[SegmentRef]
) -> BufferData:
    """A ``BufferData`` of a captured replay and the segments that hold its rows."""
    counters = dict(replay.counters)
    first, end = counters.pop("oldest"), counters.pop("total_added")
    common = {
        "buffer_list": SegmentedRows(segments_folder, refs, first, end, replay.kind),
        "total_added": end,
        "oldest": first,
        **{name: counters.pop(name) for name in ("capacity", "cursor", "lineage")},
    }
    if replay.kind.codec_name == FORMAT_1:
        return BufferData(
            **common,
            max_priority=counters["max_priority"],
            batches_sampled=counters["batches_sampled"],
            priorities=replay.mutable.get("priorities"),
        )
    return BufferData(
        format_version=2,
        **common,
        codec=replay.kind.codec_name,
        columns={name: tuple(kind) for name, kind in replay.kind.schema.items()},
        mutable=replay.mutable,
        counters=counters,
    )


def _reduced_tensor(tensor: torch.Tensor) -> Any:
    """As a contiguous array, in the order of its memory."""
    plain = tensor.detach()
    if tensor.requires_grad and tensor.is_leaf:
        return state_types.rebuilt, ("variable", plain)
    if plain.layout != torch.strided:
        return state_types.rebuilt, ("sparse", *state_types.sparse_parts(plain))
    plain = plain.cpu().resolve_conj().resolve_neg()
    name = str(plain.dtype).removeprefix("torch.")
    layout: tuple[bool, ...] = ()
    if not plain.is_contiguous() and plain.is_contiguous(memory_format=torch.channels_last):
        plain, layout = plain.permute(0, 2, 3, 1), (True,)
    plain = plain.contiguous()
    if name in _AS_BITS:
        plain = plain.view(_AS_BITS[name])
    elif name == "complex32":
        plain = torch.view_as_real(plain)
    return tensor_from_array, (plain.numpy(), name, *layout)


def _dump(record: BaseModel, path: Path, allowed: frozenset[safe_pickle.Global]) -> FileDigest:
    def write(f: IO[bytes]) -> None:
        _Pickler(f, allowed).dump(record)

    try:
        return fs.write_atomically(path, write)
    except _RefusedError as e:
        raise StateTypeError(_refusal(record, e)) from e


def _refusal(record: BaseModel, refused: _RefusedError) -> str:
    value = refused.value
    where = place_of(record, value) or "what is to be saved"
    kind = value if isinstance(value, _NAMED) else type(value)
    full = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, state_types.Uncopied):
        full = value.type_name
    what = full.rpartition(".")[2]
    if isinstance(value, _NAMED):
        what = f"reference to {what}"
    problem = f"{where}: a {what} ({full}) cannot be saved"
    if refused.reason:
        return f"{problem}: {refused.reason}; give its state as plain values"
    if kind.__module__ == "builtins" or not re.fullmatch(r"\w+(\.\w+)+", full):
        return f"{problem}; give its state as plain values"
    return (
        f"{problem}, because nothing would load it again; give its state as plain values, or add "
        f"{full!r} to persistence.allowed_globals"
    )


def _check_rows(data: BufferData, path: Path) -> None:
    """A plain list must hold experiences, and counters must fit the rows."""
    items = data.buffer_list
    if isinstance(items, collections.deque):
        items = data.buffer_list = list(items)
    if not isinstance(items, list | SegmentedRows):
        raise CorruptBufferError(path, f"buffer_list is a {type(items).__name__}")
    if isinstance(items, list):
        for i, item in enumerate(items):
            problem = _experience_problem(item)
            if problem:
                raise CorruptBufferError(path, f"experience {i}: {problem}")
    count = len(items)
    state = data.buffer_state()
    if data.oldest is not None and state["oldest"] != data.oldest:
        raise CorruptBufferError(path, f"{count} rows, but the counters say otherwise")
    numbers = (state["oldest"], state["total_added"])
    if not 0 <= numbers[0] <= numbers[1] < _ROW_NUMBERS:
        raise CorruptBufferError(path, "its counters are no numbers of rows")
    if isinstance(items, SegmentedRows) and (items.first, items.end) != numbers:
        raise CorruptBufferError(
            path, f"rows [{items.first}, {items.end}), but the counters say {list(numbers)}"
        )
    if data.priorities is not None and data.priorities.shape != (count,):
        raise CorruptBufferError(path, f"{data.priorities.shape} priorities for {count} rows")


def _check_format_2(data: BufferData, path: Path) -> None:
    """What version 1 does not have, and only version 2 does: columns, fixed and mutable."""
    if data.format_version == 1:
        if data.codec != FORMAT_1 or data.columns or data.mutable or data.counters:
            raise CorruptBufferError(path, "it has columns, which are of format version 2")
        return
    if data.codec == FORMAT_1 or not isinstance(data.buffer_list, SegmentedRows):
        raise CorruptBufferError(path, "its rows are of format version 1, it says 2")
    codec_of_file(path, data.codec)
    try:
        check_schema(data.schema_of_rows)
    except ValueError as e:
        raise CorruptBufferError(path, str(e)) from e
    count = len(data.buffer_list)
    for name, values in data.mutable.items():
        if not isinstance(values, np.ndarray) or values.shape[:1] != (count,):
            raise CorruptBufferError(path, f"its column {name!r} has not {count} rows")
        try:
            schema_of({name: values})
        except ValueError as e:
            raise CorruptBufferError(path, f"of those that change, {e}") from e


def _experience_problem(item: object) -> str | None:
    match item:
        case ({"grid": np.ndarray(), "other_features": np.ndarray()}, dict(policy), value):
            if not isinstance(value, int | float | np.floating):
                return f"its return is a {type(value).__name__}"
            if not all(isinstance(a, int | np.integer) for a in policy):
                return "its policy has an action that is not an integer"
            return None
    return "it is not (state, policy, return)"
