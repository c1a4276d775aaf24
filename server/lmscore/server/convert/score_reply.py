"""Score and ScoreStream: scores to messages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmscore.models.distribution import EventDetails
from lmscore.models.language_model import BatchScores, Texts, TokenArrays
from lmscore.models.tokenization.word_spans import WordScores, word_scores
from lmscore.models.vocabulary import EOS, Vocabulary
from lmscore.server.convert.items import (
    identity,
    item_error,
    likely_tokens,
    name_empty,
    special_name,
    surfaces,
    token_texts,
    wire_ids,
)
from lmscore.server.convert.score import ScoreWork
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire


def score_response(
    model: ServedModel, work: ScoreWork, scores: BatchScores, details: EventDetails | None
) -> wire.ScoreResponse:
    """Scores in the order of the request, errors in their places."""
    response = wire.ScoreResponse(model=identity(model))
    if not work.errors and scores.tokens is None:
        response.MergeFromString(encode_scores(scores))
        return response
    scored = wire.ScoreResponse.FromString(encode_scores(scores)).scores
    vocabulary = model.model.vocabulary
    if scores.tokens is not None and work.tokens:
        _fill_tokens(scored, scores.tokens, work, vocabulary)
        if details is not None:
            _fill_details(scored, scores.tokens, details, vocabulary)
    if scores.tokens is not None and work.words:
        _fill_words(scored, scores.tokens, work, vocabulary)
    places = iter(scored)
    for i in range(len(scored) + len(work.errors)):
        if i in work.errors:
            response.scores.add(error=item_error(work.errors[i]))
        else:
            response.scores.append(next(places))
    return response


# A TextScore without tokens has the same size whatever its figures, because all its fields are of
# fixed width. So a whole response is laid out as one array of records in protobuf's own encoding,
# which costs a tenth of filling the messages one field at a time.
_FIXED32, _FIXED64, _LENGTH_DELIMITED = 5, 1, 2  # wire types
_FIGURES = (
    ("log_prob", "<f8"),
    ("log_prob_excluding_oov", "<f8"),
    ("perplexity", "<f8"),
    ("perplexity_excluding_oov", "<f8"),
    ("token_count", "<u4"),
    ("oov_count", "<u4"),
)
_RECORD = np.dtype(
    [("tag", "u1"), ("size", "u1")]
    + [pair for name, kind in _FIGURES for pair in ((f"{name}_tag", "u1"), (name, kind))]
)


def _empty_record() -> NDArray[np.void]:
    record = np.zeros(1, _RECORD)
    scores_field = wire.ScoreResponse.DESCRIPTOR.fields_by_name["scores"]
    record["tag"] = scores_field.number << 3 | _LENGTH_DELIMITED
    record["size"] = _RECORD.itemsize - 2
    for name, kind in _FIGURES:
        number = wire.TextScore.DESCRIPTOR.fields_by_name[name].number
        record[f"{name}_tag"] = number << 3 | (_FIXED64 if kind == "<f8" else _FIXED32)
    return record


_EMPTY_RECORD = _empty_record()


def encode_scores(scores: BatchScores) -> bytes:
    """A serialized ScoreResponse that holds just the scores."""
    records = np.repeat(_EMPTY_RECORD, len(scores.log_probs))
    records["log_prob"] = scores.log_probs
    records["log_prob_excluding_oov"] = scores.log_probs_excluding_oov
    records["perplexity"] = scores.perplexities
    records["perplexity_excluding_oov"] = scores.perplexities_excluding_oov
    records["token_count"] = scores.token_counts
    records["oov_count"] = scores.oov_counts
    return records.tobytes()


def _fill_tokens(
    scored: Sequence[wire.TextScore],
    tokens: TokenArrays,
    work: ScoreWork,
    vocabulary: Vocabulary,
) -> None:
    strings, end = work.strings, special_name(vocabulary, vocabulary.eos_id, EOS)
    for i, message in enumerate(scored):
        events = slice(tokens.offsets[i], tokens.offsets[i + 1])
        ids = wire_ids(tokens.token_ids[events])
        filled = message.tokens
        filled.token_ids.extend(ids)
        filled.log_probs.extend(tokens.log_probs[events].tolist())
        filled.oov.extend(tokens.oov[events].tolist())
        if tokens.matched_orders is not None:
            filled.matched_orders.extend(tokens.matched_orders[events].tolist())
        if strings is None or tokens.begin_bytes is None or tokens.end_bytes is None:
            filled.tokens.extend(token_texts(ids, vocabulary))
            continue
        begins = tokens.begin_bytes[events].tolist()
        ends = tokens.end_bytes[events].tolist()
        filled.begin_bytes.extend(begins)
        filled.end_bytes.extend(ends)
        texts = surfaces(strings[i], begins, ends)
        if work.batch.eos:
            texts[-1] = end
        name_empty(texts, ids, vocabulary)
        filled.tokens.extend(texts)


def _fill_details(
    scored: Sequence[wire.TextScore],
    tokens: TokenArrays,
    details: EventDetails,
    vocabulary: Vocabulary,
) -> None:
    for i, message in enumerate(scored):
        begin, end = tokens.offsets[i], tokens.offsets[i + 1]
        filled = message.tokens
        filled.ranks.extend(details.ranks[begin:end].tolist())
        filled.entropies.extend(details.distributions.entropies[begin:end].tolist())
        filled.alternatives.extend(
            likely_tokens(details.distributions, event, vocabulary) for event in range(begin, end)
        )


def _fill_words(
    scored: Sequence[wire.TextScore], tokens: TokenArrays, work: ScoreWork, vocabulary: Vocabulary
) -> None:
    if work.strings is None or not isinstance(work.batch.items, Texts):
        return
    eos = work.batch.eos
    words = word_scores(work.batch.items, tokens, eos=eos)
    end = special_name(vocabulary, vocabulary.eos_id, EOS)
    for i, message in enumerate(scored):
        message.words.CopyFrom(words_message(words, i, work.strings[i], end if eos else None))


def words_message(words: WordScores, text: int, string: str, end: str | None) -> wire.WordScores:
    """The words of one text of a batch; end is the name of its end, where that is one of them."""
    of_text = slice(words.offsets[text], words.offsets[text + 1])
    begins, ends = words.begin_bytes[of_text].tolist(), words.end_bytes[of_text].tolist()
    texts = surfaces(string, begins, ends)
    if end is not None:
        texts[-1] = end
    return wire.WordScores(
        words=texts,
        begin_bytes=begins,
        end_bytes=ends,
        log_probs=words.log_probs[of_text].tolist(),
        oov=words.oov[of_text].tolist(),
        token_counts=words.token_counts[of_text].tolist(),
    )
