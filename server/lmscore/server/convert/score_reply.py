"""Score and ScoreStream: scores to messages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from lmscore.models.compiled import kernel, store
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
from lmscore.server.errors import ServiceError
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelIdentity


def score_reply(
    model: ServedModel, work: ScoreWork, scores: BatchScores, details: EventDetails | None
) -> bytes:
    """A serialized ScoreResponse: scores in the order of the request, errors in their places."""
    if not work.errors and scores.tokens is None:
        who = _identity_field(model.name, model.version, model.fingerprint)
        return who + encode_scores(scores)
    response = wire.ScoreResponse(model=identity(model))
    scored = wire.ScoreResponse.FromString(encode_scores(scores)).scores
    if scores.tokens is not None:
        _fill(scored, scores.tokens, work, details, model.model.vocabulary)
    places = iter(scored)
    for i in range(len(scored) + len(work.errors)):
        if i in work.errors:
            response.scores.add(error=item_error(work.errors[i]))
        else:
            response.scores.append(next(places))
    return response.SerializeToString()


def stream_reply(request_id: int, reply: bytes) -> bytes:
    """A serialized ScoreStreamResponse that holds a serialized ScoreResponse."""
    head = wire.ScoreStreamResponse(request_id=request_id).SerializeToString()
    return b"".join((head, _SCORE_TAG, _varint(len(reply)), reply))


def stream_failure(request_id: int, error: ServiceError) -> bytes:
    """A serialized ScoreStreamResponse that says why there is no ScoreResponse."""
    failure = wire.ScoreStreamResponse(request_id=request_id, error=item_error(error))
    return failure.SerializeToString()


@lru_cache(maxsize=256)
def _identity_field(name: str, version: int, fingerprint: str) -> bytes:
    who = ModelIdentity(name=name, version=version, fingerprint=fingerprint)
    return wire.ScoreResponse(model=who).SerializeToString()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# A TextScore without tokens has the same size whatever its figures, because all its fields are of
# fixed width. So a compiled loop lays out a whole response in protobuf's own encoding, which takes
# a fiftieth of the time that filling the messages one field at a time does.
_FIXED32, _FIXED64, _LENGTH_DELIMITED = 5, 1, 2  # wire types
_FIGURES = ("log_prob", "log_prob_excluding_oov", "perplexity", "perplexity_excluding_oov")
_COUNTS = ("token_count", "oov_count")


def _tag(message: type[Message], name: str, wire_type: int) -> int:
    return int(message.DESCRIPTOR.fields_by_name[name].number) << 3 | wire_type


_SCORE_TAG = bytes([_tag(wire.ScoreStreamResponse, "score", _LENGTH_DELIMITED)])
_RECORD_SIZE = 2 + 9 * len(_FIGURES) + 5 * len(_COUNTS)
_RECORD = np.zeros(_RECORD_SIZE, np.uint8)  # of a TextScore, in the field that holds it
_RECORD[:2] = _tag(wire.ScoreResponse, "scores", _LENGTH_DELIMITED), _RECORD_SIZE - 2
_RECORD[2:38:9] = [_tag(wire.TextScore, name, _FIXED64) for name in _FIGURES]
_RECORD[38::5] = [_tag(wire.TextScore, name, _FIXED32) for name in _COUNTS]


def encode_scores(scores: BatchScores) -> bytes:
    """A serialized ScoreResponse that holds just the scores."""
    records = np.empty(len(scores.log_probs) * _RECORD_SIZE, np.uint8)
    _lay_out(
        _RECORD,
        scores.log_probs,
        scores.log_probs_excluding_oov,
        scores.token_counts,
        scores.oov_counts,
        records,
    )
    return records.tobytes()


@kernel
def _lay_out(
    record: NDArray[np.uint8],
    log_probs: NDArray[np.float64],
    known_log_probs: NDArray[np.float64],
    token_counts: NDArray[np.int64],
    oov_counts: NDArray[np.int64],
    records: NDArray[np.uint8],
) -> None:
    for i in range(log_probs.size):
        at = i * record.size
        for j in range(record.size):
            records[at + j] = record[j]
        known = token_counts[i] - oov_counts[i]
        store(records, at + 3, log_probs[i])
        store(records, at + 12, known_log_probs[i])
        store(records, at + 21, np.exp(-log_probs[i] / max(token_counts[i], 1)))
        store(records, at + 30, np.exp(-known_log_probs[i] / max(known, 1)))
        store(records, at + 39, np.uint32(token_counts[i]))
        store(records, at + 44, np.uint32(oov_counts[i]))


def warm_up() -> None:
    """Compile the loop."""
    encode_scores(BatchScores(*np.zeros((2, 1)), *np.zeros((2, 1), np.int64)))


def _fill(
    scored: Sequence[wire.TextScore],
    tokens: TokenArrays,
    work: ScoreWork,
    details: EventDetails | None,
    vocabulary: Vocabulary,
) -> None:
    items = work.batch.items
    texts = items.encoded() if isinstance(items, Texts) else None
    if work.tokens:
        _fill_tokens(scored, tokens, texts, work, vocabulary)
        if details is not None:
            _fill_details(scored, tokens, details, vocabulary)
    if work.words and isinstance(items, Texts) and texts is not None:
        eos = work.batch.eos
        end = special_name(vocabulary, vocabulary.eos_id, EOS) if eos else None
        words = word_scores(items, tokens, eos=eos)
        for i, message in enumerate(scored):
            message.words.CopyFrom(words_message(words, i, texts[i], end))


def _fill_tokens(
    scored: Sequence[wire.TextScore],
    tokens: TokenArrays,
    texts: list[bytes] | None,  # unless token sequences were scored
    work: ScoreWork,
    vocabulary: Vocabulary,
) -> None:
    end = special_name(vocabulary, vocabulary.eos_id, EOS)
    for i, message in enumerate(scored):
        events = slice(tokens.offsets[i], tokens.offsets[i + 1])
        ids = wire_ids(tokens.token_ids[events])
        filled = message.tokens
        filled.token_ids.extend(ids)
        filled.log_probs.extend(tokens.log_probs[events].tolist())
        filled.oov.extend(tokens.oov[events].tolist())
        if tokens.matched_orders is not None:
            filled.matched_orders.extend(tokens.matched_orders[events].tolist())
        if texts is None or tokens.begin_bytes is None or tokens.end_bytes is None:
            filled.tokens.extend(token_texts(ids, vocabulary))
            continue
        begins = tokens.begin_bytes[events].tolist()
        ends = tokens.end_bytes[events].tolist()
        filled.begin_bytes.extend(begins)
        filled.end_bytes.extend(ends)
        shown = surfaces(texts[i], begins, ends)
        if work.batch.eos:
            shown[-1] = end
        name_empty(shown, ids, vocabulary)
        filled.tokens.extend(shown)


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


def words_message(words: WordScores, text: int, data: bytes, end: str | None) -> wire.WordScores:
    """The words of one text of a batch; end is the name of its end, where that is one of them."""
    of_text = slice(words.offsets[text], words.offsets[text + 1])
    begins, ends = words.begin_bytes[of_text].tolist(), words.end_bytes[of_text].tolist()
    texts = surfaces(data, begins, ends)
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
