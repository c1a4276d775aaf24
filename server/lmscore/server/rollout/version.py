"""One version from its files to a model that may answer, or to the reason why it may not."""

from __future__ import annotations

from pathlib import Path

import structlog

from lmscore.models.compression import open_model_file
from lmscore.models.errors import ModelError, ModelFormatError
from lmscore.models.network.placement import Placement
from lmscore.models.ngram.file import MAGIC as NGRAM_MAGIC
from lmscore.models.ngram.file import verify_ngram
from lmscore.server.errors import OutOfMemoryError
from lmscore.server.memory import within_memory
from lmscore.server.model_loading import load
from lmscore.server.model_source import ModelSource
from lmscore.server.repository import FailedModel, LoadingModel, ServedModel
from lmscore.server.rollout.layout import FoundVersion, look
from lmscore.server.rollout.probe import try_model

log = structlog.get_logger()


def load_version(
    version: LoadingModel, found: FoundVersion, placement: Placement, *, copy: bool
) -> ServedModel | FailedModel | LoadingModel:
    """The model, why there is none, or the same again if files changed while they were read."""
    outcome: ServedModel | FailedModel
    try:
        outcome = within_memory(_load, version, found, placement, copy)
    except Exception as error:  # noqa: BLE001 - whatever it is, the version before serves on
        outcome = FailedModel(version.name, version.version, _problem(error, found.folder))
    if look(found.folder) != found:
        log.info("files changed while they were read", model=version.name, version=version.version)
        return version
    return outcome


def _load(
    version: LoadingModel, found: FoundVersion, placement: Placement, copy: bool
) -> ServedModel:
    if found.problem:
        raise ModelFormatError(found.folder, found.problem)
    source = ModelSource(name=version.name, path=found.path)
    if found.path.is_file() and _is_ngram(found.path):
        verify_ngram(found.path)  # opening it reads no more than the header
    served = load(source, placement, version.version, copy=copy)
    try_model(served.model, found.folder)
    return served


def _is_ngram(path: Path) -> bool:
    with open_model_file(path) as file:
        return file.read(len(NGRAM_MAGIC)) == NGRAM_MAGIC


def _problem(error: Exception, folder: Path) -> str:
    """What to say to callers, who know the repository's names but not where it is."""
    match error:
        case ModelError():
            return str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")
        case OutOfMemoryError():
            return "there was not enough memory to load it beside what is loaded"
        case OSError():
            return f"it cannot be read: {error.strerror}"
        case _:
            log.error("loading a version failed", path=str(folder), exc_info=error)
            return f"a bug ({type(error).__name__}); the server's log has the details"
