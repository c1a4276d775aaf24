"""From a path to a model that can be served, and where it computes."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import structlog

from lmscore.models import distribution
from lmscore.models.compiling import when_compiling
from lmscore.models.decoding import batch as decoding
from lmscore.models.error_detection.calibration import read_calibration
from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import LanguageModel, NetworkDescription
from lmscore.models.loading import fingerprint, load_model
from lmscore.models.network.placement import Placement
from lmscore.server.convert import field_values, score_reply
from lmscore.server.model_source import ModelSource
from lmscore.server.repository import ServedModel
from lmscore.server.settings import Settings
from lmscore.server.stages import StartError

log = structlog.get_logger()
_ONCE = "up to a minute, the first time on a machine and after an update; later starts have it"


def placement_of(settings: Settings) -> Placement:
    """Where networks compute. Raises StartError for a device that is asked for and not there."""
    placement = Placement(
        settings.device, settings.dtype, settings.threads, settings.max_batch_tokens
    )
    if settings.device.startswith("cuda"):
        try:
            placement.torch_device()
        except CapabilityError as error:
            raise StartError(f"{error}; --device cpu computes without") from None
        except ModuleNotFoundError as error:
            needs = f"device {settings.device} needs {error.name}: pip install 'lmscore[server]'"
            raise StartError(needs) from None
    return placement


def load(
    source: ModelSource, placement: Placement, version: int = 1, *, copy: bool = False
) -> ServedModel:
    """Read a model; copy says whether to copy files that could be mapped. Raises ModelError."""
    log.info("loading model", model=source.name, version=version, path=str(source.path))
    started = time.perf_counter()
    with when_compiling(lambda: log.info("compiling", model=source.name, note=_ONCE)):
        model = load_model(source.path, placement=placement, copy=copy)
        _warm_up(model)
    hashed = fingerprint(source.path)
    seconds = time.perf_counter() - started
    calibration = read_calibration(source.path, hashed)
    served = ServedModel(
        source.name, version, hashed, model, seconds, time.time(), calibration=calibration
    )
    structure = model.description.structure
    if isinstance(structure, NetworkDescription):
        place = {"device": structure.device, "dtype": structure.dtype}
    else:
        place = {}
    log.info(
        "model loaded",
        model=source.name,
        version=version,
        path=str(source.path),
        seconds=round(seconds, 2),
        kind=model.description.kind,
        vocabulary=model.description.vocabulary_size,
        **place,
    )
    return served


def _warm_up(model: LanguageModel[Any]) -> None:
    """Compile all that calls may need: the first of them would wait for seconds, others with it."""
    field_values.warm_up()
    score_reply.warm_up()
    with suppress(CapabilityError):  # a model that can only score has nothing to compile for
        decoding.warm_up(model)
        distribution.warm_up(model)
