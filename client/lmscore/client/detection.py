"""Errors in texts: what can be asked about them, and what is answered. In nats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmscore.client.requests import ModelChoice
from lmscore.client.results import WordScore

Criterion: TypeAlias = Literal["misfit", "surprisal"]
"""What of a word is held against the threshold.

Its surprisal is that given all before it. Its misfit is its surprisal less that of the word
without any context, plus what the words after it lose by it.
"""


class DetectSettings(ModelChoice, total=False):
    """How texts are checked."""

    context: str  # stands before every text; conditions and is not checked
    criterion: Criterion  # default "misfit"
    threshold: float | None  # words beyond it are unexpected; default: the model's calibrated one
    bos: bool  # whether `<s>` stands before context and text; default True
    eos: bool  # whether `</s>` is scored at the end; default True
    alternatives: int  # at most so many of each span; default 5
    spelling: bool  # whether to look among words that are spelled alike; default False
    words: bool  # whether to give the score and unexpectedness of every word; default False


@dataclass(frozen=True, slots=True)
class Alternative:
    """What may stand in the place of a span, with one or two of its words changed."""

    text: str  # empty if the span is better left out
    gain: float  # of the whole text's log-probability; a deletion's less what the word alone costs
    source: str  # "vocabulary", "spelling" or "deletion"


@dataclass(frozen=True, slots=True)
class ErrorSpan:
    """Neighbouring words, each of them beyond the threshold or out of vocabulary."""

    text: str
    begin_byte: int  # in UTF-8 bytes of the given text
    end_byte: int  # exclusive
    word_count: int
    surprisal: float  # of the most surprising word
    unexpectedness: float  # of the most unexpected word, by the criterion
    beyond_threshold: bool  # False: it is here as it is out of vocabulary
    oov: bool  # one of its words is out of vocabulary
    alternatives: tuple[Alternative, ...]  # the largest gain first


@dataclass(frozen=True, slots=True)
class CheckedWord:
    """A word, or the end of the text, with what is held against the threshold."""

    score: WordScore
    unexpectedness: float  # 0 for the end


@dataclass(frozen=True, slots=True)
class CheckedText:
    """One text, checked."""

    log_prob: float
    criterion: str
    threshold: float  # the one that was used
    spans: tuple[ErrorSpan, ...]  # in the text's order
    words: tuple[CheckedWord, ...] = ()  # empty unless they were asked for
