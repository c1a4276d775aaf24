"""The hand-laid encoding of scores, against protobuf's own."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.language_model import BatchScores, Texts
from lmscore.models.tokenization.tokenizer import SpecialIds, TokenVocabulary
from lmscore.server.convert.items import name_empty, wire_ids
from lmscore.server.convert.score_reply import encode_scores
from lmscore.v1 import language_model_service_pb2 as wire

log_probs = st.one_of(st.floats(-1e6, 0), st.just(-math.inf))


@given(
    st.lists(
        st.tuples(log_probs, log_probs, st.integers(0, 2**31), st.integers(0, 2**31)), max_size=20
    )
)
def test_encoded_scores_are_the_message_that_protobuf_would_make(
    rows: list[tuple[float, float, int, int]],
) -> None:
    columns = np.array(rows, np.float64).reshape(len(rows), 4).T
    scores = BatchScores(
        columns[0], columns[1], columns[2].astype(np.int64), columns[3].astype(np.int64)
    )
    decoded = wire.ScoreResponse.FromString(encode_scores(scores))

    assert decoded == wire.ScoreResponse(
        scores=[
            wire.TextScore(
                log_prob=log_prob,
                log_prob_excluding_oov=known,
                perplexity=perplexity,
                perplexity_excluding_oov=perplexity_known,
                token_count=count,
                oov_count=oov,
            )
            for (log_prob, known, count, oov), perplexity, perplexity_known in zip(
                rows, scores.perplexities, scores.perplexities_excluding_oov, strict=True
            )
        ]
    )


@given(st.lists(st.text(st.sampled_from("ab ü\t\n\r\0\v\xa0"))))
def test_words_are_counted_between_the_five_separators_only(strings: list[str]) -> None:
    def count(text: str) -> int:
        for separator in "\t\n\r\0":
            text = text.replace(separator, " ")
        return len([word for word in text.split(" ") if word])

    counts = Texts.from_strings(strings).word_counts()

    assert counts.tolist() == [count(text) for text in strings]


def test_an_unknown_token_that_covers_nothing_and_has_no_id_has_no_name() -> None:
    vocabulary = TokenVocabulary(["<s>", "</s>", "a"], SpecialIds(0, 1, -1))
    texts = ["", "b", ""]

    name_empty(texts, wire_ids(np.array([-1, -1, 2])), vocabulary)

    assert texts == ["", "b", "a"]
