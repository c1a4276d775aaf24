"""Whether a checkpoint folder, read again, is a language model, and of its vocabulary's texts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lmscore.models.errors import CorpusError, ModelFormatError
from lmscore.models.estimation.corpus import read_blocks
from lmscore.models.language_model import Texts
from lmscore.models.network.checkpoint import Checkpoint, read_checkpoint
from lmscore.models.network.module import NetworkModule
from lmscore.models.tokenization.tokenizer import NO_ID

_PROBED = 8  # tokens
_LIKELIEST = 5
_TOLERANCE = 1e-3
_SAMPLE_TOKENS = 2000
_LARGEST_EXPONENT = 700  # math.exp overflows a little above
_AT_ONCE = 256  # events whose probabilities are computed together


@dataclass(frozen=True, slots=True)
class Probe:
    """What a network says at the beginning of a text."""

    largest_deviation: float  # of a sum of probabilities from 1
    likeliest: list[tuple[str, float]]  # first tokens with their probabilities


@dataclass(frozen=True, slots=True)
class SampleFit:
    """How well a network predicts some text."""

    tokens: int  # events, ends of lines among them
    unknown: int
    perplexity: float  # of the events that are known, of which ends of lines are some
    uniform_perplexity: float  # of a model for which all tokens are equally likely


class CheckedNetwork:
    """A network as it was read again from its folder, in float32 or wider.

    Raises what read_checkpoint raises.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checkpoint = read_checkpoint(folder)
        self._module = _module(self._checkpoint)

    @torch.inference_mode()
    def probe(self) -> Probe:
        """Run a few tokens of the whole vocabulary; ModelFormatError if they do not add up."""
        vocabulary = self._checkpoint.tokenizer.vocabulary
        size = len(vocabulary)
        spread = range(0, size, max(size // _PROBED, 1))
        token_ids = torch.tensor([[vocabulary.bos_id, *list(spread)[:_PROBED]]])
        log_probs = self._log_probs(self._features(token_ids)[0])
        if not bool(torch.isfinite(log_probs).all()):
            raise ModelFormatError(
                self._folder, "the network gives probabilities that are no numbers"
            )
        deviation = float((log_probs.double().exp().sum(-1) - 1).abs().max())
        if deviation > _TOLERANCE:
            problem = f"the probabilities of the network add up to 1 ± {deviation:.2g}"
            raise ModelFormatError(self._folder, problem)
        best = log_probs[0].exp().topk(min(_LIKELIEST, size))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Probe(deviation, [(vocabulary.token(i), p) for i, p in pairs])

    @torch.inference_mode()
    def fit(self, sample: Path) -> SampleFit:
        """How well the network predicts the first lines of a file; raises CorpusError."""
        vocabulary = self._checkpoint.tokenizer.vocabulary
        events = unknown = 0
        log_prob = 0.0
        waiting: list[_Events] = []
        for ids, oov in self._lines(sample):
            line = [vocabulary.bos_id, *ids, vocabulary.eos_id]
            waiting.append(self._events(line, torch.tensor([*oov, False])))
            events += len(ids) + 1
            unknown += sum(oov)
            if sum(len(part.token_ids) for part in waiting) >= _AT_ONCE:
                log_prob += self._log_prob(waiting)
                waiting = []
            if events >= _SAMPLE_TOKENS:
                break
        if not events:
            raise CorpusError(sample, "has no text")
        log_prob += self._log_prob(waiting)
        perplexity = math.exp(min(-log_prob / (events - unknown), _LARGEST_EXPONENT))
        return SampleFit(events, unknown, perplexity, float(len(vocabulary)))

    def _lines(self, sample: Path) -> Iterator[tuple[list[int], list[bool]]]:
        """Ids of each line's tokens, and which of them are unknown."""
        tokenizer = self._checkpoint.tokenizer
        for block in read_blocks(sample):
            for line in block.segmented(None).decode().split("\n"):
                if words := line.strip("\r "):
                    found = tokenizer.encode(Texts.from_strings([words]))
                    # An id must be read even where a vocabulary has none for unknown words.
                    ids = [0 if i == NO_ID else i for i in found.token_ids.tolist()]
                    yield ids, found.oov.tolist()

    def _events(self, line: list[int], oov: Tensor) -> _Events:
        """The known events of a line."""
        token_ids = torch.tensor([line])
        known = ~oov
        features = self._features(token_ids[:, :-1])[0]
        return _Events(features[known], token_ids[0, 1:][known])

    def _log_prob(self, parts: list[_Events]) -> float:
        """The sum over events."""
        if not parts:
            return 0.0
        features = torch.split(torch.cat([part.features for part in parts]), _AT_ONCE)
        token_ids = torch.split(torch.cat([part.token_ids for part in parts]), _AT_ONCE)
        return sum(
            float(self._log_probs(rows).gather(1, ids[:, None]).double().sum())
            for rows, ids in zip(features, token_ids, strict=True)
        )

    def _features(self, token_ids: Tensor) -> Tensor:
        """What the output layer reads after each token: (1, time, feature_size)."""
        with warnings.catch_warnings():  # of what only makes some networks slower
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            return self._module.features(token_ids, self._module.initial_state(1))[0]

    def _log_probs(self, features: Tensor) -> Tensor:
        logits: Tensor = self._module.output(features)
        return logits.log_softmax(-1)  # (events, vocabulary)


class _Events(NamedTuple):
    features: Tensor  # (events, feature_size)
    token_ids: Tensor  # (events,)


def _module(checkpoint: Checkpoint) -> NetworkModule:
    tensors = checkpoint.tensors
    widest = max((tensor.dtype for tensor in tensors.values()), key=lambda dtype: dtype.itemsize)
    dtype = widest if widest.itemsize > 4 else torch.float32
    with torch.device("meta"):
        module = NetworkModule(checkpoint.config)
    module.load_state_dict({k: tensor.to(dtype) for k, tensor in tensors.items()}, assign=True)
    return module.eval()
