"""What a model would rather have in the place of a span, with all of the text in view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmscore.models.error_detection.candidates import SEPARATORS, joined, likely_words, pieces
from lmscore.models.error_detection.detection import ErrorSpan
from lmscore.models.error_detection.misfit import words_alone
from lmscore.models.error_detection.spelling import Neighbours, neighbours
from lmscore.models.interruption import check_wanted
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts

LIKELY_WORDS = 40
"""Words that are tried in the place of another because of what stands before it."""

MOST_CANDIDATES = LIKELY_WORDS + 21
"""At most so many texts are scored for a word in the first round, and once more in the second."""

_SECOND_ROUND = 10  # the best candidates of a word, beside the best of the others
_BYTES_AT_ONCE = 1 << 18

Source: TypeAlias = Literal["vocabulary", "spelling", "deletion"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """What may stand in the place of a span."""

    text: str
    gain: float  # nats that the whole text gains; a deletion's less what the word alone costs
    source: Source


@dataclass(frozen=True, slots=True)
class _Edit:
    """A change of one word of a span."""

    word: int  # its index in the span
    begin: int  # in bytes of the text
    end: int
    text: bytes
    source: Source


def find_alternatives(
    model: LanguageModel[Any],
    batch: ScoreBatch,
    log_probs: NDArray[np.float64],
    spans: Sequence[ErrorSpan],
    count: int,
    *,
    spelling: bool = False,
) -> list[list[Alternative]]:
    """Up to so many alternatives of each span, by what the whole text's log-probability gains.

    Only what gains is told, except in the place of a word that is out of vocabulary: how likely
    that very word is, the model cannot say. In a span of several words one is changed, or the best
    change of one and another's. log_probs are those of the batch's texts. Raises CapabilityError
    for a model that can only score or has no names for its tokens, or, with spelling, no words.
    """
    data = pieces(_texts(batch))
    candidates = _candidates(model, batch, data, spans, spelling=spelling)
    search = _Search(model, batch, data, log_probs, spans, _costs(model, data, spans))
    first = search.gains([(i, (edit,)) for i, edits in enumerate(candidates) for edit in edits])
    found: list[dict[tuple[_Edit, ...], float]] = [{} for _ in spans]
    for i, edits, gain in first:
        found[i][edits] = gain
    for i, edits, gain in search.gains(list(_second_round(spans, found))):
        found[i][edits] = gain
    return [
        _ranked(span, data[span.text], gains, count)
        for span, gains in zip(spans, found, strict=True)
    ]


def rescored_bytes(span: ErrorSpan, text_bytes: int) -> int:
    """An upper bound of the text that is scored for the alternatives of a span, in bytes."""
    return 2 * MOST_CANDIDATES * len(span.words) * (text_bytes + 1)


def _candidates(
    model: LanguageModel[Any],
    batch: ScoreBatch,
    data: list[bytes],
    spans: Sequence[ErrorSpan],
    *,
    spelling: bool,
) -> list[list[_Edit]]:
    """What may be done to the words of each span."""
    places = [(span.text, word.begin) for span in spans for word in span.words]
    prefixes = joined([data[text][:begin] for text, begin in places])
    contexts = _contexts(batch, [text for text, _ in places])
    likely = iter(likely_words(model, ScoreBatch(prefixes, contexts, batch.bos), LIKELY_WORDS))
    nearby = neighbours(model) if spelling else None
    return [
        [
            edit
            for place, word in enumerate(span.words)
            for edit in _edits(data[span.text], span, place, next(likely), nearby)
        ]
        for span in spans
    ]


def _edits(
    text: bytes, span: ErrorSpan, place: int, expected: list[bytes], nearby: Neighbours | None
) -> Iterator[_Edit]:
    """What may be done to a word; one that may be misspelt is spelled like what was meant."""
    word = span.words[place]
    written = text[word.begin : word.end]
    sources = dict[bytes, Source]()
    if nearby is not None:
        near = nearby.of(written.decode(errors="replace"))
        sources = {each.encode(): "spelling" for each in near}
    if not (word.oov and sources):
        sources |= {each: "vocabulary" for each in expected if each not in sources}
    for each, source in sources.items():
        if each != written:
            yield _Edit(place, word.begin, word.end, each, source)
    yield _deletion(text, span, place)


def _deletion(text: bytes, span: ErrorSpan, place: int) -> _Edit:
    """A word's removal, with the separators on one side of it."""
    begin, end = span.words[place].begin, span.words[place].end
    following = end + len(text[end:]) - len(text[end:].lstrip(SEPARATORS))
    preceding = len(text[:begin].rstrip(SEPARATORS))
    if place == 0 and following > end:
        return _Edit(place, begin, following, b"", "deletion")
    return _Edit(place, preceding, end, b"", "deletion")


