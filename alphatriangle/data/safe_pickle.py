"""Reading pickles that run no code, whoever wrote them.

An allow-list decides what a file may name. Where the real thing would do more than a saved state
needs (change a dtype that all share) a narrow one stands in for it.
"""

from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from alphatriangle.data import dtypes, state_types
from alphatriangle.data.errors import UnsafePickleError

Global = tuple[str, str]


def _dtype(name: str, align: bool = False, copy: bool = False) -> np.dtype[Any]:
    """A dtype of its own: what the file sets on it, it sets on nothing else."""
    if not isinstance(name, str) or np.dtype(name).kind not in dtypes.NUMERIC:
        raise pickle.UnpicklingError(f"the dtype {name!r}, which is not that of numbers")
    return np.dtype(name, copy=True)


def _deque(items: tuple[()] = (), maxlen: int | None = None) -> collections.deque[Any]:
    """An empty one: what it holds is appended, and so is as large as the file."""
    if items != ():
        raise pickle.UnpicklingError("a deque of something that is not in the file")
    return collections.deque(maxlen=maxlen)


class _Function:
    """A function that a file may call and not change: on a plain one it could set defaults."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function of the allow-list is to be changed")


# What cloudpickle's protocol writes for a saved state; sets and bytes have opcodes of their own.
# numpy's private modules are listed under their names before and after 2.0.
_ALLOWED: Final[dict[Global, Callable[..., Any] | None]] = {
    ("alphatriangle.data.schemas", "CheckpointData"): None,
    ("alphatriangle.data.schemas", "BufferData"): None,
    ("alphatriangle.data.serializer", "tensor_from_array"): None,
    ("alphatriangle.data.state_types", "rebuilt"): None,
    ("collections", "OrderedDict"): None,
    ("collections", "deque"): _deque,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): None,
    ("numpy._core.multiarray", "_reconstruct"): None,
    ("numpy._core.multiarray", "scalar"): None,
    ("numpy._core.numeric", "_frombuffer"): None,
    ("numpy.core.multiarray", "_reconstruct"): None,
    ("numpy.core.multiarray", "scalar"): None,
    ("numpy.core.numeric", "_frombuffer"): None,
}
_LINE_BLOCK: Final = 256
_LEAVES: Final = frozenset({int, float, str, bytes, bool, type(None)})


# What dtypes of numbers are given when they are made; NumPy itself believes any other.
_DTYPE_STATES: Final = tuple((3, order, None, None, None, -1, -1, 0) for order in "<>|=")


class _Content:
    """A file over bytes at hand. Large pieces of them are copied once, where ``BytesIO`` and Python
    would three times."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._view = memoryview(content)
        self._place = 0

    def piece(self, length: int) -> memoryview:
        """The next bytes, no copy; fewer where there are fewer."""
        piece = self._view[self._place : self._place + max(length, 0)]
        self._place += len(piece)
        return piece

    def read(self, length: int) -> bytes:
        """The next bytes; fewer where there are fewer."""
        return bytes(self.piece(length))

    def readline(self) -> bytes:
        """Up to the next end of a line, or all that there is."""
        end = self._place
        while block := bytes(self._view[end : end + _LINE_BLOCK]):
            found = block.find(b"\n") + 1
            end += found or len(block)
            if found:
                break
        return self.read(end - self._place)


_InPython: Any = pickle._Unpickler


class _Unpickler(_InPython):  # type: ignore[misc]
    """Looks every global up in the allow-list, before anything is imported.

    The one in Python, of which no file can corrupt the memory, and whose steps can be looked at: a
    state is some thousands of them, between large pieces of bytes.
    """

    dispatch: ClassVar = dict(_InPython.dispatch)  # opcode -> method

    def __init__(
        self,
        content: bytes | memoryview,
        path: Path,
        allowed: frozenset[Global],
        persistent_load: Callable[[Any], Any],
    ) -> None:
        self._content = _Content(content)
        super().__init__(self._content)
        self._path = path
        self._allowed = allowed
        self._persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return super().find_class(module, name)
        if (module, name) not in _ALLOWED:
            raise UnsafePickleError(
                f"{self._path} names {module}.{name}, which a saved state does not need; nothing "
                "of it was run. If the file is yours and trusted, add "
                f"'{module}.{name}' to persistence.allowed_globals or load it with trusted=True"
            )
        found = _ALLOWED[module, name] or super().find_class(module, name)
        return found if isinstance(found, type) else _Function(found)

    def persistent_load(self, pid: Any) -> Any:
        return self._persistent_load(pid)

    def _build(self) -> None:
        """What a file makes of an object that is there, perhaps already in use."""
        made, state = self.stack[-2:]
        if isinstance(made, np.dtype) and state not in _DTYPE_STATES:
            raise pickle.UnpicklingError("the state of a dtype that is none")
        if isinstance(made, np.ndarray) and made.size:
            # Its memory would be given back, of which a tensor may have been made.
            raise pickle.UnpicklingError("an array that is made twice")
        super().load_build()

    dispatch[pickle.BUILD[0]] = _build

    def _bytearray(self) -> None:
        """The memory would be taken before there is anything to fill it with."""
        (length,) = struct.unpack("<Q", self.read(8))
        # Large ones stand outside the frames of the pickle.
        is_outside = self._unframer.current_frame is None
        content = bytearray(self._content.piece(length) if is_outside else self.read(length))
        if len(content) != length:
            raise pickle.UnpicklingError(f"{length} bytes, more than the file has")
        self.append(content)

    dispatch[pickle.BYTEARRAY8[0]] = _bytearray


def load(
    content: bytes | memoryview,
    path: Path,
    allowed: frozenset[Global],
    persistent_load: Callable[[Any], Any],
) -> Any:
    """What ``content``, read from ``path``, holds; ``allowed`` adds to the allow-list.

    Raises:
        UnsafePickleError: it names something that is on neither list.
        Exception: whatever damaged bytes make an unpickler raise; the caller knows them.
    """
    value = _Unpickler(content, path, allowed, persistent_load).load()
    if not allowed:
        _check_arrays(value)
    return value


def _check_arrays(value: Any) -> None:
    """Refuse arrays of a dtype that numpy would not make: a file can set what it likes on one."""
    waiting: list[Any] = [value]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if type(item) in _LEAVES:
            continue
        children: list[Any] = []
        if isinstance(item, np.dtype | np.ndarray | np.generic):
            if not dtypes.is_sound(item if isinstance(item, np.dtype) else item.dtype):
                raise pickle.UnpicklingError("an array of a dtype that is none")
            continue
        if isinstance(item, dict):
            children += [*item, *item.values()]
        elif isinstance(item, list | tuple | set | frozenset | collections.deque):
            children += item
        elif isinstance(item, state_types.GENERATORS):
            # A file can set its state after it has been made.
            state_types.check_generator(item)
            continue
        elif isinstance(item, slice):
            children += [item.start, item.stop, item.step]
        children += getattr(item, "__dict__", {}).values()
        if children and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(children)


def is_allowed(module: str, name: str) -> bool:
    """Whether any file may name this global."""
    return (module, name) in _ALLOWED
