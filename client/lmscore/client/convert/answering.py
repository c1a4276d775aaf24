"""Parts that several answers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeVar

from google.protobuf.descriptor import EnumDescriptor

from lmscore.client.errors import ItemError
from lmscore.client.results import Answer, LikelyToken, ModelIdentity, WordScore
from lmscore.client.status import code_of
from lmscore.v1 import common_pb2
from lmscore.v1 import language_model_service_pb2 as wire

Item = TypeVar("Item")


Message = TypeVar("Message", bound="_HasError")


class _HasError(Protocol):
    """A message of one item: its answer, or why there is none."""

    @property
    def error(self) -> common_pb2.ItemError: ...

    def HasField(self, field_name: Literal["error"], /) -> bool: ...  # noqa: N802 (protobuf's)


def answer_of(
    identity: common_pb2.ModelIdentity,
    messages: Iterable[Message],
    convert: Callable[[Message], Item],
) -> Answer[Item]:
    """The items of an answer, each converted or with its error."""
    return Answer(
        model_identity(identity),
        tuple(
            item_error(message.error) if message.HasField("error") else convert(message)
            for message in messages
        ),
    )


def item_error(error: common_pb2.ItemError) -> ItemError:
    """Why an item, or one request of a stream, has no answer."""
    return ItemError(code_of(error.code), error.reason, error.message, error.field)


def model_identity(identity: common_pb2.ModelIdentity) -> ModelIdentity:
    """The model that answered."""
    return ModelIdentity(identity.name, identity.version, identity.fingerprint)


def word_scores(words: wire.WordScores) -> tuple[WordScore, ...]:
    """The words of a text."""
    columns = zip(
        words.words,
        words.log_probs,
        words.oov,
        words.begin_bytes,
        words.end_bytes,
        words.token_counts,
        strict=True,
    )
    return tuple(WordScore(*row) for row in columns)


def likely_tokens(tokens: wire.LikelyTokens) -> tuple[LikelyToken, ...]:
    """The head of a distribution, likeliest first."""
    columns = zip(tokens.tokens, tokens.token_ids, tokens.log_probs, strict=True)
    return tuple(LikelyToken(*row) for row in columns)


def enum_name(enum: EnumDescriptor, value: int) -> str:
    """Lower-case name of an enum's value without the prefix that all its names share.

    Values newer than this client are "unspecified", which is what 0 is called.
    """
    names = enum.values_by_number
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return names.get(value, names[0]).name.removeprefix(prefix).lower()
