"""From another program's checkpoint to a folder of this one, in order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lmscore.models.errors import ModelError, ModelFormatError
from lmscore.models.network.checkpoint import CONFIG_FILE, FORMAT, write_checkpoint
from lmscore.models.network.config import Activation
from lmscore.models.network.importers.assembly import ImportedNetwork, assemble
from lmscore.models.network.importers.checks import CheckedNetwork
from lmscore.models.network.importers.report import ImportReport
from lmscore.models.network.importers.tokenizer_files import (
    ImportedTokenizer,
    VocabularyOptions,
    read_tokenizer,
)
from lmscore.models.network.importers.torch_file import TorchFile, read_torch_file

_AWD_FULL_SOFTMAX = 75_000  # words; above, AWD-LSTM's own training splits the softmax


class TargetExistsError(ModelError):
    """There is something where a checkpoint is to be written."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a checkpoint does not say itself."""

    vocabulary: VocabularyOptions = field(default_factory=VocabularyOptions)
    activation: Activation | None = None  # of an Elman network; None: tanh
    sample: Path | None = None  # a text to check the network's vocabulary with
    overwrite: bool = False


def import_network(checkpoint: Path, folder: Path, options: ImportOptions) -> ImportReport:
    """Write the network in a file of another program to a folder, once it is seen to work.

    Raises ModelFormatError for what is wrong with the files, TargetExistsError for a folder that
    must not be overwritten; then the folder is as it was.
    """
    _check_target(folder, overwrite=options.overwrite)
    file = read_torch_file(checkpoint)
    network = assemble(checkpoint, file.tensors, options.activation)
    notes = _notes(checkpoint, file, network, options)
    rows = network.config.vocabulary_size
    tokenizer = read_tokenizer(checkpoint, network.source, rows, options.vocabulary)
    with _staged(folder) as staged:
        write_checkpoint(
            staged,
            network.config,
            network.tensors,
            tokenizer.spec,
            tokenizer.files,
            {"imported_from": network.source.name},
        )
        checked = CheckedNetwork(staged)
        probe = checked.probe()
        fit = checked.fit(options.sample) if options.sample is not None else None
    return ImportReport(
        folder=folder,
        source=network.source.name,
        config=network.config,
        dtype=_dtypes(network.tensors),
        parameters=sum(tensor.numel() for tensor in network.tensors.values()),
        vocabulary_path=tokenizer.path,
        vocabulary_style=tokenizer.style,
        first_tokens=tokenizer.tokens[:8],
        tokenizer=tokenizer.spec,
        notes=[*notes, *_tokenizer_notes(tokenizer)],
        probe=probe,
        fit=fit,
    )


def _check_target(folder: Path, *, overwrite: bool) -> None:
    """See that a folder is new or empty, or a checkpoint that may be overwritten."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise TargetExistsError(f"{folder}: a file; a network is written to a folder")
    if not any(folder.iterdir()):
        return
    if not _is_checkpoint(folder):
        problem = "a folder with other files and no network; name a new or empty one"
        raise TargetExistsError(f"{folder}: {problem}")
    if not overwrite:
        raise TargetExistsError(f"{folder}: holds a network already; --force replaces it")


def _is_checkpoint(folder: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        values = json.loads((folder / CONFIG_FILE).read_bytes())
        return isinstance(values, dict) and values.get("format") == FORMAT
    return False


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose files are moved when all went well, config.json last."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield staged
        folder.mkdir(exist_ok=True)
        for path in sorted(staged.iterdir(), key=lambda path: path.name == CONFIG_FILE):
            path.replace(folder / path.name)
    except ModelFormatError as error:
        if not error.path.is_relative_to(staged):
            raise
        place = folder / error.path.relative_to(staged)
        raise ModelFormatError(place, error.problem, line=error.line) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _dtypes(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}))


def _notes(
    checkpoint: Path, file: TorchFile, network: ImportedNetwork, options: ImportOptions
) -> list[str]:
    """What the reader of a report ought to know; ModelFormatError for what cannot be computed."""
    notes = []
    if file.part is not None:
        notes.append(f'the weights are those under "{file.part}"')
    if network.without_bias:
        notes.append(f"zeros stand for {', '.join(network.without_bias)}")
    if network.config.kind == "rnn" and options.activation is None:
        notes.append("taken to use tanh, which weights do not tell; --activation relu if not")
    if network.source.may_share_output and len(network.config.hidden_sizes) > 1:
        notes += _residual_notes(checkpoint, file.settings)
    if network.source.name == "AWD-LSTM" and network.config.vocabulary_size > _AWD_FULL_SOFTMAX:
        notes.append(
            "AWD-LSTM trains so large vocabularies with a split softmax, whose weights are not in "
            "the model: probabilities differ from those of its own evaluation"
        )
    return notes


def _residual_notes(checkpoint: Path, settings: Mapping[str, Any]) -> list[str]:
    """The option of fairseq to add up layers, which leaves no trace in the weights."""
    if settings.get("residuals"):
        problem = "trained with --residuals, between layers, which is not supported"
        raise ModelFormatError(checkpoint, problem)
    if "residuals" in settings:
        return []
    return ["taken to be trained without --residuals: the file does not say"]


def _tokenizer_notes(tokenizer: ImportedTokenizer) -> list[str]:
    notes = []
    if tokenizer.spec.unk is None:
        notes.append("no token stands for unknown words; --unk TOKEN if one does")
    pieces = sum(token.startswith("\u2581") for token in tokenizer.tokens)
    if tokenizer.spec.type == "words" and pieces > 1:
        notes.append(
            "tokens with \u2581 are SentencePiece pieces: texts must be given split into them, "
            "with blanks between"
        )
    if tokenizer.spec.type == "words" and any(t.endswith("@@") for t in tokenizer.tokens):
        notes.append(
            "tokens with @@ are pieces of subword-nmt: give its merges too, --tokenizer "
            "subword-nmt --codes FILE, or texts split into pieces"
        )
    return notes
