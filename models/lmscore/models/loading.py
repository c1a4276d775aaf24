"""From a path to a model: a folder is a network; a file's first bytes tell who reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from lmscore.models.compression import open_model_file
from lmscore.models.errors import CapabilityError, ModelFormatError, ModelNotFoundError
from lmscore.models.kenlm.header import MAGIC as KENLM_MAGIC
from lmscore.models.kenlm.model import KenlmModel
from lmscore.models.language_model import LanguageModel, NetworkDescription, ScoreBatch, Texts
from lmscore.models.network.placement import Placement
from lmscore.models.ngram.arpa import first_of_each, read_arpa
from lmscore.models.ngram.build import DuplicateEntryError
from lmscore.models.ngram.file import MAGIC as NGRAM_MAGIC
from lmscore.models.ngram.file import open_ngram
from lmscore.models.ngram.from_table import model_from_table
from lmscore.models.ngram.line_reader import Progress

Loader = Callable[[Path, Progress | None, bool], LanguageModel[Any]]
"""Takes a path, what is told of the progress, and whether to copy what could be mapped."""

CONFIG_FILE = "config.json"
"""A folder that has it is a network."""

GOLDEN_SENTENCE = "the quick brown fox jumps over the lazy dog"

_LONGEST_MAGIC = 64
_WARM_UP_TEXTS = 64
_ROUNDING = 0.05  # of a sum of probabilities, in bfloat16 and over a large vocabulary
_MOST = 10.0  # nats; a log-probability above it is as wrong as one that overflows


def load_model(
    path: Path,
    progress: Progress | None = None,
    placement: Placement | None = None,
    *,
    copy: bool = False,
) -> LanguageModel[Any]:
    """The model in a file or folder, ready to score; progress is told of the bytes read.

    placement says where a network computes; by default where it is fastest. With copy, files that
    could be mapped are read into memory. Raises ModelNotFoundError for a path without a readable
    file, ModelFormatError for one that holds no model, CapabilityError for a network that cannot
    be computed here; warns with ModelFormatWarning of what was repaired.
    """
    if path.is_dir():
        model = _load_network(path, placement or Placement())
    else:
        with open_model_file(path) as file:
            head = file.read(_LONGEST_MAGIC)
        loaders = (load for magic, load in _LOADERS.items() if head.startswith(magic))
        model = next(loaders, _load_arpa)(path, progress, copy)
    _warm_up(path, model)
    return model


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, in hexadecimal; raises ModelNotFoundError.

    For a folder, it is that of what sha256sum prints for the files that the model consists of:
    ``sha256sum config.json model.safetensors vocab.txt | sha256sum``, names sorted.
    """
    if not path.is_dir():
        return _file_hash(path)
    lines = (f"{_file_hash(path / name)}  {name}\n" for name in sorted(_network_files(path)))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with open_model_file(path) as file:
        return hashlib.file_digest(cast("Any", file), "sha256").hexdigest()


def _network_files(folder: Path) -> set[str]:
    """Names of the files that a network consists of; others may lie beside them."""
    from lmscore.models.network.checkpoint import WEIGHTS_FILE, read_config

    _, spec = read_config(folder)
    return {CONFIG_FILE, WEIGHTS_FILE} | {n for n in (spec.file, spec.codes_file) if n is not None}


def _warm_up(path: Path, model: LanguageModel[Any]) -> None:
    """Compile, allocate and try everything now, so that the first request need not wait for it."""
    words = GOLDEN_SENTENCE.split()
    rotations = [i % len(words) for i in range(_WARM_UP_TEXTS)]
    sentences = [" ".join(words[i:] + words[:i]) for i in rotations]
    golden = Texts.from_strings(["", GOLDEN_SENTENCE])
    try:
        model.score(ScoreBatch(golden, per_token=True))
        model.score(ScoreBatch(Texts.from_strings(sentences)))
    except CapabilityError:  # the numbers of a network overflow
        raise ModelFormatError(path, _not_numbers("a score that is no number (NaN)")) from None
    with suppress(CapabilityError):  # some models can only score
        log_probs = model.next_log_probs(model.read(golden)).astype(np.float64)
        totals = np.exp(np.minimum(log_probs, _MOST)).sum(1)
        # An n-gram model's file says what it likes; a network's softmax is always a distribution.
        is_network = isinstance(model.description.structure, NetworkDescription)
        if is_network and not np.allclose(totals, 1, atol=_ROUNDING):
            raise ModelFormatError(path, _not_numbers(f"probabilities that sum to {totals[0]:.6g}"))


def _not_numbers(what: str) -> str:
    return (
        f'it gives "{GOLDEN_SENTENCE}" {what}: its weights are damaged, or too large for the '
        "precision that it computes in"
    )


def _load_network(folder: Path, placement: Placement) -> LanguageModel[Any]:
    if not (folder / CONFIG_FILE).exists():
        raise ModelNotFoundError(f"{folder}: a folder without a {CONFIG_FILE}, so no network")
    try:
        from lmscore.models.network.checkpoint import read_checkpoint
        from lmscore.models.network.model import NetworkModel
    except ModuleNotFoundError as error:
        if str(error.name).startswith("lmscore"):
            raise
        needs = f"{folder}: networks need {error.name}: pip install 'lmscore[server]'"
        raise CapabilityError(needs) from None
    return NetworkModel(read_checkpoint(folder), placement)


def _load_arpa(path: Path, progress: Progress | None, _copy: bool) -> LanguageModel[Any]:
    table = read_arpa(path, progress)
    while True:
        try:
            return model_from_table(table)
        except DuplicateEntryError as duplicate:
            table = first_of_each(path, table, duplicate.length)


def _load_ngram(path: Path, progress: Progress | None, copy: bool) -> LanguageModel[Any]:
    model = open_ngram(path, copy=copy)
    if progress is not None:
        progress(path.stat().st_size, path.stat().st_size)
    return model


def _load_kenlm(path: Path, _progress: Progress | None, copy: bool) -> LanguageModel[Any]:
    return KenlmModel.open(path, copy=copy)


# First bytes of the files that are not text. Whatever is not here is read as ARPA, whose reader
# also undoes compression and names what it recognizes but cannot use.
_LOADERS: dict[bytes, Loader] = {
    NGRAM_MAGIC: _load_ngram,
    KENLM_MAGIC: _load_kenlm,
}
