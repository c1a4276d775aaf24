"""Compiled loops where compiled code cannot be kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lmscore.models.compiled import allocating_kernel, kernel

SOURCE = """
def total(numbers):
    result = 0
    for number in numbers:
        result += number
    return result
"""


@pytest.mark.parametrize("compiler", [kernel, allocating_kernel])
def test_a_loop_whose_code_cannot_be_kept_is_compiled_all_the_same(
    compiler: Callable[[Callable[..., int]], Callable[..., int]],
) -> None:
    namespace: dict[str, Callable[..., int]] = {}
    exec(compile(SOURCE, "<no file>", "exec"), namespace)  # noqa: S102 - numba finds no folder for it

    assert compiler(namespace["total"])(np.arange(5)) == 10
