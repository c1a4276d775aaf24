"""What the conversions share: limits, texts that are too long, errors of single items."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscore.models.distribution import Distributions
from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import LanguageModel, Texts
from lmscore.models.vocabulary import Vocabulary
from lmscore.server.errors import (
    InvalidFieldError,
    ServiceError,
    TextTooLongError,
    UnsupportedError,
)
from lmscore.server.repository import Entry, ServedModel
from lmscore.v1 import common_pb2
from lmscore.v1 import language_model_service_pb2 as wire

BYTES_OF_TOKEN = 30
"""What a reply says of a token takes about so much, besides its text."""

NO_TOKEN_ID = 2**32 - 1
"""On the wire, the id of an unknown token where the vocabulary has none for it."""

ItemErrors = dict[int, ServiceError]
"""Why items of a request cannot be answered, by their index."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may hold."""

    max_texts: int
    max_text_bytes: int
    max_distributions: int  # next-token distributions that one request may ask for
    max_alternatives: int  # tokens of each of them that it may be told
    max_weights: int
    max_reply_bytes: int


def selector(message: common_pb2.ModelSelector) -> tuple[str, int | None, str | None]:
    """Name, version and label asked for; InvalidFieldError for an empty name, or for both."""
    if not message.name:
        raise InvalidFieldError(
            "model.name", "the name of a model is required; ListModels tells them"
        )
    version = message.version if message.HasField("version") else None
    label = message.label if message.HasField("label") else None
    if version is not None and label is not None:
        raise InvalidFieldError("model.label", "give a version or a label, not both")
    return message.name, version, label


def identity(model: Entry) -> common_pb2.ModelIdentity:
    """Who answered."""
    fingerprint = model.fingerprint if isinstance(model, ServedModel) else ""
    return common_pb2.ModelIdentity(name=model.name, version=model.version, fingerprint=fingerprint)


def item_error(error: ServiceError) -> common_pb2.ItemError:
    """Why one item has no answer."""
    path = error.field if isinstance(error, InvalidFieldError) else ""
    return common_pb2.ItemError(
        code=error.code.value[0], reason=error.reason, message=str(error), field=path
    )


def check_count(name: str, count: int, limits: Limits) -> None:
    """Raise InvalidFieldError if a request holds too many."""
    if count > limits.max_texts:
        raise InvalidFieldError(name, f"{count} are too many; the limit is {limits.max_texts}")


def check_distributions(name: str, count: int, limits: Limits) -> None:
    """Raise InvalidFieldError if a request asks for too many next-token distributions."""
    if count > limits.max_distributions:
        problem = f"{count} next-token distributions are over the limit of"
        raise InvalidFieldError(name, f"{problem} {limits.max_distributions}; send fewer texts")


def check_alternatives(name: str, count: int, limits: Limits) -> int:
    """The number of alternatives asked for, if it is within 1 and the limit."""
    if not 1 <= count <= limits.max_alternatives:
        raise InvalidFieldError(name, f"{count} is not within 1 and {limits.max_alternatives}")
    return count


def check_reply_size(name: str, size: int, limits: Limits) -> None:
    """Raise InvalidFieldError if the answer, of about so many bytes, could not be sent."""
    if size > limits.max_reply_bytes:
        problem = f"the answer would take about {size} bytes, over the limit of"
        raise InvalidFieldError(name, f"{problem} {limits.max_reply_bytes}; ask for less at a time")


def check_size(path: str, text: str, limits: Limits) -> None:
    """Raise TextTooLongError if a text is over the limit."""
    # A character has at most four bytes, so most texts need not be encoded to be counted.
    if len(text) * 4 > limits.max_text_bytes:
        size = len(text.encode())
        if size > limits.max_text_bytes:
            raise too_long_error(path, size, limits)


def too_long_error(path: str, size: int, limits: Limits) -> TextTooLongError:
    """The error for a text of that many bytes."""
    return TextTooLongError(path, f"{size} bytes are over the limit of {limits.max_text_bytes}")


