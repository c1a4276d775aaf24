"""The programs whose networks are known, each told by what it calls its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_PARTS = "weight_ih|weight_hh|weight_hr|bias_ih|bias_hh"

Boundary = Literal["either", "eos", "bos"]
"""Which token a program puts between texts: an end and perhaps a beginning, or one for both."""


@dataclass(frozen=True, slots=True)
class Source:
    """A program's names for the tensors of a network.

    Whatever the program, weights that are dropped out while training may be called ..._raw.
    """

    name: str
    embedding: str
    layers: tuple[str, ...]  # templates with {layer} and {part}
    output: str  # what stands before weight and bias
    projection: str | None = None
    may_share_output: bool = False  # the output layer may be left out, which makes it the embedding
    refused: tuple[tuple[str, str], ...] = ()  # pattern of a name, and what such a network is
    boundary: Boundary = "either"

    def names(self, stored: Iterable[str]) -> dict[str, str]:
        """What tensors are called here, and there; others are left out."""
        keys = set(stored)
        found = {here: there for here, there in self._fixed().items() if there in keys}
        for template in self.layers:
            pattern = _pattern(template)
            for key in sorted(keys):  # of both, what ends in _raw comes later and counts
                if match := pattern.fullmatch(key):
                    found[f"layers.{int(match['layer'])}.{match['part']}_l0"] = key
        return found

    def superseded(self, stored: Iterable[str]) -> set[str]:
        """Names of weights of which half was dropped, the whole being there too."""
        keys = set(stored)
        return {key for key in keys if f"{key}_raw" in keys}

    def there(self, here: str) -> str:
        """What a tensor of ours is called there."""
        if here in (fixed := self._fixed()):
            return fixed[here]
        _, layer, part = here.split(".")
        return self.layers[0].format(layer=layer, part=part.removesuffix("_l0"))

    def refusal(self, stored: Iterable[str]) -> str | None:
        """What is in a network of this program that cannot be used here."""
        for pattern, reason in self.refused:
            for key in stored:
                if re.match(pattern, key):
                    return f"{key}: {reason}"
        return None

    def _fixed(self) -> dict[str, str]:
        names = {"embedding.weight": self.embedding}
        for here, there in (("output", self.output), ("projection", self.projection)):
            if there is not None:
                names |= {f"{here}.{part}": f"{there}.{part}" for part in ("weight", "bias")}
        return names


def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r"\{layer\}", r"(?P<layer>\d+)")
    return re.compile(escaped.replace(r"\{part\}", f"(?P<part>{_PARTS})") + "(?:_raw)?")


SOURCES: tuple[Source, ...] = (
    Source(
        "PyTorch's word_language_model, Kaldi's pytorchnn or colorlessgreenRNNs",
        embedding="encoder.weight",
        layers=("rnn.{part}_l{layer}",),
        output="decoder",
    ),
    Source(
        "AWD-LSTM",
        embedding="encoder.weight",
        layers=("rnns.{layer}.module.{part}_l0", "rnns.{layer}.{part}_l0"),
        output="decoder",
        refused=((r"rnns\.\d+\.linear\.", "a QRNN, which is not supported"),),
    ),
    Source(
        "ESPnet2's SequentialRNNLM",
        embedding="lm.encoder.weight",
        layers=("lm.rnn.{part}_l{layer}",),
        output="lm.decoder",
    ),
    Source(
        "ESPnet1's DefaultRNNLM",
        embedding="predictor.embed.weight",
        layers=("predictor.rnn.{layer}.{part}",),
        output="predictor.lo",
    ),
    Source(
        "fairseq's lstm_lm",
        embedding="decoder.embed_tokens.weight",
        layers=("decoder.layers.{layer}.{part}",),
        output="decoder.fc_out",
        projection="decoder.additional_fc",
        may_share_output=True,
        refused=(
            (r"decoder\.adaptive_softmax\.", "an adaptive softmax, which is not supported"),
            (r"encoder\.|decoder\.attention\.", "a translation model, not a language model"),
            (r".*\.self_attn\.", "a transformer, which is not supported"),
        ),
        boundary="eos",
    ),
    Source(
        "icefall's RnnLmModel",
        embedding="input_embedding.weight",
        layers=("rnn.{part}_l{layer}",),
        output="output_linear",
    ),
)


def recognize(stored: Iterable[str]) -> Source | None:
    """The program that calls tensors so."""
    keys = list(stored)
    for source in SOURCES:
        names = source.names(keys)
        has_layers = any(here.startswith("layers.") for here in names)
        if "embedding.weight" in names and (has_layers or source.refusal(keys)):
            return source
    return None
