"""Texts that benchmarks make for themselves, and models of them."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from benchmarks.machine import ROOT


def synthetic_corpus(path: Path, tokens: int = 2_000_000, words: int = 95_000) -> Path:
    """Text in which frequent words, and words that follow one another, are so by Zipf's law."""
    generator = np.random.default_rng(1)
    ranks = np.minimum(generator.zipf(1.25, tokens), words) - 1
    # Half of the words are a function of the two before them, so that long n-grams recur.
    chosen = generator.random(tokens) < 0.5
    for i in np.flatnonzero(chosen[2:]) + 2:
        ranks[i] = (ranks[i - 1] * 31 + ranks[i - 2] * 17 + ranks[i] % 7) % words
    with path.open("w") as file:
        for line in np.array_split(ranks, tokens // 18):
            file.write(" ".join(f"w{rank}" for rank in line) + "\n")
    return path


def library_corpus(path: Path, tokens: int) -> Path:
    """So many tokens of the sources of Python's library, a line of them a sentence."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for words in _library_lines():
            if written >= tokens:
                break
            file.write(" ".join(words) + "\n")
            written += len(words)
    return path


def _library_lines() -> Iterator[list[str]]:
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for source in sorted(Path(folder).rglob("*.py")):
            text = source.read_text(encoding="utf-8", errors="ignore")
            for line in text.split("\n"):
                if words := re.findall(r"\w+|[^\w\s]+", line):
                    yield words


def documentation() -> list[str]:
    """Lines of CPython's documentation, of which the demo models are made."""
    corpus = [sys.executable, str(ROOT / "checkpoints/demo/corpus.py")]
    printed = subprocess.run(corpus, stdout=subprocess.PIPE, text=True, check=True).stdout
    return printed.splitlines()


def train_ngrams(corpus: Path, model: Path, order: int) -> Path:
    """Estimate a model with lmscore-train; the name of the file says its format."""
    train = [sys.executable, "-m", "lmscore.models.commands.train", "ngram"]
    command = [*train, "--order", str(order), str(corpus), str(model)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return model


def some_lines(path: Path, tokens: int) -> list[str]:
    """Lines of a file in random order, about as many tokens as are wanted."""
    lines = path.read_text().splitlines()
    random.Random(1).shuffle(lines)
    mean = max(1, sum(len(line.split()) for line in islice(lines, 1000)) // min(len(lines), 1000))
    return lines[: max(1, tokens // mean)]


def shuffled(lines: list[str]) -> list[str]:
    """The words of each line in random order."""
    chance = random.Random(1)
    words = (line.split() for line in lines)
    return [" ".join(chance.sample(each, len(each))) for each in words]
