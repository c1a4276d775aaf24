"""Settings out of range are refused, and the field is named."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pytest

from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling
from lmscore.models.errors import ParameterError

BAD: list[tuple[type, dict[str, Any], str]] = [
    *((Sampling, {"temperature": t}, "temperature") for t in (0, -1.0, math.nan, math.inf)),
    *((Sampling, {"top_p": p}, "top_p") for p in (0.0, -0.1, 1.1, math.nan)),
    (Sampling, {"top_k": -1}, "top_k"),
    *((Sampling, {"min_p": p}, "min_p") for p in (-0.1, 1.1, math.nan)),
    (Beam, {"width": 0}, "width"),
    (Beam, {"width": 2, "num_results": 3}, "num_results"),
    (Beam, {"width": 2, "num_results": 0}, "num_results"),
    *(
        (Beam, {"width": 2, "length_penalty": p}, "length_penalty")
        for p in (-1, 16.1, math.nan, math.inf)
    ),
    (Decoding, {"max_tokens": 0}, "max_tokens"),
    (Decoding, {"min_tokens": -1}, "min_tokens"),
    (Decoding, {"max_tokens": 3, "min_tokens": 4}, "min_tokens"),
    *(
        (Decoding, {"repetition_penalty": p}, "repetition_penalty")
        for p in (0, -1, math.nan, math.inf)
    ),
    (Decoding, {"stop_strings": (b"x", b"")}, "stop_strings[1]"),
    (Decoding, {"seed": -1}, "seed"),
    (Decoding, {"seed": 1 << 64}, "seed"),
    (Decoding, {"num_sequences": 0}, "num_sequences"),
    (Decoding, {"alternatives": -1}, "alternatives"),
    (Decoding, {"strategy": Beam(2), "num_sequences": 2}, "num_sequences"),
    (Decoding, {"strategy": Beam(2), "alternatives": 1}, "alternatives"),
]


@pytest.mark.parametrize(("kind", "settings", "field"), BAD)
def test_a_bad_setting_is_named(kind: type, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        kind(**settings)

    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["banned_token_ids", "stop_token_ids"])
@pytest.mark.parametrize("token_id", [-1, 5])
def test_a_token_id_beyond_the_vocabulary_is_named(name: str, token_id: int) -> None:
    settings = Decoding(**{name: (4, token_id)})  # type: ignore[arg-type]

    with pytest.raises(ParameterError) as caught:
        settings.check_token_ids(5)

    assert caught.value.field == f"{name}[1]"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Sampling, {"temperature": 1e-9, "top_k": 0, "top_p": 1.0, "min_p": 1.0}),
        (Sampling, {"top_k": 10**9, "min_p": 0.0}),
        (Beam, {"width": 1, "num_results": 1}),
        (Beam, {"width": 1, "length_penalty": 16.0}),
        (Decoding, {"seed": (1 << 64) - 1, "max_tokens": 1, "min_tokens": 1}),
    ],
)
def test_what_is_at_the_edge_is_taken_as_it_is(kind: type[Any], settings: dict[str, Any]) -> None:
    taken = kind(**settings)
    assert {name: getattr(taken, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (Sampling(), (1.0, None, 1.0, 0.0)),
        (Beam(3), (3, 0.0, 1)),
        (Decoding(Beam(3)), ((3, 0.0, 1), 128, 0, 1.0, (), False, (), (), None, 1, 0)),
    ],
)
def test_what_is_not_given_changes_nothing(settings: Any, values: tuple[Any, ...]) -> None:
    assert astuple(settings) == values
    assert Decoding().strategy == Greedy()
