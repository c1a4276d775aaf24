"""Valid requests, and what becomes of them when fields and bytes are changed at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from lmscore.v1.common_pb2 import ModelSelector

LANGUAGE_MODEL = "/lmscore.v1.LanguageModelService/"
MODELS = "/lmscore.v1.ModelService/"

_DOUBLES = (0.0, -0.0, -1.0, 1.0, 1e308, -1e308, 5e-324, 1e-9)
_DOUBLES_THAT_ARE_NONE = (float("nan"), float("inf"), float("-inf"))
_STRINGS = ("", "\0", " ", "a", "\U0010ffff", "e\u0301", "\ufeff", "\r\n\t", "<s>", "</s>", "<unk>")
_LENGTHS = (100, 1000, 10_000)

_UINT, _FIXED64, _DELIMITED, _GROUP, _FIXED32 = 0, 1, 2, 3, 5  # wire types


@dataclass(frozen=True)
class Seed:
    """A method and a request that it answers."""

    method: str
    request: Message


def seeds(models: Sequence[str]) -> list[Seed]:
    """Requests of every method to each of the models."""
    return [seed for model in models for seed in _seeds(ModelSelector(name=model))]


def _seeds(model: ModelSelector) -> list[Seed]:
    texts = ["the class of the object", "", "zzyzx ☂"]
    score = wire.ScoreRequest(
        model=model, texts=texts, context="a", detail=wire.SCORE_DETAIL_NONE, bos=True, eos=True
    )
    full = wire.ScoreRequest(
        model=model, texts=texts[:1], detail=wire.SCORE_DETAIL_FULL, alternatives=3, words=True
    )
    ids = wire.ScoreRequest(model=model, token_sequences=[wire.TokenSequence(ids=[5, 6, 7])])
    nbest = wire.NBestList(
        id="u",
        context="the",
        hypotheses=[wire.Hypothesis(text=text, features=[0.5]) for text in texts],
    )
    weights = wire.RescoreWeights(lm_weight=0.3, length_bonus=0.1, oov_penalty=1.0)
    weights.feature_weights["am"] = 2.0
    rescore = wire.RescoreRequest(
        model=model, lists=[nbest, nbest], feature_names=["am"], weights=[weights]
    )
    common: dict[str, Any] = {"model": model, "prompt": "the class", "max_tokens": 8, "seed": 5}
    sampling = wire.Sampling(temperature=0.7, top_k=5, top_p=0.9, min_p=0.01)
    generates = [
        wire.GenerateRequest(**common, greedy=wire.Greedy(), stop_strings=["is"]),
        wire.GenerateRequest(
            **common,
            sampling=sampling,
            num_sequences=2,
            min_tokens=2,
            banned_token_ids=[4],
            stop_token_ids=[9],
            repetition_penalty=1.1,
            alternatives=2,
            allow_unknown=False,
            bos=True,
        ),
        wire.GenerateRequest(**common, beam=wire.Beam(width=3, length_penalty=0.6, num_results=2)),
    ]
    predict = wire.PredictRequest(model=model, prompts=texts, top_k=4, bos=True)
    return [
        *(Seed(f"{LANGUAGE_MODEL}Score", each) for each in (score, full, ids)),
        *(
            Seed(f"{LANGUAGE_MODEL}ScoreStream", wire.ScoreStreamRequest(request_id=7, score=each))
            for each in (score, full)
        ),
        Seed(f"{LANGUAGE_MODEL}Rescore", rescore),
        *(Seed(f"{LANGUAGE_MODEL}Generate", each) for each in generates),
        Seed(f"{LANGUAGE_MODEL}Predict", predict),
        Seed(f"{LANGUAGE_MODEL}Tokenize", wire.TokenizeRequest(model=model, texts=texts)),
        Seed(f"{MODELS}GetModel", model_service_pb2.GetModelRequest(model=model)),
        Seed(f"{MODELS}ListModels", model_service_pb2.ListModelsRequest()),
    ]


class Mutator:
    """Changes requests; the same seed makes the same changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def mutated(self, seed: Seed) -> bytes:
        """The bytes of a request with one to three of its fields changed, and perhaps its bytes."""
        chance = self._random
        message = type(seed.request)()
        message.CopyFrom(seed.request)
        for _ in range(chance.randint(0, 3)):
            self._change_field(message)
        data = message.SerializeToString()
        if chance.random() < 0.4:
            data = chance.choice(_BYTE_CHANGES)(data, chance, message)
        return data

    def garbage(self) -> bytes:
        """Bytes that were never a request."""
        return self._random.randbytes(self._random.randint(0, 300))

    def _change_field(self, message: Message) -> None:
        """Change a field of the message, or of one in it."""
        chance = self._random
        while True:
            fields: list[Any] = list(message.DESCRIPTOR.fields)
            if not fields:
                return
            field = chance.choice(fields)
            inner = _inner(message, field, chance)
            if inner is None or chance.random() < 0.3:
                break
            message = inner
        if chance.random() < 0.15:
            message.ClearField(field.name)
        elif field.is_repeated:
            self._change_repeated(message, field)
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, self._value(field))

    def _change_repeated(self, message: Message, field: Any) -> None:
        chance, items = self._random, getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            items[chance.choice(_STRINGS)] = self._double()
        elif field.message_type is not None:
            copies = list(items) * chance.choice((1, 2, 30))
            if not copies:
                items.add()
            items.extend(copies[:60])
        elif items and chance.random() < 0.5:
            items[chance.randrange(len(items))] = self._value(field)
        else:
            value = self._value(field)
            long = isinstance(value, str) and len(value) > 20
            items.extend([value] * (1 if long else chance.choice((1, 2, 300))))

    def _value(self, field: Any) -> Any:
        """A value that fits on the wire, most often an extreme one."""
        chance, kind = self._random, field.type
        if kind == FieldDescriptor.TYPE_STRING:
            text = chance.choice(_STRINGS)
            long = chance.random() < 0.05
            return (
                chance.choice(("a", "ü ", "the ", "☂")) * chance.choice(_LENGTHS) if long else text
            )
        if kind in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
            return self._double()
        if kind == FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        if kind == FieldDescriptor.TYPE_ENUM:
            return chance.choice((-(2**31), -1, 0, 1, 2, 3, 4, 99, 2**31 - 1))
        bits = 64 if kind == FieldDescriptor.TYPE_UINT64 else 32
        return chance.choice((0, 1, 2, 3, 10, 100, 2**31 - 1, 2**31, 2**bits - 1))

    def _double(self) -> float:
        return self._random.choice((*_DOUBLES, *_DOUBLES_THAT_ARE_NONE))


