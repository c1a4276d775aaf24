"""Between plain values and messages of DetectErrors."""

from __future__ import annotations

from collections.abc import Sequence

from lmscore.client.convert.answering import answer_of, enum_name, word_scores
from lmscore.client.convert.checking import (
    checked_number,
    checked_text,
    checked_texts,
    refuse_unknown,
    selector,
)
from lmscore.client.detection import (
    Alternative,
    CheckedText,
    CheckedWord,
    Criterion,
    DetectSettings,
    ErrorSpan,
)
from lmscore.client.results import Answer
from lmscore.client.status import invalid_argument
from lmscore.v1 import language_model_service_pb2 as wire

_CRITERIA: dict[Criterion, wire.DetectionCriterion.ValueType] = {
    "misfit": wire.DETECTION_CRITERION_MISFIT,
    "surprisal": wire.DETECTION_CRITERION_SURPRISAL,
}


def detect_request(
    texts: Sequence[str], default_model: str, settings: DetectSettings
) -> wire.DetectErrorsRequest:
    """Texts to check."""
    refuse_unknown(settings, DetectSettings)
    criterion = settings.get("criterion", "misfit")
    if criterion not in _CRITERIA:
        raise invalid_argument("criterion", f"{criterion!r} is none; there are {[*_CRITERIA]}")
    return wire.DetectErrorsRequest(
        model=selector(default_model, settings),
        texts=checked_texts(texts),
        context=checked_text(settings.get("context", ""), "context"),
        criterion=_CRITERIA[criterion],
        threshold=settings.get("threshold"),
        bos=settings.get("bos"),
        eos=settings.get("eos"),
        alternatives=checked_number(settings.get("alternatives"), "alternatives", 32),
        spelling=settings.get("spelling", False),
        words=settings.get("words", False),
    )


def checked(response: wire.DetectErrorsResponse) -> Answer[CheckedText]:
    """Checked texts."""
    criterion = enum_name(wire.DetectionCriterion.DESCRIPTOR, response.criterion)

    def text(message: wire.CheckedText) -> CheckedText:
        words = word_scores(message.words)
        columns = zip(words, message.unexpectedness, strict=True)
        return CheckedText(
            message.log_prob,
            criterion,
            response.threshold,
            tuple(map(_span, message.spans)),
            tuple(CheckedWord(*row) for row in columns),
        )

    return answer_of(response.model, response.texts, text)


def _span(span: wire.ErrorSpan) -> ErrorSpan:
    return ErrorSpan(
        span.text,
        span.begin_byte,
        span.end_byte,
        span.word_count,
        span.surprisal,
        span.unexpectedness,
        span.beyond_threshold,
        span.oov,
        tuple(map(_alternative, span.alternatives)),
    )


def _alternative(alternative: wire.Alternative) -> Alternative:
    source = enum_name(wire.AlternativeSource.DESCRIPTOR, alternative.source)
    return Alternative(alternative.text, alternative.gain, source)
