"""From text files to the table of an n-gram model, in the order in which things are done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import CorpusError
from lmscore.models.estimation.backoff_model import estimate
from lmscore.models.estimation.corpus import Observer, encode_blocks, gather, read_blocks
from lmscore.models.estimation.counting import count_words
from lmscore.models.estimation.lexicon import BOS_ID, EOS_ID, UNK_ID, Lexicon
from lmscore.models.estimation.merging import count_ngrams
from lmscore.models.estimation.ngram_counts import NgramCounts
from lmscore.models.estimation.pruning import prune
from lmscore.models.estimation.segmentation import Segmenter, characters, subwords
from lmscore.models.estimation.selection import Selection, select_words
from lmscore.models.estimation.smoothing import SMOOTHINGS, SmoothingInputs
from lmscore.models.estimation.tables import to_table
from lmscore.models.estimation.workspace import Workspace
from lmscore.models.ngram.table import NgramTable

MAX_ORDER = 100  # as in files
_TOKEN_SHARE = 4  # at most one in so many bytes of memory holds the text
_BYTES_PER_TOKEN = 40  # of counting and estimating, and again for each length


class CorpusWarning(UserWarning):
    """A corpus does not allow all that was asked for."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to make a model; raises ValueError for what cannot be.

    Words are unknown to the model if they are not in the list, occur less than least_count times,
    or are not among the most_words most frequent.
    """

    order: int = 3
    smoothing: str = "modified-kneser-ney"
    added: float = 1.0  # to every count, by additive smoothing
    tokens: Literal["words", "characters"] | Path = "words"  # or a tokenizer.json
    word_list: Path | None = None
    least_count: int = 1
    most_words: int | None = None
    cutoffs: tuple[int, ...] = ()  # by length: n-grams that occur so often or less are left out
    prune_threshold: float = 0.0  # rise of perplexity, as a share, that leaving one out may cost
    heldout: Path | None = None
    memory_bytes: int = 4 << 30
    temporary_folder: Path | None = None

    def __post_init__(self) -> None:
        checks = {
            f"the order is {self.order}; it can be from 1 to {MAX_ORDER}": not (
                1 <= self.order <= MAX_ORDER
            ),
            f"{self.smoothing} is not one of {', '.join(SMOOTHINGS)}": (
                self.smoothing not in SMOOTHINGS
            ),
            "what is added to counts must be above 0": not 0 < self.added < np.inf,
            "Jelinek-Mercer smoothing is fitted on held-out text, and none is given": (
                self.smoothing == "jelinek-mercer" and self.heldout is None
            ),
            "a count and a number of words must be at least 1": (
                self.least_count < 1 or (self.most_words is not None and self.most_words < 1)
            ),
            "a list of words already says which are known": self.word_list is not None
            and (self.least_count > 1 or self.most_words is not None),
            "cut-offs begin with 0, since words are chosen otherwise, and never fall": (
                self.cutoffs != tuple(sorted(self.cutoffs)) or any(self.cutoffs[:1])
            ),
            "the threshold for pruning must be 0 or more": not 0 <= self.prune_threshold < np.inf,
            "the memory must be at least 1M": self.memory_bytes < 1 << 20,
        }
        for problem, present in checks.items():
            if present:
                raise ValueError(problem)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a model was made from, and how."""

    sentences: int
    tokens: int  # words of the corpus, sentence marks not counted
    unknown_tokens: int  # of those, what the model takes for ``<unk>``
    vocabulary_size: int  # with ``<unk>``, ``<s>`` and ``</s>``
    ngrams_seen: list[int]  # by length, from 1
    ngrams_kept: list[int]  # by length, from 1
    on_disk: bool  # whether the corpus was counted in parts
    smoothing: str
    notes: dict[str, Any]  # what the smoothing computed, such as discounts by length


Step = Callable[[str], None]
"""Told what begins."""