def _inner(message: Message, field: Any, chance: random.Random) -> Any:
    """A message in this field, if it holds one."""
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return None
    if not field.is_repeated:
        return getattr(message, field.name)
    items = getattr(message, field.name)
    return chance.choice(list(items)) if items else None


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _field(number: int, wire_type: int, payload: bytes) -> bytes:
    return _varint(number << 3 | wire_type) + payload


def _some_field(message: Message, chance: random.Random) -> int:
    numbers = [field.number for field in message.DESCRIPTOR.fields]
    return chance.choice([*numbers, 1, 19_000, 2**29 - 1])


def _truncated(data: bytes, chance: random.Random, message: Message) -> bytes:
    del message
    return data[: chance.randint(0, len(data))]


def _flipped(data: bytes, chance: random.Random, message: Message) -> bytes:
    del message
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def _inserted(data: bytes, chance: random.Random, message: Message) -> bytes:
    del message
    place = chance.randint(0, len(data))
    return data[:place] + chance.randbytes(chance.randint(1, 20)) + data[place:]


def _invalid_text(data: bytes, chance: random.Random, message: Message) -> bytes:
    text = chance.choice((b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80" * 50))
    return data + _field(_some_field(message, chance), _DELIMITED, _varint(len(text)) + text)


def _wrong_type(data: bytes, chance: random.Random, message: Message) -> bytes:
    kind, size = chance.choice(((_UINT, 1), (_FIXED64, 8), (_FIXED32, 4), (_DELIMITED, 1), (6, 3)))
    return data + _field(_some_field(message, chance), kind, b"\x01" * size)


def _endless_length(data: bytes, chance: random.Random, message: Message) -> bytes:
    length = _varint(chance.choice((2**31 - 1, 2**32, 2**63, 2**64 - 1)))
    return data + _field(_some_field(message, chance), _DELIMITED, length + b"abc")


def _endless_number(data: bytes, chance: random.Random, message: Message) -> bytes:
    return data + _field(_some_field(message, chance), _UINT, b"\xff" * chance.choice((9, 10, 30)))


def _nested_groups(data: bytes, chance: random.Random, message: Message) -> bytes:
    return data + _field(_some_field(message, chance), _GROUP, b"") * chance.choice((1, 99, 5000))


def _nested_messages(data: bytes, chance: random.Random, message: Message) -> bytes:
    number, nested = _some_field(message, chance), b""
    for _ in range(chance.choice((3, 90, 200))):
        nested = _field(number, _DELIMITED, _varint(len(nested)) + nested)
    return data + nested


def _twice(data: bytes, chance: random.Random, message: Message) -> bytes:
    del chance, message
    return data + data


def _both_strategies(data: bytes, chance: random.Random, message: Message) -> bytes:
    """Fields of a oneof one after the other: the last one is to count."""
    del message
    strategies = [b"\x22\x00", b"\x2a\x00", b"\x32\x02\x08\x03"]
    return data + b"".join(chance.sample(strategies, chance.randint(2, 3)))


_BYTE_CHANGES: tuple[Callable[[bytes, random.Random, Message], bytes], ...] = (
    _truncated,
    _flipped,
    _inserted,
    _invalid_text,
    _wrong_type,
    _endless_length,
    _endless_number,
    _nested_groups,
    _nested_messages,
    _twice,
    _both_strategies,
)
