"""Puts probabilities on text with a language-model server.

>>> from lmscore.client import Client
>>> with Client("127.0.0.1:50051", model="demo") as client:  # doctest: +SKIP
...     for score in client.score(["the first sentence", "the second"]):
...         print(score.log_prob, score.perplexity)

``AsyncClient`` does the same on asyncio. Log-probabilities are natural logarithms (nats).
"""

from lmscore.client.aio import AsyncClient
from lmscore.client.channel import ChannelSettings
from lmscore.client.client import Client
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
    ServerError,
    UnavailableError,
)
from lmscore.client.requests import Hypothesis, NBestList, RescoreWeights
from lmscore.client.results import (
    Answer,
    LikelyToken,
    ModelIdentity,
    ModelInfo,
    NgramInfo,
    Prediction,
    Ranking,
    RescoredList,
    ScoringContract,
    TextScore,
    Token,
    TokenScore,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "AuthenticationError",
    "ChannelSettings",
    "Client",
    "DeadlineExceededError",
    "FieldViolation",
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
    "NgramInfo",
    "OverloadedError",
    "Prediction",
    "Ranking",
    "RescoreWeights",
    "RescoredList",
    "ScoringContract",
    "ServerError",
    "TextScore",
    "Token",
    "TokenScore",
    "UnavailableError",
]
