"""A network as a LanguageModel: states are tuples of tensors, batches are scored as tries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmscore.models.errors import CapabilityError
from lmscore.models.language_model import (
    BatchScores,
    LanguageModel,
    ModelDescription,
    NetworkDescription,
    ScoreBatch,
    Texts,
    TokenizedTexts,
    TokenSequences,
)
from lmscore.models.network.backend import Backend
from lmscore.models.network.checkpoint import Checkpoint
from lmscore.models.network.cpu import CpuBackend
from lmscore.models.network.device import DeviceBackend
from lmscore.models.network.module import State
from lmscore.models.network.placement import Placement
from lmscore.models.network.scoring import TrieScorer, batch_scores, events_of, paths_of
from lmscore.models.network.trie import Paths
from lmscore.models.network.workers import Workers
from lmscore.models.text_decoder import TextDecoder
from lmscore.models.tokenization.tokenizer import Tokenizer, TokenVocabulary

UNKNOWN_LOG_PROB = -100 * math.log(10)
"""What an event has that is not in a vocabulary without a token for the unknown, in nats."""

_CPU_DTYPES = {torch.float32, torch.bfloat16}


class NetworkModel(LanguageModel[State]):
    """A network that is ready to score; one piece of work at a time, on all of its threads.

    In float32, a text's score differs by no more than 1e-4 nats with what else is in its batch.
    """

    exclusive = True

    def __init__(self, checkpoint: Checkpoint, placement: Placement) -> None:
        """Place a network; raises CapabilityError if the machine lacks what was asked for."""
        device = placement.torch_device()
        self._dtype = placement.torch_dtype(device)
        self._config = checkpoint.config
        self._tokenizer = checkpoint.tokenizer
        self._workers = Workers(placement.threads)
        self._backend: Backend
        if device.type == "cpu" and self._dtype in _CPU_DTYPES:
            self._backend = CpuBackend(
                checkpoint.config, checkpoint.tensors, self._dtype, self._workers
            )
        else:
            self._backend = DeviceBackend(
                checkpoint.config, checkpoint.tensors, self._dtype, device
            )
        self._scorer = TrieScorer(self._backend, placement.max_batch_tokens)
        self._parameters = sum(tensor.numel() for tensor in checkpoint.tensors.values())
        self._unknown_log_prob = self._first_log_prob(self.vocabulary.unk_id)

    @property
    def vocabulary(self) -> TokenVocabulary:
        """The tokens, by id."""
        return self._tokenizer.vocabulary

    @property
    def tokenizer(self) -> Tokenizer:
        """What splits and joins texts."""
        return self._tokenizer

    @property
    def description(self) -> ModelDescription:
        """What the network is made of, and where it computes."""
        config = self._config
        return ModelDescription(
            kind=config.kind,
            tokenizer=self._tokenizer.kind,
            vocabulary_size=len(self.vocabulary),
            parameter_count=self._parameters,
            memory_bytes=self._parameters * self._dtype.itemsize,
            has_unknown=self.vocabulary.unk_id >= 0,
            unknown_log_prob=self._unknown_log_prob,
            structure=NetworkDescription(
                embedding_size=config.embedding_size,
                hidden_sizes=config.hidden_sizes,
                projection_size=config.projection_size,
                tied=config.tied,
                context_size=config.context_size,
                device=str(self._backend.device),
                dtype=str(self._dtype).removeprefix("torch."),
            ),
        )

    def _first_log_prob(self, token_id: int) -> float:
        if token_id < 0:
            return UNKNOWN_LOG_PROB
        return float(self.next_log_probs(self.initial_state(1))[0, token_id])

    def initial_state(self, n: int, *, bos: bool = True) -> State:
        """N states before any token: after the token for it if bos, else without any context."""
        states = self._workers.lead(self._backend.initial_state, n)
        if not bos:
            return states
        return self.advance(states, np.full(n, self.vocabulary.bos_id))

    def gather(self, states: State, indices: NDArray[np.int64]) -> State:
        """The states at some indices, which may repeat: (indices,)."""
        rows = self._backend.indices(indices)
        return tuple(part.index_select(0, rows) for part in states)

    def concatenate(self, parts: Sequence[State]) -> State:
        """The states of several batches as one."""
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def read(self, texts: Texts, *, bos: bool = True) -> State:
        """The states after texts, equal ones computed once: (texts,)."""
        read = self._read_tokens(texts)
        nothing = TokenSequences(np.empty(0, np.int64), np.zeros(len(texts) + 1, np.int64))
        paths = paths_of(read, nothing, self.vocabulary.bos_id if bos else None)
        return self._workers.lead(self._scorer.read, paths)

    def advance(self, states: State, token_ids: NDArray[np.int64]) -> State:
        """The states after one more token each; token_ids: (n,)."""
        return self.read_tokens(states, TokenSequences(token_ids, np.arange(len(token_ids) + 1)))

    def read_tokens(self, states: State, tokens: TokenSequences) -> State:
        """The states after one more sequence of tokens each."""
        ids = tokens.ids.astype(np.int64)
        if len(ids) and not -1 <= ids.min() <= ids.max() < len(self.vocabulary):
            raise ValueError("a token id that is not of this vocabulary")
        paths = Paths(ids, tokens.offsets, np.diff(tokens.offsets), np.arange(len(tokens)))
        return self._workers.lead(self._scorer.read, paths, states)

    def next_log_probs(self, states: State) -> NDArray[np.floating[Any]]:
        """Log-probability of every token after each state, in nats: (n, vocabulary).

        The softmax is over all that the network gives, special tokens included.
        """
        return self._workers.lead(self._backend.next_log_probs, self._backend.top(states))

    def tokenize(self, texts: Texts) -> TokenizedTexts:
        """Split texts into tokens."""
        return self._tokenizer.encode(texts)

    def text_decoder(self, prompt: bytes) -> TextDecoder:
        """Turns tokens that continue a prompt into text."""
        return self._tokenizer.text_decoder(prompt)

    def score(self, batch: ScoreBatch) -> BatchScores:
        """Score a batch as a trie, every distinct prefix once.

        Raises TokenIdError for an id that is not an event of the vocabulary.
        """
        events = events_of(batch, self._tokenizer)
        paths, start = self._ways_to(batch, TokenSequences(events.ids, events.offsets))
        log_probs, shared = self._workers.lead(self._scorer.score, paths, start)
        log_probs = np.where(events.ids < 0, UNKNOWN_LOG_PROB, log_probs)
        if np.isnan(log_probs).any():
            dtype = str(self._dtype).removeprefix("torch.")
            raise CapabilityError(f"the network's numbers overflow in {dtype}: no probability")
        return batch_scores(events, log_probs, per_token=batch.per_token, shared_tokens=shared)

    def _ways_to(self, batch: ScoreBatch, items: TokenSequences) -> tuple[Paths, State | None]:
        """The paths of a batch's items, and the state that all begin in if not the empty one."""
        contexts = batch.contexts
        if contexts is not None and len(contexts) == 1:  # read once, not as a part of every item
            return paths_of(None, items, None), self.read(contexts, bos=batch.bos)
        read = self._read_tokens(contexts) if contexts is not None else None
        return paths_of(read, items, self.vocabulary.bos_id if batch.bos else None), None

    def _read_tokens(self, texts: Texts) -> TokenSequences:
        tokenized = self.tokenize(texts)
        return TokenSequences(tokenized.token_ids, tokenized.offsets)
