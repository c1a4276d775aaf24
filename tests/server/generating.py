"""What tests of Generate share: a server, whole streams, and what they should say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lmscore.models.decoding.generate import Finished, Token, generate
from lmscore.models.decoding.parameters import Decoding
from lmscore.models.language_model import LanguageModel
from lmscore.models.network.checkpoint import Checkpoint
from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.model import NetworkModel
from lmscore.models.network.placement import Placement
from lmscore.models.tokenization.byte_level import ByteTokenizer
from lmscore.models.tokenization.characters import CharacterTokenizer
from lmscore.models.tokenization.tokenizer import NO_ID, SpecialIds, Tokenizer
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.harness import Connection, running, settings_for

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo" / "trigram.arpa.gz"
MODEL = ModelSelector(name="m")


@asynccontextmanager
async def serving(model: LanguageModel[Any], **settings: Any) -> AsyncIterator[Connection]:
    async with running(settings_for(Path("none"), **settings), load=False) as connection:
        connection.server.repository.add(ServedModel("m", 1, "ab" * 32, model))
        yield connection


def network(tokenizer: Tokenizer) -> NetworkModel:
    """A small LSTM with random weights."""
    size = len(tokenizer.vocabulary)
    config = NetworkConfig("lstm", size, 8, (12, 10))
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: torch.randn(shape, generator=generator) * 0.6
        for name, shape in config.shapes().items()
    }
    return NetworkModel(Checkpoint(config, tensors, tokenizer), Placement("cpu", "float32", 1))


def character_network() -> NetworkModel:
    tokens = ["</s>", *"abcdefghijklmnopqrstuvwxyz ü"]
    return network(CharacterTokenizer(tokens, SpecialIds(0, 0, NO_ID)))


def byte_network() -> NetworkModel:
    return network(ByteTokenizer())


@dataclass
class Text:
    """One text, put together from its messages, or from events of decoding.generate."""

    pieces: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finished: Any = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Stream:
    """All that a call gave."""

    started: wire.GenerationStarted
    messages: list[wire.GenerateResponse]
    texts: dict[int, Text]


def request(**fields: Any) -> wire.GenerateRequest:
    return wire.GenerateRequest(model=MODEL, **fields)


async def generated(connection: Connection, **fields: Any) -> Stream:
    messages = [message async for message in connection.stub.Generate(request(**fields))]
    return stream_of(messages)


def stream_of(messages: list[wire.GenerateResponse]) -> Stream:
    assert [message.HasField("started") for message in messages] == [
        i == 0 for i in range(len(messages))
    ]
    texts: dict[int, Text] = {}
    for message in messages:
        for token in message.tokens:
            text = texts.setdefault(token.sequence, Text())
            assert text.finished is None
            text.pieces.append(token.text)
            text.token_ids.append(token.token_id)
            text.log_probs.append(token.log_prob)
        for finished in message.finished:
            text = texts.setdefault(finished.sequence, Text())
            text.pieces.append(finished.text)
            text.finished = finished
    return Stream(messages[0].started, messages, texts)


def in_process(
    model: LanguageModel[Any], prompt: str, settings: Decoding, *, bos: bool = True
) -> dict[int, Text]:
    """What decoding.generate makes of the same request."""
    texts: dict[int, Text] = {}
    events: Iterable[Token | Finished] = generate(model, [prompt], settings, bos=bos)
    for event in events:
        text = texts.setdefault(event.place.sequence, Text())
        text.pieces.append(event.text)
        if isinstance(event, Token):
            text.token_ids.append(event.token_id)
            text.log_probs.append(event.log_prob)
        else:
            text.finished = event
    return texts
