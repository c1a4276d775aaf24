"""Back-off models for tests: random ones as ARPA text, and their scores by the definition."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

Ngram = tuple[str, ...]

ODD_WORDS = [
    "a\xa0b",
    "x\vy",
    "ŝanĝo",
    "日本語",
    "a" * 23,
    "12345678",
    "1234567",
    "<s",
    "'",
    "\x01",
]
"""Words with what other tokenizers would split at, of many lengths, and in many scripts."""


@dataclass
class Backoff:
    """A back-off model: log10 probabilities and back-offs by n-gram, in float32."""

    probs: dict[Ngram, float] = field(default_factory=dict)
    backoffs: dict[Ngram, float] = field(default_factory=dict)

    @property
    def order(self) -> int:
        return max(map(len, self.probs))

    @property
    def words(self) -> list[str]:
        return [ngram[0] for ngram in self.probs if len(ngram) == 1]

    def write(self, path: Path, *, newline: str = "\n") -> Path:
        """As an ARPA file; a back-off of 0 is left out."""
        by_length: dict[int, list[Ngram]] = defaultdict(list)
        for ngram in self.probs:
            by_length[len(ngram)].append(ngram)
        lines = ["\\data\\"]
        lines += [f"ngram {n}={len(by_length[n])}" for n in range(1, self.order + 1)]
        for n in range(1, self.order + 1):
            lines += ["", f"\\{n}-grams:"]
            for ngram in by_length[n]:
                backoff = self.backoffs.get(ngram, 0.0)
                tail = f"\t{backoff!r}" if backoff else ""
                lines.append(f"{self.probs[ngram]!r}\t{' '.join(ngram)}{tail}")
        lines += ["", "\\end\\", ""]
        path.write_bytes(newline.join(lines).encode())
        return path

    def prob(self, context: Ngram, word: str) -> np.float32:
        """log10 p(word | context): of the longest n-gram there is, then the back-offs."""
        for start in range(len(context) + 1):
            ngram = (*context[start:], word)
            if ngram in self.probs:
                total = np.float32(self.probs[ngram])
                for longer in range(start - 1, -1, -1):  # from the shortest context to the longest
                    total += np.float32(self.backoffs.get(context[longer:], 0.0))
                return total
        raise AssertionError(f"no unigram {word}")

    def events(self, text: str, *, bos: bool = True, eos: bool = True) -> list[np.float32]:
        """log10 probability of every event of a text whose words are all here or unknown."""
        known = set(self.words) - {"<s>"}
        words = [w if w in known else "<unk>" for w in text.split(" ") if w]
        history: Ngram = ("<s>",) if bos else ()
        scores = []
        for word in words + ["</s>"] * eos:
            scores.append(self.prob(history[-(self.order - 1) :] if self.order > 1 else (), word))
            history = (*history, word)
        return scores


def random_backoff(
    seed: int,
    *,
    order: int = 3,
    words: int = 6,
    density: float = 0.3,
    drop_suffixes: float = 0.0,
    drop_prefixes: float = 0.0,
    with_unknown: bool = True,
    grid: int = 0,
) -> Backoff:
    """A model with any probabilities at all: scores are defined even where nothing sums to one.

    grid: make all numbers multiples of 1 / grid. Of a power of two, sums of them are exact.

    drop_suffixes, drop_prefixes: share of the middle n-grams left out though longer ones end or
    begin with them. Without either, every n-gram's suffix and prefix are there too.
    """
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(words)] + rng.sample(ODD_WORDS, 3)
    events = [*vocabulary, "</s>"] + ["<unk>"] * with_unknown
    contexts = [*vocabulary, "<s>"] + ["<unk>"] * with_unknown
    model = Backoff()

    def value(scale: float = 4.0, shift: float = 0.0) -> float:
        number = float(np.float32(-rng.random() * scale + shift))
        return round(number * grid) / grid if grid else number

    for word in dict.fromkeys([*events, *contexts]):
        model.probs[word,] = value() if word != "<s>" else -99.0
    level: list[Ngram] = [(word,) for word in contexts]
    for _ in range(2, order + 1):
        grown = [
            (*prefix, word)
            for prefix, word in product(level, events)
            if rng.random() < density and _whole(model, (*prefix, word))
        ]
        for ngram in grown:
            model.probs[ngram] = value()
            if rng.random() < 0.8:
                model.backoffs[ngram[:-1]] = value(2.0, 0.5)
        level = [ngram for ngram in grown if ngram[-1] != "</s>"]
    _drop(model, rng, drop_suffixes, slice(1, None))
    _drop(model, rng, drop_prefixes, slice(0, -1))
    return model


def _whole(model: Backoff, ngram: Ngram) -> bool:
    return ngram[1:] in model.probs and ngram[:-1] in model.probs


def _drop(model: Backoff, rng: random.Random, share: float, part: slice) -> None:
    """Leave out n-grams that are that part of longer ones, and of no other kind of n-gram."""
    other = slice(0, -1) if part == slice(1, None) else slice(1, None)
    needed = {ngram[other] for ngram in model.probs}
    affixes = dict.fromkeys(ngram[part] for ngram in model.probs if len(ngram) > 2)
    for affix in [each for each in affixes if each not in needed]:
        if rng.random() < share:
            model.probs.pop(affix, None)
            model.backoffs.pop(affix, None)


def normalized_backoff(seed: int, *, order: int = 3, words: int = 5) -> Backoff:
    """A model whose distributions all sum to one, by the choice of the back-offs."""
    model = random_backoff(seed, order=order, words=words)
    events = [word for word in model.words if word != "<s>"]
    rng = random.Random(seed)
    shares = [rng.random() + 0.01 for _ in events]
    for word, share in zip(events, shares, strict=True):
        model.probs[word,] = math.log10(share / sum(shares))
    model.backoffs.clear()
    followers: dict[Ngram, list[str]] = defaultdict(list)
    for ngram in model.probs:
        if len(ngram) > 1:
            followers[ngram[:-1]].append(ngram[-1])
    for context in sorted(followers, key=len):
        shares = [rng.random() + 0.01 for _ in followers[context]]
        kept = 0.3 + 0.6 * rng.random()  # of the mass, for words that follow this very context
        backed_off = sum(10 ** float(model.prob(context[1:], word)) for word in events) - sum(
            10 ** float(model.prob(context[1:], word)) for word in followers[context]
        )
        if backed_off < 1e-6:
            kept = 1.0
        for word, share in zip(followers[context], shares, strict=True):
            model.probs[*context, word] = math.log10(kept * share / sum(shares))
        if kept < 1.0:
            model.backoffs[context] = math.log10((1 - kept) / backed_off)
    return model


def random_texts(model: Backoff, seed: int, count: int = 30) -> list[str]:
    """Texts of the model's words and unknown ones, some empty, with odd blanks between words."""
    rng = random.Random(seed)
    words = [*(word for word in model.words if not word.startswith("<")), "never-seen", "</s>"]
    return [
        rng.choice(["", " "])
        + rng.choice([" ", "  "]).join(rng.choice(words) for _ in range(rng.randrange(12)))
        for _ in range(count)
    ]
