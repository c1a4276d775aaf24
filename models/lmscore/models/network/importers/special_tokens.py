"""Which tokens of a vocabulary stand before a text, after it, and for what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmscore.models.errors import ModelFormatError
from lmscore.models.network.importers.sources import Boundary

_ENDS = ("</s>", "<eos>", "<sos/eos>", "<EOS>", "[EOS]", "<|endoftext|>")
_BEGINNINGS = ("<s>", "<bos>", "<sos>", "<BOS>", "<SOS>", "[BOS]")
_UNKNOWNS = ("<unk>", "<UNK>", "<oov>", "<OOV>", "[UNK]", "<unknown>")


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The names of special tokens; None for what is to be recognized, or is not there."""

    bos: str | None = None
    eos: str | None = None
    unk: str | None = None


@dataclass(frozen=True, slots=True)
class Specials:
    """The names of special tokens, all of them in the vocabulary; unk is None without one."""

    bos: str
    eos: str
    unk: str | None


def find_specials(
    path: Path, tokens: Sequence[str], wanted: SpecialTokens, boundary: Boundary
) -> Specials:
    """The special tokens: those wanted, else those with usual names.

    With a boundary of eos or bos, one token stands both before and after a text, as in the program
    that the network is from. Raises ModelFormatError that says what to pass.
    """
    known = set(tokens)
    for role in ("bos", "eos", "unk"):
        name = getattr(wanted, role)
        if name is not None and name not in known:
            problem = f'has no token "{name}", which --{role} names'
            raise ModelFormatError(path, f"{problem}; it begins with {_first(tokens)}")
    end = wanted.eos or _usual(_BEGINNINGS if boundary == "bos" else _ENDS, known)
    if end is None:
        end = wanted.bos or _usual(_ENDS, known)
    if end is None:
        raise ModelFormatError(
            path, f"which token ends a text? None is called {', '.join(_ENDS)}; say --eos TOKEN, "
            f"and --bos TOKEN if another one stands before a text. It begins with {_first(tokens)} "
            f"and ends with {tokens[-1]}"
        )  # fmt: skip
    beginning = wanted.bos or (_usual(_BEGINNINGS, known) if boundary == "either" else None)
    return Specials(beginning or end, end, wanted.unk or _usual(_UNKNOWNS, known))


def _usual(names: Sequence[str], known: set[str]) -> str | None:
    return next((name for name in names if name in known), None)


def _first(tokens: Sequence[str]) -> str:
    return ", ".join(tokens[:5])
