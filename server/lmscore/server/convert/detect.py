"""DetectErrors: texts to a batch, what was found to messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscore.models.error_detection.alternatives import Alternative, Source
from lmscore.models.error_detection.checking import (
    MAX_RESCORED_BYTES,
    CheckedTexts,
    CheckSettings,
)
from lmscore.models.error_detection.detection import Criterion, ErrorSpan
from lmscore.models.error_detection.misfit import rescored_bytes
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.vocabulary import EOS
from lmscore.server.convert.items import (
    ItemErrors,
    Limits,
    check_alternatives,
    check_count,
    check_reply_size,
    identity,
    item_error,
    special_name,
    surfaces,
    text_items,
)
from lmscore.server.convert.score import shared_context
from lmscore.server.convert.score_reply import words_message
from lmscore.server.errors import InvalidFieldError, NotCalibratedError, TextTooLongError
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire

DEFAULT_ALTERNATIVES = 5

_CRITERIA: dict[wire.DetectionCriterion.ValueType, Criterion] = {
    wire.DETECTION_CRITERION_UNSPECIFIED: "misfit",
    wire.DETECTION_CRITERION_SURPRISAL: "surprisal",
    wire.DETECTION_CRITERION_MISFIT: "misfit",
}
_CRITERION_NUMBERS: dict[Criterion, wire.DetectionCriterion.ValueType] = {
    "surprisal": wire.DETECTION_CRITERION_SURPRISAL,
    "misfit": wire.DETECTION_CRITERION_MISFIT,
}
_SOURCES: dict[Source, wire.AlternativeSource.ValueType] = {
    "vocabulary": wire.ALTERNATIVE_SOURCE_VOCABULARY,
    "spelling": wire.ALTERNATIVE_SOURCE_SPELLING,
    "deletion": wire.ALTERNATIVE_SOURCE_DELETION,
}


@dataclass(frozen=True, slots=True)
class DetectWork:
    """The texts that can be checked, and why the others cannot."""

    batch: ScoreBatch
    strings: list[str]  # the texts of the batch
    errors: ItemErrors
    settings: CheckSettings
    words: bool  # whether to tell of each word


def detect_work(
    request: wire.DetectErrorsRequest, limits: Limits, served: ServedModel
) -> DetectWork:
    """Check a request; InvalidFieldError or NotCalibratedError for what concerns it as a whole."""
    if not request.texts:
        raise InvalidFieldError("texts", "at least one text is required")
    check_count("texts", len(request.texts), limits)
    settings = _settings(request, limits, served)
    texts, strings, errors = text_items("texts", request.texts, limits)
    if settings.criterion == "misfit":
        texts, strings, errors = _within_budget(texts, strings, errors)
    batch = ScoreBatch(
        texts,
        contexts=shared_context(request.context, limits),
        bos=request.bos if request.HasField("bos") else True,
        eos=request.eos if request.HasField("eos") else True,
        per_token=True,
    )
    return DetectWork(batch, strings, errors, settings, request.words)


def _settings(
    request: wire.DetectErrorsRequest, limits: Limits, served: ServedModel
) -> CheckSettings:
    if request.criterion not in _CRITERIA:
        raise InvalidFieldError("criterion", f"{request.criterion} is not a DetectionCriterion")
    criterion = _CRITERIA[request.criterion]
    if request.HasField("threshold"):
        threshold = request.threshold
        if np.isnan(threshold):
            raise InvalidFieldError("threshold", "it is no number")
    elif served.calibration is not None:
        threshold = served.calibration.threshold(criterion)
    else:
        raise NotCalibratedError(served.name)
    count = request.alternatives if request.HasField("alternatives") else DEFAULT_ALTERNATIVES
    if count:
        check_alternatives("alternatives", count, limits)
    return CheckSettings(criterion, threshold, count, request.spelling)


def _within_budget(
    texts: Texts, strings: list[str], errors: ItemErrors
) -> tuple[Texts, list[str], ItemErrors]:
    """The texts whose misfits can be found in one request, those that come first before others."""
    over = _beyond_budget(rescored_bytes(texts))
    if not over.any():
        return texts, strings, errors
    indices = [i for i in range(len(strings) + len(errors)) if i not in errors]
    problem = (
        "too much text to look at each word of it from both sides in one request; send fewer texts "
        "at a time, or each sentence as a text of its own, or set DETECTION_CRITERION_SURPRISAL"
    )
    more = {
        indices[i]: TextTooLongError(f"texts[{indices[i]}]", problem)
        for i in np.flatnonzero(over).tolist()
    }
    kept = [text for text, left_out in zip(strings, over.tolist(), strict=True) if not left_out]
    return Texts.from_strings(kept), kept, {**errors, **more}


def _beyond_budget(costs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which do not fit beside those that came before; one that is left out takes no room."""
    over = np.zeros(len(costs), dtype=bool)
    left = MAX_RESCORED_BYTES
    for i, cost in enumerate(costs.tolist()):
        over[i] = cost > left
        left -= 0 if over[i] else cost
    return over


