"""What all compiled loops share: one way to compile, unsigned arithmetic, loads, prefetching.

In compiled code, unsigned and signed 64-bit integers must not meet: their sum would be a float.
Hence the constants, and the casts wherever an index becomes part of a hash.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils as untyped_cgutils
from numba.core import types

Function = TypeVar("Function", bound=Callable[..., Any])

cgutils: Any = untyped_cgutils  # it has no annotations
i64: Any = np.int64
u64: Any = np.uint64
ZERO: Any = np.uint64(0)
ONE: Any = np.uint64(1)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Let a function generate the instructions that calling it stands for."""
    return numba.extending.intrinsic(function)


def kernel(function: Function) -> Function:
    """Compile a loop: it releases the GIL and its machine code is kept on disk.

    It cannot make arrays, and in return does not count references to those it is given, which
    would cost more than the work of a short helper. Indices are not checked, so it must bound what
    it reads from a file before using it.
    """
    return _compile(function, _nrt=False)


# Ways in for Python and for C, of which compiled code that calls it needs neither: a sixth of the
# time that compiling takes.
_NO_WAYS_IN = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_VECTOR_MATH = {"reassoc", "contract", "arcp", "nsz"}  # NaN and infinities stay what they are


def vector_kernel(function: Function) -> Function:
    """Compile a loop over floats that may be added up in any order, several at a time."""
    return _compile(function, _nrt=False, fastmath=_VECTOR_MATH)


def vector_inline(function: Function) -> Function:
    """Compile a helper into every such loop that calls it; Python cannot call it."""
    njit: Any = numba.njit  # whose annotations lack _nrt
    options = {"nogil": True, "error_model": "numpy", "_nrt": False, "forceinline": True}
    options |= _NO_WAYS_IN
    return cast("Function", njit(**options, fastmath=_VECTOR_MATH)(function))


def inline(function: Function) -> Function:
    """Compile a helper into every kernel that calls it; Python cannot, nor can it make arrays."""
    njit: Any = numba.njit  # whose annotations lack _nrt
    options = {"nogil": True, "error_model": "numpy", "_nrt": False, "forceinline": True}
    options |= _NO_WAYS_IN
    return cast("Function", njit(**options)(function))  # its callers are kept, it need not be


def allocating_kernel(function: Function) -> Function:
    """Compile a loop that makes arrays; its inner loops belong in kernels."""
    return _compile(function)


def _compile(function: Function, **options: Any) -> Function:
    njit: Any = numba.njit  # whose annotations lack _nrt
    options |= {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor NUMBA_CACHE_DIR nor the user's can be written to
        return cast("Function", njit(**options)(function))
    # Kept code is used until the file of its function changes; a helper's file counts as well.
    stamp = _sources_digest(), _digest(Path(function.__code__.co_filename))
    compiled._cache._cache_file._source_stamp = stamp  # noqa: SLF001 the only way
    return cast("Function", compiled)


@functools.cache
def _sources_digest() -> str:
    """A digest of all files of the package, some of which hold compiled code."""
    return _digest(*sorted(Path(__file__).parent.rglob("*.py")))


@functools.cache
def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, value=array).data
    return cgutils.gep(builder, data, index)


@intrinsic
def load_u64(typing_context: Any, data: Any, index: Any) -> Any:  # noqa: ARG001 numba's protocol
    """The eight bytes of a uint8 array from index on, as one little-endian number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        wide = builder.bitcast(address, ir.IntType(64).as_pointer())
        return builder.load(wide, align=1)

    return types.uint64(data, index), generate


@intrinsic
def store(typing_context: Any, data: Any, index: Any, value: Any) -> Any:  # noqa: ARG001 numba's
    """Write the bytes of a number, little-endian, into a uint8 array from index on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, number = arguments
        address = _address(context, builder, signature.args[0], array, at)
        builder.store(number, builder.bitcast(address, number.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, index, value), generate


@intrinsic
def trailing_zeros(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001 numba's protocol
    """Number of zero bits below the lowest one of a uint64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), generate


@intrinsic
def float_bits(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 numba's protocol
    """The bits of a float64 as uint64; numba has no way to view a scalar inside a branch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), generate


@intrinsic
def float_of_bits(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001 numba's protocol
    """The float32 that has the bits of an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:  # noqa: ARG001 numba's protocol
    """Ask for the cache line of array[index] without waiting for it; any index is safe."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(
            builder.module, function_type, "llvm.prefetch.p0i8"
        )
        address = _address(context, builder, signature.args[0], *arguments)
        # For reading, to be kept in all caches, data rather than instructions.
        flags = [number(0), number(3), number(1)]
        builder.call(function, [builder.bitcast(address, pointer), *flags])
        return context.get_dummy_value()

    return types.void(array, index), generate
