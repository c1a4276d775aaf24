"""One tokenizer of each kind, learned from a text small enough to read."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer as LibraryTokenizer,
)
from tokenizers import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from lmscore.models.language_model import Texts, TokenizedTexts
from lmscore.models.tokenization.byte_level import ByteTokenizer
from lmscore.models.tokenization.characters import CharacterTokenizer
from lmscore.models.tokenization.huggingface import HuggingFaceTokenizer
from lmscore.models.tokenization.sentencepiece_model import SentencePieceTokenizer
from lmscore.models.tokenization.subword_nmt import SubwordNmtTokenizer
from lmscore.models.tokenization.tokenizer import SpecialNames, Tokenizer
from lmscore.models.tokenization.words import WordTokenizer

LINES = [
    "the cat sat on the mat",
    "the other cats sat there",
    "über alles naïve café",
    "日本語 の テキスト",
    "a dog , and another .",
] * 8
VOCABULARY = ["<s>", "</s>", "<unk>", *dict.fromkeys(" ".join(LINES[:5]).split(" "))]
CODES = ["#version: 0.2", "t h", "th e</w>", "a t</w>", "c a", "ca t", "cat s</w>", "s at</w>"]
PIECES = [
    "<s>", "</s>", "<unk>", "the", "th@@", "e", "e@@", "c@@", "cat@@", "cats", "s", "s@@", "sat",
    "at", "ca@@", "é", "日@@", "本", "m@@",
]  # fmt: skip


def in_file(content: str | bytes, load: Callable[[Path], Any]) -> Any:
    """What a loader makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(path)


def lines(items: list[str]) -> str:
    return "".join(item + "\n" for item in items)


@functools.cache
def words() -> Tokenizer:
    tokenizer: Tokenizer = in_file(
        lines(VOCABULARY), lambda path: WordTokenizer.from_file(path, SpecialNames())
    )
    return tokenizer


@functools.cache
def characters() -> Tokenizer:
    letters = [*sorted(set("".join(LINES))), "\\n", "\\\\"]
    tokenizer: Tokenizer = in_file(
        lines(["<s>", "</s>", "<unk>", *letters]),
        lambda path: CharacterTokenizer.from_file(path, SpecialNames()),
    )
    return tokenizer


@functools.cache
def byte_level() -> Tokenizer:
    return ByteTokenizer()


_UNK = "<unk>"
ONE_END = SpecialNames(bos="</s>", eos="</s>", unk="<unk>")


def huggingface(library: LibraryTokenizer, names: SpecialNames = ONE_END) -> HuggingFaceTokenizer:
    tokenizer: HuggingFaceTokenizer = in_file(
        library.to_str(), lambda path: HuggingFaceTokenizer.from_file(path, names)
    )
    return tokenizer


def _trained(library: LibraryTokenizer, trainer: Any) -> LibraryTokenizer:
    library.train_from_iterator(LINES, trainer)
    return library


_SPECIAL: dict[str, Any] = {"special_tokens": ["</s>", "<unk>"], "show_progress": False}


@functools.cache
def byte_bpe_library() -> LibraryTokenizer:
    library = LibraryTokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(
        library, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, **_SPECIAL)
    )


@functools.cache
def byte_bpe() -> Tokenizer:
    return huggingface(byte_bpe_library())


@functools.cache
def metaspace_bpe_library() -> LibraryTokenizer:
    library = LibraryTokenizer(models.BPE(unk_token=_UNK))
    library.normalizer = normalizers.NFKD()
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    return _trained(library, trainers.BpeTrainer(vocab_size=90, **_SPECIAL))


@functools.cache
def metaspace_bpe() -> Tokenizer:
    return huggingface(metaspace_bpe_library())


@functools.cache
def fallback_bpe() -> Tokenizer:
    """As Llama 2 has it: a blank is written ▁, and what is not known is spelled in bytes."""
    tokens = ["</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"thecas"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "c")]
    tokens += ["".join(pair) for pair in merges]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    library = LibraryTokenizer(
        models.BPE(vocabulary, merges, unk_token=_UNK, fuse_unk=True, byte_fallback=True)
    )
    library.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    library.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    library.add_special_tokens(["</s>", "<unk>"])
    return huggingface(library)


@functools.cache
def unigram() -> Tokenizer:
    library = LibraryTokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    return huggingface(
        _trained(library, trainers.UnigramTrainer(vocab_size=80, unk_token=_UNK, **_SPECIAL))
    )


@functools.cache
def wordpiece_library() -> LibraryTokenizer:
    library = LibraryTokenizer(models.WordPiece(unk_token=_UNK))
    library.normalizer = normalizers.Lowercase()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    return _trained(library, trainers.WordPieceTrainer(vocab_size=90, **_SPECIAL))


@functools.cache
def wordpiece() -> Tokenizer:
    return huggingface(wordpiece_library())


@functools.cache
def wordlevel() -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(VOCABULARY)}
    library = LibraryTokenizer(models.WordLevel(vocabulary, unk_token=_UNK))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return huggingface(library, SpecialNames())


def sentencepiece_model(**options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def _sentencepiece(**options: Any) -> Tokenizer:
    tokenizer: Tokenizer = in_file(
        sentencepiece_model(**options),
        lambda path: SentencePieceTokenizer.from_file(path, SpecialNames()),
    )
    return tokenizer


@functools.cache
def sentencepiece_unigram() -> Tokenizer:
    return _sentencepiece(vocab_size=80, model_type="unigram")


@functools.cache
def sentencepiece_fallback() -> Tokenizer:
    return _sentencepiece(
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )


@functools.cache
def subword_nmt() -> Tokenizer:
    tokenizer: Tokenizer = in_file(
        lines(CODES),
        lambda codes: in_file(
            lines(PIECES),
            lambda path: SubwordNmtTokenizer.from_files(path, codes, SpecialNames()),
        ),
    )
    return tokenizer


ALL = {
    make.__name__: make
    for make in (
        words,
        characters,
        byte_level,
        byte_bpe,
        metaspace_bpe,
        fallback_bpe,
        unigram,
        wordpiece,
        wordlevel,
        sentencepiece_unigram,
        sentencepiece_fallback,
        subword_nmt,
    )
}

TEXTS = st.lists(
    st.one_of(
        st.text(),
        st.text("the catsü日本é \n\t\0\r▁@<>/"),
        st.lists(st.sampled_from(" ".join(LINES[:5]).split(" "))).map(" ".join),
    ),
    max_size=4,
)
"""Batches of texts: of any characters, of few, and of known words."""


def pieces_of(tokenizer: Tokenizer, text: str) -> list[tuple[str, int, int, bool]]:
    """Each token of a text with its place and whether it is unknown."""
    tokens = tokenizer.encode(Texts.from_strings([text]))
    names = [tokenizer.vocabulary.token(i) if i >= 0 else "" for i in tokens.token_ids.tolist()]
    places = (tokens.begin_bytes.tolist(), tokens.end_bytes.tolist(), tokens.oov.tolist())
    return list(zip(names, *places, strict=True))


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(Texts.from_strings([text])).token_ids.tolist()
    return ids


def span(tokens: TokenizedTexts, item: int) -> slice:
    return slice(*np.asarray(tokens.offsets[item : item + 2]).tolist())
