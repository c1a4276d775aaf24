"""JSON lines: a list a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from lmscore.client.nbest_formats.format import NBestFormat, Parts, non_empty
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import SCORE, checked
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError

_HYPOTHESIS = '[text, score], [text, {feature: value, …}] or {"text": text, feature: value, …}'


def _read(source: Source) -> Iterator[NBestList]:
    for line in source.lines:
        if not line.text or line.text.isspace():
            continue
        try:
            yield _list(loaded(line.text))
        except ValueError as error:
            raise FileError(source.path, str(error), line=line.number) from error


def loaded(text: str) -> Any:
    """What JSON says; ValueError for what is none, and for NaN and infinities."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: nested too deeply") from error


def refuse_constant(name: str) -> NoReturn:
    """ValueError for NaN, Infinity and -Infinity."""
    raise ValueError(f"{name} is not a finite number")


def encodable(text: str, place: str) -> str:
    """The text; ValueError for half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place}: character {error.start} is half a surrogate pair") from error
    return text


def _list(entry: Any) -> NBestList:
    """One line's list; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    name, reference, hypotheses = entry.get("id"), entry.get("ref"), entry.get("hyps")
    if not isinstance(name, str):
        raise ValueError('"id" must be a string')
    if not isinstance(reference, str | None):
        raise ValueError('"ref" must be a string where it is given')
    if not isinstance(hypotheses, list) or not hypotheses:
        raise ValueError(f'"hyps" must be a list of at least one {_HYPOTHESIS}')
    return NBestList(
        encodable(name, '"id"'),
        tuple(_hypothesis(f'"hyps"[{i}]', each) for i, each in enumerate(hypotheses)),
        reference,
    )


def _hypothesis(place: str, entry: Any) -> Hypothesis:
    match entry:
        case [str(text), int() | float() as score] if not isinstance(score, bool):
            return Hypothesis(encodable(text, place), {SCORE: checked(score, place)})
        case [str(text), dict(features)]:
            return Hypothesis(encodable(text, place), _features(place, features))
        case [str(text), dict(features), [*columns]] if all(isinstance(c, str) for c in columns):
            return Hypothesis(encodable(text, place), _features(place, features), tuple(columns))
        case {"text": str(text)}:
            scores = {name: value for name, value in entry.items() if name != "text"}
            return Hypothesis(encodable(text, place), _features(place, scores))
    raise ValueError(f"{place} must be {_HYPOTHESIS}")


def _features(place: str, entry: dict[str, Any]) -> dict[str, float]:
    for name, value in entry.items():
        encodable(name, place)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{place}: feature {name!r} must be a number")
    return {name: checked(value, f"{place}, {name}") for name, value in entry.items()}


def _render(_: int, nbest: NBestList, __: Sequence[str]) -> Parts:
    reference = {} if nbest.reference is None else {"ref": nbest.reference}
    hypotheses = [_entry(each) for each in non_empty(nbest).hypotheses]
    record = {"id": nbest.id, **reference, "hyps": hypotheses}
    return {"": json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"}


def _entry(hypothesis: Hypothesis) -> list[Any]:
    features = dict(hypothesis.features)
    if hypothesis.columns:
        return [hypothesis.text, features, list(hypothesis.columns)]
    alone = features.keys() == {SCORE}
    return [hypothesis.text, features[SCORE] if alone else features]


FORMAT = NBestFormat(
    '{"id": …, "ref": … (optional), "hyps": [[text, score], …]}',
    _read,
    _render,
    recognizes_file=lambda opening: opening.startswith("{"),  # after mlm-scoring's
    features_vary=True,
)
