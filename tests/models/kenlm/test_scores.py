"""Scores equal KenLM's, bit for bit in float32, for every kind of file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import BatchScores, LanguageModel, ScoreBatch, Texts, TokenArrays
from lmscore.models.loading import load_model

FIXTURES = Path(__file__).parent / "fixtures"
ALL = sorted(path.stem for path in FIXTURES.glob("*.bin"))
EXACT = [name for name in ALL if name.startswith("plain") and "quantized" not in name]
WORDS = [*(FIXTURES / "corpus.txt").read_text().split(), "submarine", "</s>", "<unk>", "<UNK>"]

texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=8)


def model_of(name: str) -> KenlmModel:
    return KenlmModel.open(FIXTURES / f"{name}.bin")


def score(
    model: LanguageModel[Any], batch: list[str], *, bos: bool = True, eos: bool = True
) -> BatchScores:
    items = Texts.from_strings(batch)
    return model.score(ScoreBatch(items, bos=bos, eos=eos, per_token=True))


def tokens_of(scores: BatchScores) -> TokenArrays:
    assert scores.tokens is not None
    return scores.tokens


def nats(log10_probs: list[float]) -> list[float]:
    """From float32 in log10, as KenLM gives them."""
    assert all(np.float32(p) == p for p in log10_probs)
    return [p * math.log(10) for p in log10_probs]


@pytest.mark.parametrize("name", ALL)
def test_scores_are_those_kenlm_gave_when_the_file_was_made(name: str) -> None:
    expected = json.loads((FIXTURES / "expected.json").read_text())
    events = [event for text in expected["log10_prob_length_oov"][name] for event in text]
    log10_probs, lengths, oov = (list(column) for column in zip(*events, strict=True))

    tokens = tokens_of(score(model_of(name), expected["texts"]))

    assert tokens.log_probs.tolist() == nats([float(np.float32(p)) for p in log10_probs])
    assert tokens.matched_orders is not None
    assert tokens.matched_orders.tolist() == lengths
    assert tokens.oov.tolist() == oov


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=30)
@given(batch=texts, bos=st.booleans(), eos=st.booleans())
def test_scores_are_those_of_the_kenlm_package(
    name: str, batch: list[str], bos: bool, eos: bool
) -> None:
    kenlm = pytest.importorskip("kenlm", reason="KenLM could not be installed to compare with")
    peer = kenlm.Model(str(FIXTURES / f"{name}.bin"))
    events = [event for text in batch for event in peer.full_scores(text, bos=bos, eos=eos)]

    tokens = tokens_of(score(model_of(name), batch, bos=bos, eos=eos))

    assert tokens.log_probs.tolist() == nats([log10_prob for log10_prob, _, _ in events])
    assert tokens.matched_orders is not None
    assert tokens.matched_orders.tolist() == [length for _, length, _ in events]
    assert tokens.oov.tolist() == [oov for _, _, oov in events]


@pytest.mark.parametrize("name", EXACT)
@settings(deadline=None, max_examples=30)
@given(batch=texts, bos=st.booleans(), eos=st.booleans())
def test_scores_are_those_of_the_arpa_file_it_was_built_from(
    name: str, batch: list[str], bos: bool, eos: bool
) -> None:
    binary = score(model_of(name), batch, bos=bos, eos=eos)
    arpa = score(load_model(FIXTURES / "plain.arpa"), batch, bos=bos, eos=eos)

    assert binary.log_probs.tolist() == arpa.log_probs.tolist()
    assert binary.log_probs_excluding_oov.tolist() == arpa.log_probs_excluding_oov.tolist()
    assert binary.oov_counts.tolist() == arpa.oov_counts.tolist()
    for field in ("log_probs", "oov", "matched_orders", "begin_bytes", "end_bytes", "offsets"):
        ours, theirs = getattr(tokens_of(binary), field), getattr(tokens_of(arpa), field)
        assert ours.tolist() == theirs.tolist(), field


@pytest.mark.parametrize("name", ["plain.probing", "plain.trie", "plain.quantized_array"])
def test_a_score_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    model = model_of(name)
    batch = (FIXTURES / "corpus.txt").read_text().splitlines() * 3  # several blocks of look-ups

    together = score(model, batch).log_probs.tolist()

    assert together == [score(model, [text]).log_probs[0] for text in batch]


@pytest.mark.parametrize("name", ["plain.probing", "plain.trie"])
def test_a_literal_sentence_start_is_an_unknown_word(name: str) -> None:
    model = model_of(name)

    assert model.vocabulary.id("<s>") == model.vocabulary.unk_id
    assert score(model, ["the <s> boat"]).log_probs == score(model, ["the <unk> boat"]).log_probs
    assert tokens_of(score(model, ["the <s> boat"])).oov.tolist() == [False, True, False, False]
