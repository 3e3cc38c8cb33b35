"""Which device, which arithmetic, how many threads: decided by capability, never by a race."""

from __future__ import annotations

import torch

from alphatriangle.utils.errors import DeviceNotAvailableError


def choose_device(requested: str) -> torch.device:
    """The device named, or for ``auto`` the best there is: CUDA, then MPS, then CPU.

    Raises:
        DeviceNotAvailableError: the device named does not exist on this machine.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if requested == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    kind = requested.split(":")[0]
    if not available.get(kind, False):
        usable = ", ".join(name for name, there in available.items() if there)
        raise DeviceNotAvailableError(
            f"device {requested!r} is not available here; available: {usable}"
        )
    return torch.device(requested)


def choose_dtype(requested: str, device: torch.device) -> torch.dtype:
    """``float32`` or ``bfloat16`` as named; ``auto`` takes bfloat16 where the hardware has it.

    On a CPU that means AVX512-BF16 or AMX: emulated bfloat16 is slower than float32.
    """
    if requested != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[requested]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def has_int8(device: torch.device) -> bool:
    """Whether 8-bit integers are multiplied faster than bfloat16: CPUs with AVX512-VNNI or AMX."""
    return device.type == "cpu" and (
        torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported()
    )
