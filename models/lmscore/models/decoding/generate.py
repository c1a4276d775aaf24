"""Text from prompts in one call, on the batch that a server uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lmscore.models.decoding.parameters import Decoding
from lmscore.models.decoding.random_numbers import draw_seed
from lmscore.models.decoding.text_batch import (
    DecoderFactory,
    Event,
    Finished,
    Place,
    Prompt,
    TextBatch,
    Token,
)
from lmscore.models.language_model import LanguageModel, Texts

__all__ = ["Event", "Finished", "Place", "Token", "generate"]


def generate(
    model: LanguageModel[Any],
    prompts: Sequence[str],
    settings: Decoding,
    decoder: DecoderFactory | None = None,
    *,
    bos: bool = True,
) -> Iterator[Event]:
    """Continue prompts; events of a text are in order, those of several texts interleaved.

    Texts of beam searches come whole, best first. The decoder is the model's unless given; bos
    says whether ``<s>`` stands before each prompt. Raises ParameterError for a token id that is not
    in the vocabulary, CapabilityError for a model that cannot name its tokens.
    """
    settings.check_token_ids(len(model.vocabulary))
    texts = Texts.from_strings(list(prompts))
    batch = TextBatch(model, decoder)
    batch.join(model.read(texts, bos=bos), _prompts(model, prompts, texts, settings))
    return _events(batch)


def _prompts(
    model: LanguageModel[Any], prompts: Sequence[str], texts: Texts, settings: Decoding
) -> list[Prompt]:
    seed = draw_seed() if settings.seed is None else settings.seed
    tokens = model.tokenize(texts)
    return [
        Prompt(
            number,
            prompt.encode(),
            tokens.token_ids[slice(*tokens.offsets[number : number + 2])],
            settings,
            seed,
            number * settings.num_sequences,  # equal prompts are to have texts of their own
        )
        for number, prompt in enumerate(prompts)
    ]


def _events(batch: TextBatch[Any]) -> Iterator[Event]:
    while len(batch):
        yield from batch.events(batch.step())
