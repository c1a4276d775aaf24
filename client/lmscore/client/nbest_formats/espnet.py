"""ESPnet: folders `1best_recog`, `2best_recog` … with `text`, `score` and maybe `token`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from lmscore.client.nbest_formats.blocks import SeenIds
from lmscore.client.nbest_formats.format import (
    Layout,
    NBestFormat,
    Parts,
    Room,
    non_empty,
    only_score,
)
from lmscore.client.nbest_formats.lockstep import KeyedFile
from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import SCORE, UnwritableError, line_text, word
from lmscore.client.requests import Hypothesis, NBestList
from lmscore.client.textfile import FileError

_TEXT, _SCORE, _TOKENS = "text", "score", "token"


@dataclass
class _Rank:
    """The files of the hypotheses of one rank."""

    texts: KeyedFile
    scores: KeyedFile
    tokens: KeyedFile | None

    def take(self, key: str) -> Hypothesis:
        """The hypothesis of an utterance, which comes next."""
        text, score = self.texts.take(key), self.scores.take_number(key)
        columns = (self.tokens.take(key),) if self.tokens is not None else ()
        return Hypothesis(text, {SCORE: score}, columns)


def _read(source: Source) -> Iterator[NBestList]:
    """Lists in the order of the first rank; others may lack an utterance, and have its order."""
    ranks = [_rank(source, folder) for folder in _folders(source.path)]
    if not ranks:
        raise FileError(source.path, "expected a folder with 1best_recog in it")
    seen = SeenIds()
    best = ranks[0].texts
    while (key := best.key) is not None:
        if not seen.add(key):
            raise FileError(best.path, f"{key} stands there twice", line=best.line_number)
        yield NBestList(key, tuple(rank.take(key) for rank in ranks if rank.texts.key == key))
    for rank in ranks:
        for file in (rank.texts, rank.scores, rank.tokens):
            if file is not None:
                file.end()


def _folders(path: str) -> Iterator[Path]:
    for n in count(1):
        folder = Path(path) / f"{n}best_recog"
        if not folder.is_dir():
            return
        yield folder


def _rank(source: Source, folder: Path) -> _Rank:
    tokens = folder / _TOKENS
    return _Rank(
        KeyedFile(source, str(folder / _TEXT)),
        KeyedFile(source, str(folder / _SCORE)),
        KeyedFile(source, str(tokens)) if tokens.exists() else None,
    )


def _render(_: int, nbest: NBestList, __: Sequence[str]) -> Parts:
    only_score(non_empty(nbest), "ESPnet's format")
    key = word(nbest.id, "id")
    parts = {}
    has_tokens = [bool(each.columns) for each in nbest.hypotheses]
    if any(has_tokens) != all(has_tokens):
        raise UnwritableError(f"list {key}: only some of its hypotheses have tokens")
    for n, hypothesis in enumerate(nbest.hypotheses, 1):
        folder = f"{n}best_recog"
        parts[f"{folder}/{_TEXT}"] = f"{key} {line_text(hypothesis.text, 'text')}\n"
        parts[f"{folder}/{_SCORE}"] = f"{key} {hypothesis.features[SCORE]!r}\n"
        if hypothesis.columns:
            parts[f"{folder}/{_TOKENS}"] = f"{key} {line_text(hypothesis.columns[0], 'tokens')}\n"
    return parts


FORMAT = NBestFormat(
    "a folder with 1best_recog/text, 1best_recog/score and so on, lines `key value`",
    _read,
    _render,
    recognizes_folder=lambda source: next(_folders(source.path), None) is not None,
    room=Room.ONE_SCORE,
    layout=Layout.FOLDER,
)
