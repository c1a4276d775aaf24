"""What was found in an imported network, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscore.models.network.config import NetworkConfig
from lmscore.models.network.importers.checks import Probe, SampleFit
from lmscore.models.tokenization.spec import TokenizerSpec


@dataclass(frozen=True, slots=True)
class ImportReport:
    """A network as it was imported."""

    folder: Path
    source: str
    config: NetworkConfig
    dtype: str
    parameters: int  # numbers in its tensors, those of a tied embedding once
    vocabulary_path: Path
    vocabulary_style: str
    first_tokens: list[str]
    tokenizer: TokenizerSpec
    notes: list[str]
    probe: Probe
    fit: SampleFit | None

    def as_json(self) -> str:
        """One object; sizes and names as in config.json."""
        record: dict[str, Any] = {
            "folder": str(self.folder),
            "source": self.source,
            "network": self.config.to_json(),
            "dtype": self.dtype,
            "parameters": self.parameters,
            "vocabulary": {
                "file": str(self.vocabulary_path),
                "style": self.vocabulary_style,
                "size": self.config.vocabulary_size,
                "first": self.first_tokens,
            },
            "tokenizer": self.tokenizer.to_json(),
            "probability_deviation": self.probe.largest_deviation,
            "likeliest_first": dict(self.probe.likeliest),
            "notes": self.notes,
        }
        if self.fit is not None:
            record["sample"] = {
                "tokens": self.fit.tokens,
                "unknown": self.fit.unknown,
                "perplexity": self.fit.perplexity,
                "uniform_perplexity": self.fit.uniform_perplexity,
            }
        return json.dumps(record, ensure_ascii=False)

    def as_text(self) -> str:
        """A line for each thing found."""
        rows = [
            ("source", self.source),
            ("kind", self._kind()),
            ("layers", self._layers()),
            ("output", self._output()),
            ("parameters", f"{self.parameters:,} of {self.dtype}"),
            ("vocabulary", self._vocabulary()),
            ("first tokens", " ".join(self.first_tokens)),
            ("special tokens", self._special_tokens()),
            ("probabilities", f"add up to 1 within {self.probe.largest_deviation:.1g}"),
            ("likeliest first", self._likeliest()),
        ]
        if self.fit is not None:
            rows.append(("sample", _fit(self.fit)))
        rows += [("note", note) for note in self.notes]
        lines = [f"{name:<16} {value}" for name, value in rows]
        return "\n".join([f"{self.folder}: written, read again and tried", *lines])

    def _kind(self) -> str:
        if self.config.kind == "rnn":
            return f"rnn, {self.config.activation}"
        return self.config.kind

    def _layers(self) -> str:
        sizes = zip(
            self.config.input_sizes, self.config.hidden_sizes, self.config.passed_sizes, strict=True
        )
        layers = [
            f"{inputs} -> {units}" + (f" -> {passed}" if passed != units else "")
            for inputs, units, passed in sizes
        ]
        return f"embedding {self.config.embedding_size}; " + "; ".join(layers)

    def _output(self) -> str:
        weights = "the embedding's weights" if self.config.tied else "weights of its own"
        size = self.config.projection_size
        before = f"a linear layer of {size}, then " if size is not None else ""
        return f"{before}{weights}"

    def _vocabulary(self) -> str:
        size = f"{self.config.vocabulary_size:,}"
        path, style = self.vocabulary_path, self.vocabulary_style
        return f"{size} tokens, as many as the embedding has rows, from {path} ({style})"

    def _special_tokens(self) -> str:
        spec = self.tokenizer
        return f"before a text {spec.bos}, after it {spec.eos}, unknown {spec.unk or 'none'}"

    def _likeliest(self) -> str:
        return ", ".join(f"{token} {p:.3g}" for token, p in self.probe.likeliest)


def _fit(fit: SampleFit) -> str:
    """Perplexities, and what they say of the vocabulary."""
    counts = f"{fit.tokens:,} tokens, {fit.unknown:,} of them unknown"
    figures = (
        f"perplexity {fit.perplexity:.4g}, {fit.uniform_perplexity:,.0f} if all were equally likely"
    )
    if fit.perplexity >= fit.uniform_perplexity:
        return f"{counts}: {figures}: WORSE THAN CHANCE, this is hardly the network's vocabulary"
    return f"{counts}: {figures}"
