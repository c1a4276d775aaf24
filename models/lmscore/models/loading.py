"""From a path to a model: what a file is, told by its first bytes, decides who reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from lmscore.models.compression import open_model_file
from lmscore.models.errors import CapabilityError
from lmscore.models.kenlm.header import MAGIC as KENLM_MAGIC
from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.ngram.arpa import first_of_each, read_arpa
from lmscore.models.ngram.build import DuplicateEntryError
from lmscore.models.ngram.file import MAGIC as NGRAM_MAGIC
from lmscore.models.ngram.file import open_ngram
from lmscore.models.ngram.from_table import model_from_table
from lmscore.models.ngram.line_reader import Progress

Loader = Callable[[Path, Progress | None], LanguageModel[Any]]

_LONGEST_MAGIC = 64


def load_model(path: Path, progress: Progress | None = None) -> LanguageModel[Any]:
    """The model in a file, ready to score; progress is told of the bytes read.

    Raises ModelNotFoundError for a path without a readable file, ModelFormatError for a file
    that holds no model; warns with ModelFormatWarning of what was repaired.
    """
    with open_model_file(path) as file:
        head = file.read(_LONGEST_MAGIC)
    load = next((load for magic, load in _LOADERS.items() if head.startswith(magic)), _load_arpa)
    model = load(path, progress)
    # Compiled code is loaded now, so that the first request need not wait for it.
    for per_token in (False, True):
        model.score(ScoreBatch(Texts.from_strings([""]), per_token=per_token))
    with suppress(CapabilityError):  # some models can only score
        model.next_log_probs(model.initial_state(1))
    return model


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, in hexadecimal; raises ModelNotFoundError."""
    with open_model_file(path) as file:
        return hashlib.file_digest(cast("Any", file), "sha256").hexdigest()


def _load_arpa(path: Path, progress: Progress | None) -> LanguageModel[Any]:
    table = read_arpa(path, progress)
    while True:
        try:
            return model_from_table(table)
        except DuplicateEntryError as duplicate:
            table = first_of_each(path, table, duplicate.length)


def _load_ngram(path: Path, progress: Progress | None) -> LanguageModel[Any]:
    model = open_ngram(path)
    if progress is not None:
        progress(path.stat().st_size, path.stat().st_size)
    return model


def _load_kenlm(path: Path, _progress: Progress | None) -> LanguageModel[Any]:
    return KenlmModel.open(path)


# First bytes of the files that are not text. Whatever is not here is read as ARPA, whose reader
# also undoes compression and names what it recognizes but cannot use.
_LOADERS: dict[bytes, Loader] = {
    NGRAM_MAGIC: _load_ngram,
    KENLM_MAGIC: _load_kenlm,
}
