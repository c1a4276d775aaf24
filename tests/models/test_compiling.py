"""That something is compiled is told once, and nothing is told where all is there."""

from __future__ import annotations

from typing import Any

import numba

from lmscore.models.compiling import when_compiling


def fresh() -> Any:
    return numba.njit(lambda number: number + 1)


def test_the_first_compilation_is_told_and_none_of_what_is_there() -> None:
    told: list[str] = []
    one, other = fresh(), fresh()
    with when_compiling(lambda: told.append("compiling")):
        assert told == []
        assert one(1) == 2
        assert other(1.5) == 2.5
    assert told == ["compiling"]

    with when_compiling(lambda: told.append("again")):
        assert one(1) == 2
    assert fresh()(1) == 2
    assert told == ["compiling"]
