"""Where and how a network computes: device, precision, threads, and how much at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmscore.models.errors import CapabilityError

if TYPE_CHECKING:  # so that whoever has no network need not have torch
    import torch

_DTYPES = ("float32", "bfloat16", "float64")


MAX_BATCH_TOKENS = 8192
"""Distinct prefixes that are enough to keep two cores busy with large products."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What was asked for; auto takes the best that the machine has."""

    device: str = "auto"  # auto, cpu, cuda or cuda:N
    dtype: str = "auto"  # auto, float32, bfloat16 or float64
    threads: int = 2  # on the CPU
    max_batch_tokens: int = MAX_BATCH_TOKENS  # distinct prefixes computed at once

    def torch_device(self) -> torch.device:
        """The device to use; CapabilityError if it is not there."""
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kind, _, number = self.device.partition(":")
        if self.device == "cpu":
            return torch.device("cpu")
        if kind != "cuda" or (number and not number.isdecimal()) or self.device.endswith(":"):
            raise CapabilityError(f"device {self.device!r} is none of auto, cpu, cuda, cuda:N")
        if not torch.cuda.is_available():
            raise CapabilityError(f"device {self.device}: this machine or this torch has no CUDA")
        if int(number or 0) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise CapabilityError(f"device {self.device}: there are only {count} CUDA devices")
        return torch.device(self.device)

    def torch_dtype(self, device: torch.device) -> torch.dtype:
        """The precision to compute in; CapabilityError for an unknown one."""
        import torch

        if self.dtype == "auto":
            return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
        if self.dtype not in _DTYPES:
            raise CapabilityError(f"dtype {self.dtype!r} is none of auto, {', '.join(_DTYPES)}")
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies matrices of bfloat16 faster than of float32."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8  # since Ampere
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