def text_items(
    name: str, texts: Sequence[str], limits: Limits
) -> tuple[Texts, list[str], ItemErrors]:
    """The texts of a field that are not too long, as a batch and as they are; others' errors."""
    strings = list(texts)
    items, errors = short_texts(name, Texts.from_strings(strings), limits)
    return items, [text for i, text in enumerate(strings) if i not in errors], errors


def short_texts(name: str, texts: Texts, limits: Limits) -> tuple[Texts, ItemErrors]:
    """The texts of a field that are not too long, and the errors of the others."""
    if texts.offsets[-1] <= limits.max_text_bytes:
        return texts, {}  # not even all of them together
    sizes = texts.offsets[1:] - texts.offsets[:-1]
    too_long = np.flatnonzero(sizes > limits.max_text_bytes)
    if not too_long.size:
        return texts, {}
    errors: ItemErrors = {
        int(i): too_long_error(f"{name}[{i}]", int(sizes[i]), limits) for i in too_long
    }
    return texts.without(too_long), errors


def token_count(model: LanguageModel[Any], texts: Texts, enough: int) -> int:
    """Number of tokens of texts; a bound of it, which is quicker, if that is not above enough."""
    match model.description.tokenizer:
        case "words":
            return int(texts.word_counts().sum())
        case "characters":
            return int(np.count_nonzero((texts.data & 0xC0) != 0x80))
        case "bytes":
            return len(texts.data)
        case "subwords":
            bound = len(texts.data) + len(texts)  # one that covers nothing may stand before a text
            return bound if bound <= enough else len(model.tokenize(texts).token_ids)


def wire_ids(token_ids: NDArray[np.int64]) -> list[int]:
    """Token ids as messages have them: NO_TOKEN_ID for that of an unknown token without one."""
    ids: list[int] = token_ids.astype(np.uint32).tolist()
    return ids


def surfaces(text: bytes, begins: list[int], ends: list[int]) -> list[str]:
    """The pieces of a text that tokens cover, as they are written there.

    A byte of what is not a whole character is written like <0xC3>.
    """
    pairs = zip(begins, ends, strict=True)
    return [text[begin:end].decode(errors=_HEXADECIMAL) for begin, end in pairs]


def name_empty(texts: list[str], token_ids: list[int], vocabulary: Vocabulary) -> None:
    """Put the vocabulary's names in the place of tokens that cover nothing of their text."""
    if "" in texts:
        for i, text in enumerate(texts):
            if not text and token_ids[i] != NO_TOKEN_ID:
                [texts[i]] = token_texts([token_ids[i]], vocabulary)


def special_name(vocabulary: Vocabulary, token_id: int, usual: str) -> str:
    """A special token's name: empty if there is none, the usual one if names are not known."""
    if token_id < 0:
        return ""
    try:
        return vocabulary.token(token_id)
    except CapabilityError:
        return usual


_HEXADECIMAL = "lmscore-hexadecimal"


def _as_hexadecimal(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_HEXADECIMAL, _as_hexadecimal)


def likely_tokens(
    distributions: Distributions, row: int, vocabulary: Vocabulary
) -> wire.LikelyTokens:
    """The head of one distribution."""
    possible = int((distributions.top_ids[row] >= 0).sum())
    ids = distributions.top_ids[row, :possible].tolist()
    log_probs = distributions.top_log_probs[row, :possible].tolist()
    return wire.LikelyTokens(
        tokens=token_texts(ids, vocabulary), token_ids=ids, log_probs=log_probs
    )


def token_texts(token_ids: list[int], vocabulary: Vocabulary) -> list[str]:
    """The texts of tokens; UnsupportedError for a model that does not know them."""
    try:
        return vocabulary.tokens(token_ids)
    except CapabilityError as error:
        raise UnsupportedError(str(error)) from None
