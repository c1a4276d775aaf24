"""The kenlm package's interface, against values worked out by hand and against the package."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmscore.client import Client, InvalidArgumentError, ModelNotFoundError, ModelNotReadyError
from lmscore.client import kenlm as dropin
from lmscore.client.recent import Recent
from tests.client.fake_server import FakeServer
from tests.client.served import served
from tests.models.backoff import Backoff, random_backoff, random_texts

FIXTURES = Path(__file__).parents[1] / "models/kenlm/fixtures"
SHAPES: dict[str, dict[str, Any]] = {
    "trigrams": {},
    "bigrams": {"order": 2},
    "unknown missing": {"with_unknown": False},
    "suffixes pruned": {"order": 4, "words": 4, "density": 0.5, "drop_suffixes": 0.5},
}


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    module: ModuleType = pytest.importorskip("kenlm", reason="kenlm is compiled from source")
    return module


@pytest.fixture(scope="module")
def backoffs() -> dict[str, Backoff]:
    return {
        shape: random_backoff(seed, **kind) for seed, (shape, kind) in enumerate(SHAPES.items())
    }


@pytest.fixture(scope="module")
def paths(
    backoffs: dict[str, Backoff], tiny_arpa: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    written = {
        shape: backoff.write(folder / f"{shape.replace(' ', '-')}.arpa")
        for shape, backoff in backoffs.items()
    }
    named = {path.stem: path for path in written.values()}
    return {**named, "tiny": tiny_arpa, "binary": FIXTURES / "pruned.trie.bin"}


@pytest.fixture(scope="module")
def address(paths: dict[str, Path]) -> Iterator[str]:
    with served(paths) as listening:
        yield listening


@pytest.fixture
def model(address: str) -> Iterator[dropin.Model]:
    with dropin.Model(address, "tiny") as opened:
        yield opened


def begin(model: dropin.Model) -> dropin.State:
    state = dropin.State()
    model.BeginSentenceWrite(state)
    return state


# --- by hand: log10, `<s>` before and `</s>` after ---


@pytest.mark.parametrize(
    ("sentence", "switches", "probability"),
    [
        ("a b", {}, 0.6 * 0.5 * 0.5),
        ("a b", {"eos": False}, 0.6 * 0.5),
        ("a b", {"bos": False}, 0.4 * 0.5 * 0.5),
        ("a b", {"bos": False, "eos": False}, 0.4 * 0.5),
        (b"a\tb", {"eos": False}, 0.6 * 0.5),
        ("never", {"eos": False}, 2 / 3 * 0.1),
        ("", {}, 2 / 3 * 0.2),
        ("", {"eos": False}, 1),
    ],
)
def test_sentences_have_log10_probabilities(
    model: dropin.Model, sentence: str, switches: dict[str, bool], probability: float
) -> None:
    assert model.score(sentence, **switches) == pytest.approx(math.log10(probability), abs=1e-6)


def test_words_have_their_ngram_length_and_whether_they_are_unknown(model: dropin.Model) -> None:
    scores = list(model.full_scores("a never b"))

    assert [(length, oov) for _, length, oov in scores] == [
        (2, False),
        (1, True),
        (1, False),
        (2, False),
    ]
    assert scores[1][0] == pytest.approx(math.log10(5 / 7 * 0.1), abs=1e-6)


def test_perplexity_counts_the_end(model: dropin.Model) -> None:
    assert model.perplexity("a b") == pytest.approx(0.15 ** (-1 / 3), rel=1e-6)


def test_a_state_is_the_words_that_matter(model: dropin.Model) -> None:
    state, after = begin(model), dropin.State()

    assert model.BaseScore(state, "a", after) == pytest.approx(math.log10(0.6), abs=1e-6)
    assert (state.words, after.words) == (("<s>",), ("a",))
    full = model.BaseFullScore(after, "b", after)
    assert (full.ngram_length, full.oov) == (2, False)
    assert full.log_prob == pytest.approx(math.log10(0.5), abs=1e-6)
    assert model.BaseScore(after, "</s>", dropin.State()) == full.log_prob
    model.NullContextWrite(after)
    assert after == dropin.State()


def test_states_are_values(model: dropin.Model) -> None:
    known, unknown, other = dropin.State(), dropin.State(), dropin.State()
    model.BaseScore(begin(model), "a", known)
    model.BaseScore(begin(model), "x", unknown)
    model.BaseScore(known, "y", other)

    assert unknown == other  # which unknown word it was makes no difference to what follows
    assert unknown != known
    assert len({known, copy.copy(known), copy.deepcopy(known), unknown, other}) == 2
    assert sorted([known, dropin.State()]) == [dropin.State(), known]


@pytest.mark.parametrize("word", ["", "a b", "a\0b", "\n", "<unk>", "<s>"])
def test_what_cannot_be_a_word_is_unknown(model: dropin.Model, word: str) -> None:
    full = model.BaseFullScore(dropin.State(), word, dropin.State())

    assert (full.log_prob, full.oov) == (-1.0, True)


def test_the_vocabulary_has_its_words(model: dropin.Model) -> None:
    for word in ["a", "</s>", "<s>"]:
        assert word in model
    for word in ["x", "", "a b", "<unk>"]:
        assert word not in model
    assert b"a" in model
    assert model.known(["x", "a", "", "a b", "<unk>", "a"]) == ["a", "a"]


# --- against the definition of a back-off model ---


@pytest.mark.parametrize("shape", ["trigrams", "bigrams", "suffixes pruned"])
@pytest.mark.parametrize("bos", [True, False])
def test_scores_with_and_without_states_equal_the_definition(
    backoffs: dict[str, Backoff], address: str, shape: str, bos: bool
) -> None:
    texts = [text for text in random_texts(backoffs[shape], 2) if "\v" not in text][:8]
    with dropin.Model(address, shape.replace(" ", "-")) as model:
        for text in texts:
            expected = [float(score) for score in backoffs[shape].events(text, bos=bos)]
            state = begin(model) if bos else dropin.State()
            words = [*filter(None, text.split(" ")), "</s>"]
            walked = [model.BaseScore(state, word, state) for word in words]
            assert [score for score, _, _ in model.full_scores(text, bos)] == expected
            assert walked == expected


# --- against the package ---


@pytest.mark.parametrize("name", ["tiny", *(shape.replace(" ", "-") for shape in SHAPES)])
def test_everything_equals_kenlm_to_the_last_bit(
    peer: ModuleType, paths: dict[str, Path], backoffs: dict[str, Backoff], address: str, name: str
) -> None:
    theirs = peer.Model(str(paths[name]))
    backoff = backoffs.get(name.replace("-", " "), random_backoff(0))
    texts = [*random_texts(backoff, 1)[:20], "", "a b", "b\x0bb a", " a  x \t"]
    with dropin.Model(address, name) as ours:
        assert ours.order == theirs.order
        assert list(ours.scores(texts)) == [theirs.score(text) for text in texts]
        for text in texts:
            assert ours.perplexity(text) == theirs.perplexity(text)
        for text, bos, eos in [
            (t, b, e) for t in texts for b in (True, False) for e in (True, False)
        ]:
            assert ours.score(text, bos=bos, eos=eos) == theirs.score(text, bos=bos, eos=eos)
            assert list(ours.full_scores(text, bos, eos)) == list(
                theirs.full_scores(text, bos, eos)
            )
        words = {word for text in texts for word in text.split(" ")} - {"<s>"}
        assert set(ours.known(words)) == {word for word in words if word in theirs}


@pytest.mark.parametrize("name", ["binary", *(shape.replace(" ", "-") for shape in SHAPES)])
def test_walks_through_states_equal_kenlm_to_the_last_bit(
    peer: ModuleType, paths: dict[str, Path], backoffs: dict[str, Backoff], address: str, name: str
) -> None:
    theirs = peer.Model(str(paths[name]))
    rng = random.Random(name)
    if name == "binary":
        words = sorted(set((FIXTURES / "corpus.txt").read_text().split()))
    else:
        words = [word for word in backoffs[name.replace("-", " ")].words if word != "<s>"]
    choices = [*words, "never-seen", "</s>", "<unk>"]
    with dropin.Model(address, name) as ours:
        my_state, its_state = begin(ours), peer.State()
        theirs.BeginSentenceWrite(its_state)
        for _ in range(60):
            word = rng.choice(choices)
            mine, its = dropin.State(), peer.State()
            full = ours.BaseFullScore(my_state, word, mine)
            expected = theirs.BaseFullScore(its_state, word, its)
            assert repr(full) == repr(expected)
            my_state, its_state = mine, its
        assert repr(ours) == f"<Model from {name}>"


# --- over the wire ---


class Counting(Client):
    """A client that counts its requests."""

    requests = 0

    def score(self, *arguments: Any, **settings: Any) -> Any:
        self.requests += 1
        return super().score(*arguments, **settings)


def test_what_was_asked_is_not_asked_again(address: str) -> None:
    with Counting(address, model="tiny") as client:
        model = dropin.Model(client)
        first = model.BaseScore(begin(model), "a", dropin.State())
        assert model.BaseScore(begin(model), "a", dropin.State()) == first
        assert "a" in model
        assert client.requests == 1
        model.close()
        assert client.score(["a"])  # it is not the model's to close


def test_many_words_after_many_states_take_a_request_for_each_kind_of_beginning(
    address: str,
) -> None:
    with Counting(address, model="tiny") as client:
        model = dropin.Model(client, remembered=2)  # fewer than are asked for at once
        states = [begin(model), dropin.State(), dropin.State(("a",))] * 2
        words = ["a", "a", "b", "b", "x", "</s>"]
        together = model.base_full_scores(states, words)
        assert client.requests == 2
        for state, word, (full, after) in zip(states, words, together, strict=True):
            one = dropin.State()
            assert model.BaseFullScore(state, word, one) == full
            assert one == after
        assert model.known([]) == []
        assert model.base_full_scores([], []) == []


def test_threads_share_a_model(model: dropin.Model) -> None:
    def walk(seed: int) -> list[float]:
        rng, state = random.Random(seed % 2), begin(model)
        return [model.BaseScore(state, rng.choice("abx"), state) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        walks = list(pool.map(walk, range(8)))
    assert walks == [walks[0], walks[1]] * 4


def test_a_copy_in_another_process_has_the_same_version(model: dropin.Model) -> None:
    with pickle.loads(pickle.dumps(model)) as again:  # noqa: S301 (made above)
        assert again.path == model.path
        assert again.score("a b") == model.score("a b")


def test_a_client_cannot_be_copied(address: str) -> None:
    with (
        Client(address, model="tiny") as client,
        pytest.raises(TypeError, match="from the address"),
    ):
        pickle.dumps(dropin.Model(client))


def test_errors_are_the_clients(address: str, model: dropin.Model) -> None:
    with pytest.raises(ModelNotFoundError):
        dropin.Model(address, "other")
    with pytest.raises(TypeError, match="Cannot convert"):
        model.score(3)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):  # as in the package
        model.score("\ud800")
    with pytest.raises(InvalidArgumentError):
        model.BaseScore(dropin.State(), "\ud800", dropin.State())
    with pytest.raises(ValueError, match="shorter"):
        model.base_full_scores([dropin.State()], [])


def test_the_least_recently_used_is_forgotten() -> None:
    recent = Recent[str, int](2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)

    assert (recent.get("a"), recent.get("b"), recent.get("c"), len(recent)) == (1, None, 3, 2)
    with pytest.raises(ValueError, match="at least 1"):
        Recent[str, int](0)


def test_a_model_that_is_no_ngram_model_is_refused(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(server.address, model="fake") as client:
        network = dataclasses.replace(client.get_model(), kind="lstm", ngram=None)
        monkeypatch.setattr(client, "get_model", lambda **_: network)
        with pytest.raises(InvalidArgumentError, match="no n-gram model, but lstm; use the Client"):
            dropin.Model(client)


def test_a_model_that_is_loading_is_refused(server: FakeServer) -> None:
    server.behaviour.loading.add("fake")
    with pytest.raises(ModelNotReadyError, match="still loading") as refused:
        dropin.Model(server.address, "fake")
    assert refused.value.reason == "MODEL_LOADING"
