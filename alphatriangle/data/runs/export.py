"""What was saved, for other tools: weights, replay rows, a buffer file that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Literal

import pyarrow as pa
import pyarrow.parquet
from safetensors.torch import save as to_safetensors

from alphatriangle.data.errors import BufferNotFoundError, ExportError
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replay.segments import stored_table
from alphatriangle.data.schemas import FORMAT_1, LoadedTrainingState
from alphatriangle.data.serializer import Serializer
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import FileDigest

ExportKind = Literal["weights", "replay", "buffer"]


def export_state(state: LoadedTrainingState, kind: ExportKind, path: Path) -> FileDigest:
    """Write one part of a loaded state to ``path``, atomically.

    ``weights``: safetensors. ``replay``: Parquet with the columns of the segments. ``buffer``: a
    pickled ``BufferData`` with a plain list of experiences, which needs no segments.

    Raises:
        BufferNotFoundError: the commit holds no buffer.
        ExportError: the file exists, or cannot be written, or rows are to be experiences that are
            none.
    """
    if path.exists():
        raise ExportError(f"{path} exists; choose another --to, nothing is overwritten")
    try:
        if kind == "weights":
            assert state.checkpoint_data is not None
            weights = {k: v.contiguous() for k, v in state.checkpoint_data.model_state_dict.items()}
            return fs.write_bytes(path, to_safetensors(weights))
        return _export_rows(state, kind, path)
    except OSError as e:
        raise ExportError(f"cannot write {path}: {e.strerror or e}") from e


def _export_rows(state: LoadedTrainingState, kind: ExportKind, path: Path) -> FileDigest:
    buffer = state.buffer_data
    if buffer is None:
        raise BufferNotFoundError(f"{state.source} holds no replay buffer")
    items = buffer.buffer_list
    if kind == "buffer":
        if buffer.codec != FORMAT_1:
            raise ExportError(
                f"{state.source} holds rows of columns {', '.join(buffer.columns)}, not "
                "experiences; --what replay writes them"
            )
        alone = buffer.model_copy(update={"buffer_list": list(items)})
        return Serializer().save_buffer(alone, path)
    if not isinstance(items, SegmentedRows):
        raise BufferNotFoundError(f"{state.source} holds no rows in segments")

    def write(f: IO[bytes]) -> None:
        sink = pa.BufferOutputStream()
        pa.parquet.write_table(
            stored_table(items.columns(), items.codec_name), sink, compression="zstd"
        )
        f.write(sink.getvalue())

    return fs.write_atomically(path, write)