def _costs(
    model: LanguageModel[Any], data: list[bytes], spans: Sequence[ErrorSpan]
) -> list[list[float]]:
    """What each word of each span costs by itself, which a text without it does not pay."""
    words = [data[span.text][word.begin : word.end] for span in spans for word in span.words]
    alone = iter(words_alone(model, words).tolist())
    return [[0.0 - next(alone) for _ in span.words] for span in spans]


def _second_round(
    spans: Sequence[ErrorSpan], found: list[dict[tuple[_Edit, ...], float]]
) -> Iterator[tuple[int, tuple[_Edit, ...]]]:
    """The best change of a word, with the best ones of each other word of its span."""
    for i, (span, gains) in enumerate(zip(spans, found, strict=True)):
        if len(span.words) == 1:
            continue
        ranked = [edits[0] for edits in sorted(gains, key=lambda edits: -gains[edits])]
        for word in range(len(span.words)):
            if ranked and word != ranked[0].word:
                others = [edit for edit in ranked if edit.word == word][:_SECOND_ROUND]
                yield from ((i, _in_order(ranked[0], other)) for other in others)


def _in_order(one: _Edit, other: _Edit) -> tuple[_Edit, ...]:
    return (one, other) if one.word < other.word else (other, one)


@dataclass(frozen=True, slots=True)
class _Search:
    """Scores changed texts beside the texts as they are."""

    model: LanguageModel[Any]
    batch: ScoreBatch
    data: list[bytes]
    log_probs: NDArray[np.float64]
    spans: Sequence[ErrorSpan]
    costs: list[list[float]]  # of each word of each span: its surprisal without context, in nats

    def gains(
        self, changes: Sequence[tuple[int, tuple[_Edit, ...]]]
    ) -> Iterator[tuple[int, tuple[_Edit, ...], float]]:
        """The changes of spans, by index, each with what it gains; those that gain a number."""
        for part in self._parts(changes):
            check_wanted()
            texts = [self.spans[i].text for i, _ in part]
            changed = joined(
                [_changed(self.data[t], e) for t, (_, e) in zip(texts, part, strict=True)]
            )
            batch = ScoreBatch(
                changed, _contexts(self.batch, texts), self.batch.bos, self.batch.eos
            )
            scores = self.model.score(batch).log_probs
            for (i, edits), score, text in zip(part, scores.tolist(), texts, strict=True):
                deleted = [edit.word for edit in edits if edit.source == "deletion"]
                cost = sum(self.costs[i][word] for word in deleted)
                gain = score - float(self.log_probs[text]) - cost
                if not math.isnan(gain):  # impossible before and after
                    yield i, edits, gain

    def _parts(
        self, changes: Sequence[tuple[int, tuple[_Edit, ...]]]
    ) -> Iterator[list[tuple[int, tuple[_Edit, ...]]]]:
        part: list[tuple[int, tuple[_Edit, ...]]] = []
        size = 0
        for change in changes:
            part.append(change)
            size += len(self.data[self.spans[change[0]].text])
            if size >= _BYTES_AT_ONCE:
                yield part
                part, size = [], 0
        if part:
            yield part


def _changed(text: bytes, edits: tuple[_Edit, ...]) -> bytes:
    for edit in reversed(edits):
        text = text[: edit.begin] + edit.text + text[edit.end :]
    return text


def _ranked(
    span: ErrorSpan, text: bytes, gains: dict[tuple[_Edit, ...], float], count: int
) -> list[Alternative]:
    """The changes that gain most, as what the span becomes."""
    best: dict[str, Alternative] = {}
    for edits in sorted(gains, key=lambda edits: -gains[edits]):
        if gains[edits] <= 0 and not all(_replaces_unknown(span, edit) for edit in edits):
            continue
        becomes = _becomes(span, text, edits)
        best.setdefault(becomes, Alternative(becomes, gains[edits], edits[0].source))
    return list(best.values())[:count]


def _replaces_unknown(span: ErrorSpan, edit: _Edit) -> bool:
    return span.words[edit.word].oov and edit.source != "deletion"


def _becomes(span: ErrorSpan, text: bytes, edits: tuple[_Edit, ...]) -> str:
    becomes = text[span.begin : span.end]  # without separators around it that went with a word
    for edit in reversed(edits):
        begin = max(edit.begin - span.begin, 0)
        becomes = becomes[:begin] + edit.text + becomes[edit.end - span.begin :]
    return becomes.decode(errors="replace")


def _contexts(batch: ScoreBatch, texts: list[int]) -> Texts | None:
    """The contexts of some texts of a batch."""
    if batch.contexts is None or len(batch.contexts) != len(batch.items):
        return batch.contexts
    contexts = pieces(batch.contexts)
    return joined([contexts[i] for i in texts])


def _texts(batch: ScoreBatch) -> Texts:
    if not isinstance(batch.items, Texts):
        raise TypeError("token sequences have no words")
    return batch.items
