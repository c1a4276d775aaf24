"""Tokens of a training text: a tokenizer learned from it or given, and the ids of sentences."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import CorpusError, ModelNotFoundError
from lmscore.models.estimation.lexicon import Lexicon, SentenceMarkError
from lmscore.models.estimation.selection import MARKS, Selection, select_words
from lmscore.models.language_model import Texts
from lmscore.models.network.training.settings import TokenSettings
from lmscore.models.network.training.text import TextFile
from lmscore.models.tokenization.spec import TokenizerSpec
from lmscore.models.tokenization.tokenizer import Tokenizer
from lmscore.models.vocabulary import EOS, UNK

VOCABULARY_FILE = "vocab.txt"
_LINES_AT_ONCE = 1 << 14
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What write_checkpoint writes of a tokenizer."""

    spec: TokenizerSpec
    files: dict[str, bytes]  # by name


@dataclass(frozen=True, slots=True)
class Sentences:
    """Token ids of sentences, each from bos to eos: sentence i is ids[offsets[i]:offsets[i + 1]].

    Every token but a sentence's first is an event, which those before it in the sentence predict.
    """

    ids: NDArray[np.int32]  # (tokens,)
    offsets: NDArray[np.int64]  # (sentences + 1,)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def events(self) -> int:
        """How many tokens are predicted."""
        return len(self.ids) - len(self)

    @property
    def fingerprint(self) -> str:
        """Tells sentences that differ apart."""
        return hashlib.sha256(self.ids.tobytes() + self.offsets.tobytes()).hexdigest()


def tokenizer_files(settings: TokenSettings, texts: Sequence[TextFile]) -> TokenizerFiles:
    """The tokenizer that the settings ask for, learned from texts where it is not given.

    Raises CorpusError where no token is left to know, ModelNotFoundError for a file not there.
    """
    if settings.file is not None:
        name = "tokenizer.json" if settings.type == "huggingface" else "tokenizer.model"
        spec = TokenizerSpec(
            settings.type, name, bos=settings.bos, eos=settings.eos, unk=settings.unk
        )
        try:
            return TokenizerFiles(spec, {name: settings.file.read_bytes()})
        except OSError as error:
            raise ModelNotFoundError(f"{settings.file}: {error.strerror}") from None
    if settings.type == "bytes":
        return TokenizerFiles(TokenizerSpec("bytes", unk=None), {})
    learn = _words if settings.type == "words" else _characters
    tokens = learn(settings, texts)
    if not tokens:
        raise CorpusError(
            texts[0].path,
            f"no vocabulary: none of the {settings.type} occurs {settings.min_count} times or more",
        )
    content = "".join(f"{token}\n" for token in (EOS, UNK, *tokens)).encode()
    spec = TokenizerSpec(settings.type, VOCABULARY_FILE, bos=EOS, eos=EOS)
    return TokenizerFiles(spec, {VOCABULARY_FILE: content})


def encode(texts: Iterable[TextFile], tokenizer: Tokenizer) -> Sentences:
    """The sentences of texts, without lines that have no token; raises CorpusError."""
    ids: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    lengths: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for text in texts:
        for begin in range(0, len(text.lines), _LINES_AT_ONCE):
            more_ids, more_lengths = _encode_lines(text, begin, tokenizer)
            ids.append(more_ids)
            lengths.append(more_lengths)
    return Sentences(np.concatenate(ids), np.concatenate(([0], np.cumsum(np.concatenate(lengths)))))


def _encode_lines(
    text: TextFile, begin: int, tokenizer: Tokenizer
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ids of some lines with bos and eos, and the lengths of those that have any token."""
    lines = text.lines[begin : begin + _LINES_AT_ONCE]
    line_ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)))
    data = np.frombuffer(b"".join(lines), np.uint8)
    tokens = tokenizer.encode(Texts(data, np.concatenate(([0], line_ends))))
    vocabulary = tokenizer.vocabulary
    bad = np.isin(tokens.token_ids, [vocabulary.bos_id, vocabulary.eos_id]) | (tokens.token_ids < 0)
    if bad.any():
        at = int(bad.argmax())
        line = int(np.searchsorted(tokens.offsets, at, "right")) - 1
        problem = (
            "a sentence mark within a line; every line is a sentence without it"
            if tokens.token_ids[at] >= 0
            else "a token that the vocabulary lacks, and it has no unk"
        )
        raise text.error(begin + line, problem)
    counts = np.diff(tokens.offsets)
    starts = tokens.offsets[:-1][counts > 0]
    ends = tokens.offsets[1:][counts > 0]
    places = np.stack((starts, ends), 1).ravel()
    marks = np.tile([vocabulary.bos_id, vocabulary.eos_id], len(starts))
    ids = np.insert(tokens.token_ids, places, marks).astype(np.int32)
    return ids, counts[counts > 0] + 2


def _words(settings: TokenSettings, texts: Sequence[TextFile]) -> list[str]:
    lexicon = Lexicon()
    counts = np.zeros(0, np.int64)
    for text, begin, data in _blocks(texts):
        try:
            ids = lexicon.encode(data)
        except SentenceMarkError as error:
            problem = f"{error.mark} within a line; every line is a sentence without it"
            raise text.error(begin + error.line, problem) from None
        more = np.bincount(ids, minlength=len(lexicon))
        more[: len(counts)] += counts
        counts = more
    if not len(counts):
        return []
    known = select_words(counts, least_count=settings.min_count, most_words=settings.max_size)
    return [word.decode() for word in Selection(lexicon, known).words[len(MARKS) :]]


def _characters(settings: TokenSettings, texts: Sequence[TextFile]) -> list[str]:
    counts: Counter[str] = Counter()
    for _, _, data in _blocks(texts):
        counts.update(data.decode())
    counts.pop("\n", None)  # that which _blocks puts between lines
    frequent = [c for c, count in counts.most_common() if count >= settings.min_count]
    return [_ESCAPES.get(character, character) for character in frequent[: settings.max_size]]


def _blocks(texts: Sequence[TextFile]) -> Iterator[tuple[TextFile, int, bytes]]:
    """Lines of texts, some at a time, with the index of the first."""
    for text in texts:
        for begin in range(0, len(text.lines), _LINES_AT_ONCE):
            yield text, begin, b"\n".join(text.lines[begin : begin + _LINES_AT_ONCE])
