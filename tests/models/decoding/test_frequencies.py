"""Tokens of an n-gram model are drawn as often as its distribution says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from lmscore.models.decoding.batch import DecodingBatch
from lmscore.models.decoding.parameters import Decoding, Sampling
from lmscore.models.decoding.rows import NewSequence
from lmscore.models.language_model import LanguageModel, Texts
from lmscore.models.loading import load_model
from tests.models.backoff import normalized_backoff
from tests.models.decoding.choosing import expected_probs

DRAWS = 20_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel[Any]:
    path = tmp_path_factory.mktemp("model") / "model.arpa"
    return load_model(normalized_backoff(3, order=3, words=20).write(path))


@pytest.mark.parametrize(
    ("sampling", "penalty"),
    [
        (Sampling(), 1.0),
        (Sampling(temperature=0.5), 1.0),
        (Sampling(temperature=2.0), 1.0),
        (Sampling(top_k=4), 1.0),
        (Sampling(top_p=0.6), 1.0),
        (Sampling(min_p=0.2), 1.0),
        (Sampling(), 1.6),
        (Sampling(temperature=1.3, top_k=12, top_p=0.8, min_p=0.05), 1.3),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(
    model: LanguageModel[Any], sampling: Sampling, penalty: float
) -> None:
    prompt = Texts.from_strings(["w1 w2"])
    prompt_ids = model.tokenize(prompt).token_ids
    settings = Decoding(sampling, repetition_penalty=penalty)
    batch = DecodingBatch(model)
    state = model.read(prompt)
    batch.add(
        model.gather(state, np.zeros(DRAWS, np.int64)),
        [NewSequence(settings, 7, i, prompt_ids) for i in range(DRAWS)],
    )

    result = batch.step()

    counts = np.bincount(result.token_ids, minlength=len(model.vocabulary))
    probs = expected_probs(adjusted(model, state, prompt_ids, penalty), sampling)
    assert (counts[probs == 0] == 0).all()
    drawn = probs > 0
    assert drawn.sum() > 1
    assert chisquare(counts[drawn], probs[drawn] * DRAWS).pvalue > 1e-4


def adjusted(
    model: LanguageModel[Any], state: Any, prompt_ids: NDArray[np.int64], penalty: float
) -> NDArray[np.float64]:
    log_probs: NDArray[np.float64] = model.next_log_probs(state)[0].copy()
    log_probs[np.unique(prompt_ids)] *= penalty
    log_probs[[model.vocabulary.unk_id, model.vocabulary.bos_id]] = -np.inf
    return log_probs
