"""Memory that runs out while a model works, on the device or here: told apart, and given back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import structlog

from lmscore.server.errors import OutOfMemoryError

Result = TypeVar("Result")

_SIGNS = ("out of memory", "not enough memory", "DefaultCPUAllocator", "ALLOC_FAILED")
"""What torch says where it raises a mere RuntimeError for it."""

log = structlog.get_logger()


def within_memory(work: Callable[..., Result], *args: object) -> Result:
    """What work gives; OutOfMemoryError, with the memory free again, if that was not enough."""
    try:
        return work(*args)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.warning("out of memory", problem=str(error).partition("\n")[0])
    # The exception is gone by now, and with it the tensors that its frames held.
    _release()
    raise OutOfMemoryError


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that there was no memory left."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # never imported for this: whoever has it can raise its errors
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def _release() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
