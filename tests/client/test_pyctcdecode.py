"""pyctcdecode's beam search with a model of a server, against pyctcdecode's own through kenlm."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lmscore.client import Client
from lmscore.client.kenlm import Model, State
from lmscore.client.pyctcdecode import LanguageModel, build_decoder
from tests.client.served import served
from tests.models.backoff import random_backoff

LABELS = [" ", "w", "0", "1", "2", "3", ""]
WORDS = ["w0", "w1", "w2", "w3", "w33"]


@pytest.fixture(scope="module")
def pyctcdecode() -> ModuleType:
    module: ModuleType = pytest.importorskip(
        "pyctcdecode",
        reason="it asks for an older numpy: pip install --no-deps pyctcdecode pygtrie",
    )
    return module


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    module: ModuleType = pytest.importorskip("kenlm", reason="kenlm is compiled from source")
    return module


@pytest.fixture(scope="module")
def words_arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.arpa"
    return random_backoff(3, words=4, density=0.5).write(path)


@pytest.fixture(scope="module")
def address(tiny_arpa: Path, words_arpa: Path) -> Iterator[str]:
    with served({"tiny": tiny_arpa, "words": words_arpa}) as listening:
        yield listening


@pytest.fixture
def tiny(address: str) -> Iterator[Model]:
    with Model(address, "tiny") as model:
        yield model


class Counting(Client):
    """A client that counts its requests."""

    requests = 0

    def score(self, *arguments: Any, **settings: Any) -> Any:
        self.requests += 1
        return super().score(*arguments, **settings)


def test_words_cost_what_model_and_weights_say(tiny: Model) -> None:
    model = LanguageModel(tiny, ["a", "b"], alpha=2.0, beta=0.25)

    first, after = model.score(model.get_start_state(), "a")
    last, _ = model.score(after, "b", is_last_word=True)
    unknown, _ = model.score(after, "x")
    assert model.order == 2
    assert first == pytest.approx(2 * math.log(0.6) + 0.25, abs=1e-5)
    assert last == pytest.approx(2 * math.log(0.5 * 0.5) + 0.25, abs=1e-5)
    assert unknown == pytest.approx(
        2 * (math.log(5 / 7 * 0.1) - 10 * math.log(10)) + 0.25, abs=1e-5
    )


def test_without_boundaries_nothing_begins_or_ends(tiny: Model) -> None:
    model = LanguageModel(tiny, score_boundary=False)

    assert model.get_start_state() == State()
    alone, _ = model.score(State(), "a", is_last_word=True)
    assert alone == pytest.approx(0.5 * math.log(0.4) + 1.5, abs=1e-5)


@pytest.mark.parametrize(
    ("part", "cost"), [("a", 0.0), ("x", -10.0), ("a" * 12, -20.0), ("c", -10.0)]
)
def test_parts_that_begin_no_word_cost(tiny: Model, part: str, cost: float) -> None:
    assert LanguageModel(tiny, ["a", "b", "c"]).score_partial_token(part) == cost


def test_words_can_be_had_beforehand(address: str) -> None:
    with Counting(address, model="tiny") as client:
        model = LanguageModel(Model(client))
        start = model.get_start_state()
        model.prefetch([(start, "a"), (start, "b"), (start, "x")], is_last_word=True)
        asked = client.requests
        assert len({model.score(start, word, is_last_word=True)[0] for word in "abx"}) == 3
        assert client.requests == asked


def test_parameters_are_checked(tiny: Model) -> None:
    model = LanguageModel(tiny)
    model.reset_params(alpha=1.0, beta=0.0, score_boundary=False)

    assert (model.alpha, model.beta, model.score_boundary) == (1.0, 0.0, False)
    with pytest.raises(ValueError, match="alpha must be a float"):
        model.reset_params(alpha=1)


def test_nothing_heavy_is_imported_before_a_decoder_is_built() -> None:
    program = (
        "import sys; import lmscore.client.pyctcdecode\n"
        "print([m for m in ('pyctcdecode', 'kenlm', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def noisy_logits(seed: int) -> np.ndarray[Any, Any]:
    """What a network may make of four words that are hard to hear."""
    spelled = [LABELS.index(label) for label in "w0 w1 w3 w2" for _ in range(3)]
    noise = np.random.default_rng(seed).normal(size=(len(spelled), len(LABELS)), scale=1.5)
    return noise + 1.5 * np.eye(len(LABELS))[spelled]


@pytest.mark.parametrize("unigrams", [WORDS, None])
@pytest.mark.parametrize("seed", range(3))
def test_beams_are_those_of_pyctcdecode_through_kenlm(
    pyctcdecode: ModuleType,
    peer: ModuleType,
    words_arpa: Path,
    address: str,
    seed: int,
    unigrams: list[str] | None,
) -> None:
    theirs = pyctcdecode.BeamSearchDecoderCTC(
        pyctcdecode.Alphabet.build_alphabet(LABELS),
        pyctcdecode.LanguageModel(peer.Model(str(words_arpa)), unigrams),
    )
    with Counting(address, model="words") as client:
        language_model = LanguageModel(Model(client), unigrams)
        ours = build_decoder(LABELS, language_model)
        plain = pyctcdecode.BeamSearchDecoderCTC(
            pyctcdecode.Alphabet.build_alphabet(LABELS), language_model
        )
        logits = noisy_logits(seed)
        expected = theirs.decode_beams(logits, beam_width=20)
        before = client.requests
        found = ours.decode_beams(logits, beam_width=20)
        assert client.requests - before <= len(logits) + 2  # those of a frame go together
        unbatched = plain.decode_beams(logits, beam_width=20)

    def rows(beams: Any) -> list[Any]:
        return [(text, frames, logit, lm) for text, _, frames, logit, lm in beams]

    assert rows(found) == rows(unbatched) == rows(expected)
    assert " " in expected[0][0]  # so that states were walked through
