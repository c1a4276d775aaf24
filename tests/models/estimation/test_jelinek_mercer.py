"""Weights fitted by EM on held-out text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscore.models.estimation.jelinek_mercer import fit_weights
from lmscore.models.estimation.lexicon import Lexicon
from lmscore.models.estimation.merging import count_ngrams
from lmscore.models.estimation.smoothing import SmoothingInputs, jelinek_mercer
from lmscore.models.estimation.workspace import Workspace
from lmscore.models.measures import measure
from lmscore.models.ngram.from_table import model_from_table
from tests.models.estimation.trained import SENTENCES, train_file

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=10)


@given(corpus=TEXTS.filter(any), heldout=TEXTS, order=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_em_never_lowers_the_likelihood_of_held_out_text(
    corpus: list[list[str]], heldout: list[list[str]], order: int
) -> None:
    lexicon = Lexicon()
    tokens, others = (
        lexicon.encode("".join(" ".join(line) + "\n" for line in lines).encode())
        for lines in (corpus, heldout)
    )
    ngrams = count_ngrams(tokens, len(lexicon), order, len(tokens), Workspace())
    counts = jelinek_mercer(ngrams, SmoothingInputs(heldout=others)).counts

    weights, likelihoods = fit_weights(ngrams.orders, counts, others)

    assert all(after >= before - 1e-9 for before, after in pairwise(likelihoods))
    assert ((weights >= 0) & (weights <= 1)).all()


def test_the_fitted_likelihood_is_that_of_the_model(tmp_path: Path) -> None:
    lines = SENTENCES.read_text().splitlines(keepends=True)
    (tmp_path / "corpus").write_text("".join(lines[:100]))
    (tmp_path / "heldout").write_text("".join(lines[100:]))
    table, _ = train_file(
        tmp_path / "corpus", order=3, smoothing="jelinek-mercer", heldout=tmp_path / "heldout"
    )
    text = (tmp_path / "heldout").read_bytes()
    lexicon = Lexicon()
    tokens = lexicon.encode((tmp_path / "corpus").read_bytes())
    others = lexicon.encode(text, grow=False)
    ngrams = count_ngrams(tokens, len(lexicon), 3, len(tokens), Workspace())
    counts = jelinek_mercer(ngrams, SmoothingInputs(heldout=others)).counts

    _, likelihoods = fit_weights(ngrams.orders, counts, others)

    found = measure(model_from_table(table), [(text, text)])
    assert found.log_prob == pytest.approx(likelihoods[-1], rel=1e-4)
    assert likelihoods[-1] > likelihoods[0] + 1


def test_held_out_text_that_shares_no_word_makes_a_sensible_model(tmp_path: Path) -> None:
    (tmp_path / "heldout").write_text("nothing here is known\n")

    table, _ = train_file(
        SENTENCES, order=3, smoothing="jelinek-mercer", heldout=tmp_path / "heldout"
    )

    assert np.isfinite(table.orders[0].log10_probs).all()
