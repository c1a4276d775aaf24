"""Puts probabilities on text with a language-model server.

>>> from lmscore.client import Client
>>> with Client("127.0.0.1:50051", model="demo") as client:  # doctest: +SKIP
...     for score in client.score(["the first sentence", "the second"]):
...         print(score.log_prob, score.perplexity)

``AsyncClient`` does the same on asyncio. Log-probabilities are natural logarithms (nats).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmscore.client.admin import AdminClient
    from lmscore.client.aio import AsyncClient
    from lmscore.client.channel import ChannelSettings
    from lmscore.client.client import Client
    from lmscore.client.credentials import TlsSettings
    from lmscore.client.detection import Alternative, CheckedText, CheckedWord, ErrorSpan
    from lmscore.client.errors import (
        AuthenticationError,
        DeadlineExceededError,
        FieldViolation,
        InvalidArgumentError,
        ItemError,
        LmscoreError,
        MessageTooLargeError,
        ModelNotFoundError,
        ModelNotReadyError,
        OverloadedError,
        PermissionDeniedError,
        QuotaExceededError,
        ServerError,
        UnauthenticatedError,
        UnavailableError,
    )
    from lmscore.client.generation import (
        GeneratedText,
        GeneratedToken,
        GenerationEvent,
        GenerationFinished,
        GenerationStarted,
    )
    from lmscore.client.requests import (
        Beam,
        Greedy,
        Hypothesis,
        NBestList,
        RescoreWeights,
        Sampling,
    )
    from lmscore.client.results import (
        Answer,
        DetectionThresholds,
        LikelyToken,
        ModelIdentity,
        ModelInfo,
        NetworkInfo,
        NgramInfo,
        Prediction,
        Ranking,
        RescoredList,
        ScoringContract,
        TextScore,
        Token,
        TokenScore,
        WordScore,
    )
    from lmscore.client.version import __version__

__all__ = [
    "AdminClient",
    "Alternative",
    "Answer",
    "AsyncClient",
    "AuthenticationError",
    "Beam",
    "ChannelSettings",
    "CheckedText",
    "CheckedWord",
    "Client",
    "DeadlineExceededError",
    "DetectionThresholds",
    "ErrorSpan",
    "FieldViolation",
    "GeneratedText",
    "GeneratedToken",
    "GenerationEvent",
    "GenerationFinished",
    "GenerationStarted",
    "Greedy",
    "Hypothesis",
    "InvalidArgumentError",
    "ItemError",
    "LikelyToken",
    "LmscoreError",
    "MessageTooLargeError",
    "ModelIdentity",
    "ModelInfo",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "NBestList",
    "NetworkInfo",
    "NgramInfo",
    "OverloadedError",
    "PermissionDeniedError",
    "Prediction",
    "QuotaExceededError",
    "Ranking",
    "RescoreWeights",
    "RescoredList",
    "Sampling",
    "ScoringContract",
    "ServerError",
    "TextScore",
    "TlsSettings",
    "Token",
    "TokenScore",
    "UnauthenticatedError",
    "UnavailableError",
    "WordScore",
    "__version__",
]

_HOMES = {
    "Alternative": "lmscore.client.detection",
    "CheckedText": "lmscore.client.detection",
    "CheckedWord": "lmscore.client.detection",
    "ErrorSpan": "lmscore.client.detection",
    "AdminClient": "lmscore.client.admin",
    "AsyncClient": "lmscore.client.aio",
    "ChannelSettings": "lmscore.client.channel",
    "Client": "lmscore.client.client",
    "TlsSettings": "lmscore.client.credentials",
    "AuthenticationError": "lmscore.client.errors",
    "DeadlineExceededError": "lmscore.client.errors",
    "FieldViolation": "lmscore.client.errors",
    "InvalidArgumentError": "lmscore.client.errors",
    "ItemError": "lmscore.client.errors",
    "LmscoreError": "lmscore.client.errors",
    "MessageTooLargeError": "lmscore.client.errors",
    "ModelNotFoundError": "lmscore.client.errors",
    "ModelNotReadyError": "lmscore.client.errors",
    "OverloadedError": "lmscore.client.errors",
    "PermissionDeniedError": "lmscore.client.errors",
    "QuotaExceededError": "lmscore.client.errors",
    "ServerError": "lmscore.client.errors",
    "UnauthenticatedError": "lmscore.client.errors",
    "UnavailableError": "lmscore.client.errors",
    "GeneratedText": "lmscore.client.generation",
    "GeneratedToken": "lmscore.client.generation",
    "GenerationEvent": "lmscore.client.generation",
    "GenerationFinished": "lmscore.client.generation",
    "GenerationStarted": "lmscore.client.generation",
    "Beam": "lmscore.client.requests",
    "Greedy": "lmscore.client.requests",
    "Hypothesis": "lmscore.client.requests",
    "NBestList": "lmscore.client.requests",
    "RescoreWeights": "lmscore.client.requests",
    "Sampling": "lmscore.client.requests",
    "Answer": "lmscore.client.results",
    "DetectionThresholds": "lmscore.client.results",
    "LikelyToken": "lmscore.client.results",
    "ModelIdentity": "lmscore.client.results",
    "ModelInfo": "lmscore.client.results",
    "NetworkInfo": "lmscore.client.results",
    "NgramInfo": "lmscore.client.results",
    "Prediction": "lmscore.client.results",
    "Ranking": "lmscore.client.results",
    "RescoredList": "lmscore.client.results",
    "ScoringContract": "lmscore.client.results",
    "TextScore": "lmscore.client.results",
    "Token": "lmscore.client.results",
    "TokenScore": "lmscore.client.results",
    "WordScore": "lmscore.client.results",
    "__version__": "lmscore.client.version",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for.

    The command needs that: it quietens gRPC, and says that it was interrupted, from its first
    moment, and gRPC takes its time to import.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