def detect_response(
    model: ServedModel, work: DetectWork, checked: CheckedTexts, limits: Limits
) -> wire.DetectErrorsResponse:
    """What was found, in the order of the request, errors in their places.

    Raises InvalidFieldError if that is more than a message can hold.
    """
    response = wire.DetectErrorsResponse(
        model=identity(model),
        criterion=_CRITERION_NUMBERS[work.settings.criterion],
        threshold=work.settings.threshold,
    )
    messages = iter(_messages(model, work, checked))
    for i in range(len(work.strings) + len(work.errors)):
        if i in work.errors:
            response.texts.add(error=item_error(work.errors[i]))
        else:
            message = next(messages)
            if message.HasField("error"):
                message.error.field = f"texts[{i}]"
            response.texts.append(message)
    check_reply_size("texts", response.ByteSize(), limits)
    return response


def _messages(
    model: ServedModel, work: DetectWork, checked: CheckedTexts
) -> list[wire.CheckedText]:
    messages = [wire.CheckedText(log_prob=log_prob) for log_prob in checked.log_probs.tolist()]
    for span, alternatives in zip(checked.spans, checked.alternatives, strict=True):
        found = _span(span, work.strings[span.text], alternatives, work.settings.threshold)
        messages[span.text].spans.append(found)
    if work.words:
        vocabulary, offsets = model.model.vocabulary, checked.words.offsets
        end = special_name(vocabulary, vocabulary.eos_id, EOS) if work.batch.eos else None
        for i, message in enumerate(messages):
            data = work.strings[i].encode()
            message.words.CopyFrom(words_message(checked.words, i, data, end))
            figures = checked.unexpectedness[offsets[i] : offsets[i + 1]].tolist()
            message.unexpectedness.extend([*figures[:-1], 0.0] if work.batch.eos else figures)
    problem = (
        "so many words are unexpected that looking for alternatives would take too long; send "
        "fewer or shorter texts, raise the threshold, or ask for 0 alternatives"
    )
    for i in checked.too_many:
        error = item_error(TextTooLongError("texts", problem))
        messages[i] = wire.CheckedText(error=error)
    return messages


def _span(
    span: ErrorSpan, text: str, alternatives: list[Alternative], threshold: float
) -> wire.ErrorSpan:
    [written] = surfaces(text.encode(), [span.begin], [span.end])
    return wire.ErrorSpan(
        text=written,
        begin_byte=span.begin,
        end_byte=span.end,
        word_count=len(span.words),
        surprisal=span.surprisal,
        unexpectedness=span.unexpectedness,
        beyond_threshold=span.unexpectedness > threshold,
        oov=span.oov,
        alternatives=[
            wire.Alternative(text=each.text, gain=each.gain, source=_SOURCES[each.source])
            for each in alternatives
        ],
    )
