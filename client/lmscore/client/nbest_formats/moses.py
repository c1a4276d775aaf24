"""Moses: `id ||| text ||| name= value … ||| total`, with more columns after that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from lmscore.client.nbest_formats.blocks import Row, blocks
from lmscore.client.nbest_formats.format import NBestFormat, Parts, non_empty
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import SCORE, UnwritableError, finite, line_text, words
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError, Line

_SHAPE = "id ||| text ||| name= value … ||| total"
_SEPARATOR = re.compile(r"(?:^| )\|\|\|(?= |$)")


def _read(source: Source) -> Iterator[NBestList]:
    return blocks(
        _row(source.path, line) for line in source.lines if line.text and not line.text.isspace()
    )


def _row(path: str, line: Line) -> Row:
    name, *rest = _SEPARATOR.split(line.text)
    fields = [each.removeprefix(" ") for each in rest]
    if len(fields) < 2 or not name:
        raise FileError(path, f"expected {_SHAPE}", line=line.number)
    text, features, total, *columns = [*fields, ""] if len(fields) == 2 else fields
    try:
        values = _features(features)
        if total.strip():
            if SCORE in values:
                raise ValueError(f'a feature is named "{SCORE}", as the total is here')
            values[SCORE] = finite(total, "the total")
    except ValueError as error:
        raise FileError(path, str(error), line=line.number) from error
    return Row(path, line.number, name, Hypothesis(text, values, tuple(columns)))


def _features(field: str) -> dict[str, float]:
    """The values by name; those of a name with several are `name[0]`, `name[1]` and so on."""
    groups: dict[str, list[float]] = {}
    name = ""
    for token in words(field):
        if token[-1] in "=:" and len(token) > 1:
            name = token[:-1]
            if name in groups:
                raise ValueError(f"feature {name} stands there twice")
            groups[name] = []
        elif name:
            groups[name].append(finite(token, f"feature {name}"))
        else:
            raise ValueError(f"expected name= before the value {token!r}")
    features: dict[str, float] = {}
    for name, values in groups.items():
        if not values:
            raise ValueError(f"feature {name} has no value")
        numbered = len(values) > 1
        for i, value in enumerate(values):
            key = f"{name}[{i}]" if numbered else name
            if key in features:
                raise ValueError(f"feature {key} stands there twice")
            features[key] = value
    return features


def _render(_: int, nbest: NBestList, __: Sequence[str]) -> Parts:
    name = _field(nbest.id, "id")
    if not name:
        raise UnwritableError("Moses lists need an id")
    return {"": "".join(_line(name, each) for each in non_empty(nbest).hypotheses)}


def _line(name: str, hypothesis: Hypothesis) -> str:
    features = dict(hypothesis.features)
    total = features.pop(SCORE, None)
    fields = [
        name,
        _field(hypothesis.text, "text"),
        _feature_field(features),
        "" if total is None else repr(total),
        *(_field(column, "column") for column in hypothesis.columns),
    ]
    return " ||| ".join(fields) + "\n"


def _field(text: str, what: str) -> str:
    if _SEPARATOR.search(line_text(text, what)):
        raise UnwritableError(f"{what} {text!r} has |||, which ends a column of Moses")
    return text


def _feature_field(features: Mapping[str, float]) -> str:
    written = []
    for name, values in _groups(features):
        if words(name) != [name] or _SEPARATOR.search(name):
            raise UnwritableError(f"Moses cannot have a feature named {name!r}")
        written.append(f"{name}= {' '.join(map(repr, values))}")
    return " ".join(written)


def _groups(features: Mapping[str, float]) -> Iterator[tuple[str, list[float]]]:
    """The features by name, `name[0]`, `name[1]` and so on as one with several values."""
    names = list(features)
    begin = 0
    while begin < len(names):
        name = names[begin].removesuffix("[0]")
        length = 1
        if name != names[begin] and name and name not in features:
            while names[begin + length : begin + length + 1] == [f"{name}[{length}]"]:
                length += 1
        group = names[begin : begin + length]
        yield name if length > 1 else names[begin], [features[each] for each in group]
        begin += length


FORMAT = NBestFormat(
    _SHAPE,
    _read,
    _render,
    recognizes_file=lambda opening: len(_SEPARATOR.findall(opening.split("\n", 1)[0])) > 1,
    features_vary=True,
)
