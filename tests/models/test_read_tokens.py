"""Reading tokens, at once or in pieces, is reading their text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmscore.models.language_model import LanguageModel, Texts, TokenSequences
from lmscore.models.loading import load_model
from tests.models.decoding.table_model import TableModel
from tests.server.generating import DEMO, byte_network

KENLM = Path(__file__).parent / "kenlm" / "fixtures"

MODELS: dict[str, Callable[[], LanguageModel[Any]]] = {
    "n-grams": lambda: load_model(DEMO),
    "kenlm probing": lambda: load_model(KENLM / "plain.probing.bin"),
    "kenlm bigrams": lambda: load_model(KENLM / "bigrams.trie.bin"),
    "network": byte_network,
    "one by one": lambda: TableModel.random(1, letters=5),
}
TEXTS = ["the function returns a value", "", "zzz the", "a", "b a c d e a b é the boat we left"]


def read_in_pieces(model: LanguageModel[Any], texts: Texts, size: int) -> Any:
    tokens = model.tokenize(texts)
    states = model.initial_state(len(texts))
    at, ends = tokens.offsets[:-1].copy(), tokens.offsets[1:]
    while (at < ends).any():
        until = np.minimum(at + size, ends)
        pieces = [tokens.token_ids[b:e] for b, e in zip(at, until, strict=True)]
        offsets = np.cumsum([0, *map(len, pieces)])
        states = model.read_tokens(states, TokenSequences(np.concatenate(pieces), offsets))
        at = until
    return states


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("name", list(MODELS))
def test_pieces_of_any_size_lead_to_the_same_state(name: str, size: int) -> None:
    model, texts = MODELS[name](), Texts.from_strings(TEXTS)

    read = model.next_log_probs(read_in_pieces(model, texts, size))

    tolerance = 1e-5 if name == "network" else 0
    expected = model.next_log_probs(model.read(texts))
    np.testing.assert_allclose(read, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", list(MODELS))
def test_sequences_of_different_lengths_stay_in_their_order(name: str) -> None:
    model = MODELS[name]()
    ids = [[3, 4], [], [5], [4, 3, 5, 3, 4, 5], [3]]
    offsets = np.cumsum([0, *map(len, ids)])
    sequences = TokenSequences(np.array([i for each in ids for i in each]), offsets)

    together = model.next_log_probs(model.read_tokens(model.initial_state(5), sequences))

    for row, each in zip(together, ids, strict=True):
        state = model.initial_state(1)
        for token_id in each:
            state = model.advance(state, np.array([token_id]))
        np.testing.assert_allclose(row, model.next_log_probs(state)[0], rtol=0, atol=1e-5)
