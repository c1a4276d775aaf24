"""What a format is: how to know it, to read it and to write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from lmscore.client.nbest_formats.source import Source
from lmscore.client.nbest_formats.values import SCORE, UnwritableError
from lmscore.client.requests import NBestList

Parts: TypeAlias = Mapping[str, str]
"""What to append to which files: text by path within a folder; by "" where there is one file."""

Render: TypeAlias = Callable[[int, NBestList, Sequence[str]], Parts]
"""Writes a list, given its number from 0 and the names of the features of list 0."""


class Room(Enum):
    """Which scores a hypothesis has room for."""

    NAMED = "any features, by name"
    ONE_SCORE = "one score"
    ACOUSTIC_AND_LM = "an acoustic score and one of a language model"


class Layout(Enum):
    """How a format lies on the disk when it is written."""

    FILE = "one file"
    FOLDER = "a folder of files that all grow"
    FILE_A_LIST = "a folder with a file a list"


def _no_text(_: int) -> Parts:
    return {}


@dataclass(frozen=True, slots=True)
class NBestFormat:
    """A format.

    ``recognizes_file`` sees how a file begins, ``recognizes_folder`` the source. Readers raise
    FileError, ``render`` UnwritableError.
    """

    shape: str  # what it looks like, for people
    read: Callable[[Source], Iterator[NBestList]]
    render: Render
    recognizes_file: Callable[[str], bool] = lambda _: False
    recognizes_folder: Callable[[Source], bool] = lambda _: False
    end: Callable[[int], Parts] = _no_text  # what follows that many lists
    room: Room = Room.NAMED
    layout: Layout = Layout.FILE
    features_vary: bool = False  # from hypothesis to hypothesis; an absent one is 0


def only_score(nbest: NBestList, format_name: str) -> None:
    """UnwritableError unless each hypothesis has exactly the feature "score"."""
    for hypothesis in nbest.hypotheses:
        if set(hypothesis.features) != {SCORE}:
            raise UnwritableError(
                f"list {nbest.id}: {format_name} has room for one score, "
                f"not for {sorted(hypothesis.features)}"
            )


def non_empty(nbest: NBestList) -> NBestList:
    """The list; UnwritableError if it has no hypotheses, which readers would not see."""
    if not nbest.hypotheses:
        raise UnwritableError(f"list {nbest.id} has no hypotheses")
    return nbest
