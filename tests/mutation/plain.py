"""Compiled loops as plain Python, for what looks at their lines: coverage and mutation testing.

As a plugin of pytest, `-p tests.mutation.plain`, it stands in for compiling before any module that
compiles is imported. Python's numbers do as machine code's would: unsigned ones wrap, and division
by zero gives infinity.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from lmscore.models import compiled

_ALL_BITS = (1 << 64) - 1


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def with_silent_arithmetic(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return with_silent_arithmetic


def _inline(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _u64(value: Any) -> np.uint64:
    return np.uint64(int(value) & _ALL_BITS)


def _i64(value: Any) -> np.int64:
    wrapped = int(value) & _ALL_BITS
    return np.int64(wrapped - (wrapped >> 63 << 64))


def _load_u64(data: Any, index: Any) -> np.uint64:
    loaded = bytes(data[int(index) : int(index) + 8])
    assert len(loaded) == 8, "a load beyond the end"
    return np.uint64(int.from_bytes(loaded, "little"))


def _trailing_zeros(bits: Any) -> np.uint64:
    return np.uint64((int(bits) & -int(bits)).bit_length() - 1)


def _float_bits(value: Any) -> np.uint64:
    return np.float64(value).view(np.uint64)


def _float_of_bits(bits: Any) -> np.float32:
    return np.int32(bits).view(np.float32)


def _prefetch(_array: Any, _index: Any) -> None:
    return None


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Python for what generates instructions, found by the name it has."""
    by_name = {"_float_of_bits": _float64_of_bits}
    return by_name[function.__name__]


def _float64_of_bits(bits: Any) -> np.float64:
    return np.uint64(bits).view(np.float64)


def install() -> None:
    """Have all modules that are imported from now on run their loops as they are written."""
    loaded = [name for name in sys.modules if "lmscore" in name]
    assert "lmscore.models.ngram.words" not in loaded, "too late: loops are compiled already"
    replaced = {
        "kernel": _kernel,
        "vector_kernel": _kernel,
        "allocating_kernel": _kernel,
        "inline": _inline,
        "vector_inline": _inline,
        "intrinsic": _intrinsic,
        "u64": _u64,
        "i64": _i64,
        "load_u64": _load_u64,
        "trailing_zeros": _trailing_zeros,
        "float_bits": _float_bits,
        "float_of_bits": _float_of_bits,
        "prefetch": _prefetch,
    }
    for name, plain in replaced.items():
        setattr(compiled, name, plain)


install()