def train(
    corpora: Sequence[Path],
    settings: TrainingSettings,
    *,
    step: Step = lambda _: None,
    observer: Observer | None = None,
) -> tuple[NgramTable, TrainingReport]:
    """The model of some text files.

    Raises CorpusError, CapabilityError, and OSError if temporary files cannot be written; warns
    with DiscountWarning and CorpusWarning.
    """
    segment = segmenter(settings.tokens)
    workspace = Workspace(settings.temporary_folder)
    step("reading")
    lexicon, tokens = _read(corpora, settings, segment, workspace, observer)
    selection = _select(lexicon, tokens, settings)
    selection.translate(tokens)
    tokens_at_once = settings.memory_bytes // (_BYTES_PER_TOKEN * (settings.order + 1))
    workspace.on_disk = len(tokens) > tokens_at_once
    step("counting")
    ngrams = count_ngrams(
        tokens, len(selection.words), settings.order, max(tokens_at_once, 1), workspace
    )
    ngrams = _without_empty_orders(ngrams)
    step("smoothing")
    inputs = SmoothingInputs(settings.added, _heldout(settings, lexicon, selection, segment))
    smoothing = SMOOTHINGS[settings.smoothing](ngrams, inputs)
    model = estimate(ngrams, smoothing, settings.cutoffs, workspace)
    if settings.prune_threshold > 0:
        step("pruning")
        prune(model, settings.prune_threshold)
    table = to_table(model, selection.words, workspace)
    sentences = int(ngrams.orders[0].counts[EOS_ID])
    report = TrainingReport(
        sentences=sentences,
        tokens=len(tokens) - 2 * sentences,
        unknown_tokens=int(ngrams.orders[0].counts[UNK_ID]),
        vocabulary_size=len(selection.words),
        ngrams_seen=[len(level) for level in ngrams.orders],
        ngrams_kept=[len(level) for level in table.orders],
        on_disk=workspace.on_disk,
        smoothing=settings.smoothing,
        notes=dict(smoothing.notes),
    )
    return table, report


def segmenter(tokens: Literal["words", "characters"] | Path) -> Segmenter | None:
    """What puts blanks between tokens, None for words, which have them."""
    match tokens:
        case "words":
            return None
        case "characters":
            return characters
        case _:
            return subwords(Path(tokens))


def _read(
    corpora: Sequence[Path],
    settings: TrainingSettings,
    segment: Segmenter | None,
    workspace: Workspace,
    observer: Observer | None,
) -> tuple[Lexicon, NDArray[np.uint32]]:
    """The corpora as one text, by ids of a lexicon that holds the list of words or all of them."""
    lexicon = Lexicon()
    if settings.word_list is not None:
        for _ in encode_blocks(read_blocks(settings.word_list), lexicon, None, grow=True):
            pass
    blocks = (block for path in corpora for block in read_blocks(path, observer))
    pieces = encode_blocks(blocks, lexicon, segment, grow=settings.word_list is None)
    tokens = gather(pieces, settings.memory_bytes // _TOKEN_SHARE, workspace)
    if not ((tokens != BOS_ID) & (tokens != EOS_ID)).any():
        raise CorpusError(corpora[0], "there is not one word to train on")
    return lexicon, tokens


def _select(lexicon: Lexicon, tokens: NDArray[np.uint32], settings: TrainingSettings) -> Selection:
    if settings.word_list is not None:
        return Selection(lexicon, np.ones(len(lexicon), np.bool_))
    counts = count_words(tokens, len(lexicon))
    known = select_words(counts, least_count=settings.least_count, most_words=settings.most_words)
    return Selection(lexicon, known)


def _without_empty_orders(ngrams: NgramCounts) -> NgramCounts:
    """N-grams up to the length of the longest sentence."""
    present = [level for level in ngrams.orders if len(level)]
    if len(present) < ngrams.order:
        warnings.warn(
            f"no sentence has {ngrams.order} tokens: the order is {len(present)}",
            CorpusWarning,
            stacklevel=3,
        )
    return NgramCounts(present)


def _heldout(
    settings: TrainingSettings,
    lexicon: Lexicon,
    selection: Selection,
    segment: Segmenter | None,
) -> NDArray[np.uint32] | None:
    """The held-out text by ids of the selection, if the smoothing is fitted on it."""
    if settings.smoothing != "jelinek-mercer" or settings.heldout is None:
        return None
    blocks = read_blocks(settings.heldout)
    tokens = np.concatenate(
        [np.empty(0, np.uint32), *encode_blocks(blocks, lexicon, segment, grow=False)]
    )
    if not len(tokens):
        raise CorpusError(settings.heldout, "there is no line to fit the smoothing on")
    selection.translate(tokens)
    return tokens
