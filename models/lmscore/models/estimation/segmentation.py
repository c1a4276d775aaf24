"""What the tokens of a text are: its words, its characters, or a tokenizer's subwords.

A segmenter writes a text anew with blanks between its tokens, so that all else deals in words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lmscore.models.errors import CapabilityError, ModelFormatError, ModelNotFoundError

Segmenter = Callable[[str], str]
"""Puts blanks between the tokens of each line; the lines stay as many."""

SPACE = "\u2581"
"""A blank that is a token, or part of one: as SentencePiece writes it."""

_BLANKS = str.maketrans({" ": SPACE, "\t": SPACE})


def characters(text: str) -> str:
    """Every character is a token, blanks included."""
    return " ".join(text.translate(_BLANKS))


def subwords(tokenizer_path: Path) -> Segmenter:
    """The tokens of a Hugging Face ``tokenizer.json``, without those it would put around a text."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise CapabilityError("subwords need tokenizers: pip install tokenizers") from None
    if not tokenizer_path.is_file():
        raise ModelNotFoundError(f"{tokenizer_path}: no such file")
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    except Exception as error:  # noqa: BLE001 the library raises nothing more specific
        raise ModelFormatError(tokenizer_path, f"not a tokenizer.json: {error}") from None

    def segment(text: str) -> str:
        encodings = tokenizer.encode_batch(text.split("\n"), add_special_tokens=False)
        return "\n".join(
            " ".join(token.translate(_BLANKS) for token in encoding.tokens)
            for encoding in encodings
        )

    return segment
