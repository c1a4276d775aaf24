"""Networks built as other programs build theirs, with the tensors under the same names.

Each is a module of plain PyTorch whose forward gives logits as the original does; run as a script,
it writes one checkpoint of each to a folder, with a vocabulary beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY_SIZE = 23


class WordLanguageModel(nn.Module):
    """PyTorch's example, which Kaldi, colorlessgreenRNNs and ESPnet2 took over."""

    def __init__(
        self, kind: str, embedding: int, hidden: int, layers: int, *, tied: bool = False,
        recurrent_projection: int = 0, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY_SIZE, embedding)
        options: dict[str, Any] = {"bias": bias}
        if kind.startswith("RNN_"):
            kind, options["nonlinearity"] = "RNN", kind.removeprefix("RNN_").lower()
        if recurrent_projection:
            options["proj_size"] = recurrent_projection
        self.rnn = getattr(nn, kind)(embedding, hidden, layers, **options)
        self.decoder = nn.Linear(recurrent_projection or hidden, VOCABULARY_SIZE, bias=bias)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, token_ids: Tensor) -> Tensor:  # (time, batch)
        logits: Tensor = self.decoder(self.rnn(self.encoder(token_ids))[0])
        return logits


class WeightDrop(nn.Module):
    """Keeps the recurrent weights of an LSTM under _raw, from which it takes some while training.

    With is_parameter, what was left of them last is a parameter too, as some versions had it.
    """

    def __init__(self, module: nn.Module, *, is_parameter: bool) -> None:
        super().__init__()
        self.module = module
        weight = module.get_parameter("weight_hh_l0")
        del module.weight_hh_l0
        module.register_parameter("weight_hh_l0_raw", nn.Parameter(weight.data))
        if is_parameter:
            module.register_parameter("weight_hh_l0", nn.Parameter(torch.rand_like(weight)))

    def forward(self, embedded: Tensor) -> Tensor:
        if "weight_hh_l0" in dict(self.module.named_parameters()):
            del self.module.weight_hh_l0
        self.module.weight_hh_l0 = self.module.weight_hh_l0_raw.data
        hidden: Tensor = self.module(embedded)[0]
        return hidden


class AwdLstm(nn.Module):
    """AWD-LSTM, whose last layer is as wide as the embedding."""

    def __init__(
        self, embedding: int, hidden: int, layers: int, *, weight_drop: bool,
        is_parameter: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY_SIZE, embedding)
        widths = [embedding, *[hidden] * (layers - 1), embedding]
        self.rnns = nn.ModuleList(
            nn.LSTM(widths[i], widths[i + 1], 1) for i in range(layers)
        )  # fmt: skip
        self.weight_drop, self.is_parameter = weight_drop, is_parameter
        self.decoder = nn.Linear(embedding, VOCABULARY_SIZE)
        self.decoder.weight = self.encoder.weight

    def finish(self) -> None:
        if self.weight_drop:
            self.rnns = nn.ModuleList(
                WeightDrop(rnn, is_parameter=self.is_parameter) for rnn in self.rnns
            )

    def forward(self, token_ids: Tensor) -> Tensor:  # (time, batch)
        hidden = self.encoder(token_ids)
        for rnn in self.rnns:
            found = rnn(hidden)
            hidden = found if isinstance(found, Tensor) else found[0]
        logits: Tensor = self.decoder(hidden)
        return logits


class Espnet2(nn.Module):
    """ESPnet2 keeps its network under the name lm."""

    def __init__(self, lm: WordLanguageModel) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, token_ids: Tensor) -> Tensor:
        logits: Tensor = self.lm(token_ids)
        return logits


def _through_cells(cells: nn.ModuleList, embedded: Tensor) -> Tensor:
    """What the topmost of a stack of cells gives at each step: (time, batch, hidden)."""
    states: list[Any] = [None] * len(cells)
    outputs = []
    for passed in embedded:
        hidden = passed
        for i, cell in enumerate(cells):
            states[i] = cell(hidden, states[i])
            hidden = states[i][0] if isinstance(states[i], tuple) else states[i]
        outputs.append(hidden)
    return torch.stack(outputs)


class _Predictor(nn.Module):
    def __init__(self, kind: str, units: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY_SIZE, units)
        self.rnn = nn.ModuleList(getattr(nn, f"{kind}Cell")(units, units) for _ in range(layers))
        self.lo = nn.Linear(units, VOCABULARY_SIZE)


class Espnet1(nn.Module):
    """ESPnet1 stacks cells under the name predictor."""

    def __init__(self, kind: str, units: int, layers: int) -> None:
        super().__init__()
        self.predictor = _Predictor(kind, units, layers)

    def forward(self, token_ids: Tensor) -> Tensor:
        predictor = self.predictor
        logits: Tensor = predictor.lo(_through_cells(predictor.rnn, predictor.embed(token_ids)))
        return logits


class _Decoder(nn.Module):
    def __init__(
        self, embedding: int, hidden: int, layers: int, output: int, *, shared: bool
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY_SIZE, embedding)
        self.layers = nn.ModuleList(
            nn.LSTMCell(embedding if i == 0 else hidden, hidden) for i in range(layers)
        )
        if output != hidden:
            self.additional_fc = nn.Linear(hidden, output)
        if not shared:
            self.fc_out = nn.Linear(output, VOCABULARY_SIZE)


class FairseqLstm(nn.Module):
    """The lstm_lm of fairseq."""

    def __init__(
        self, embedding: int, hidden: int, layers: int, output: int, *, shared: bool
    ) -> None:
        super().__init__()
        self.decoder = _Decoder(embedding, hidden, layers, output, shared=shared)

    def forward(self, token_ids: Tensor) -> Tensor:
        decoder = self.decoder
        hidden = _through_cells(decoder.layers, decoder.embed_tokens(token_ids))
        if hasattr(decoder, "additional_fc"):
            hidden = decoder.additional_fc(hidden)
        logits: Tensor = (
            decoder.fc_out(hidden)
            if hasattr(decoder, "fc_out")
            else nn.functional.linear(hidden, decoder.embed_tokens.weight)
        )
        return logits


class RnnLmModel(nn.Module):
    """The network of icefall."""

    def __init__(self, embedding: int, hidden: int, layers: int, *, tied: bool) -> None:
        super().__init__()
        self.input_embedding = nn.Embedding(VOCABULARY_SIZE, embedding)
        self.rnn = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.output_linear = nn.Linear(hidden, VOCABULARY_SIZE)
        if tied:
            self.output_linear.weight = self.input_embedding.weight

    def forward(self, token_ids: Tensor) -> Tensor:
        embedded = self.input_embedding(token_ids.T)
        logits: Tensor = self.output_linear(self.rnn(embedded)[0]).transpose(0, 1)
        return logits


def _as_is(state: dict[str, Tensor]) -> object:
    return state


@dataclass(frozen=True)
class Original:
    """How a network is made, how its program saves it, and what is to be found in it."""

    make: Callable[[], nn.Module]
    source: str  # within the name reported
    network: dict[str, Any]  # as in config.json, without vocabulary_size
    save: Callable[[dict[str, Tensor]], object] = _as_is
    activation: str | None = None

    def module(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The network with random weights, the same each time."""
        torch.manual_seed(7)
        module = self.make().to(dtype)
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.6, 0.6)
        if isinstance(module, AwdLstm):
            module.finish()
        return module.eval()


def _sizes(kind: str, embedding: int, *hidden: int, **others: Any) -> dict[str, Any]:
    return {"kind": kind, "embedding_size": embedding, "hidden_sizes": list(hidden), **others}


WORDS, AWD, ESPNET1, ESPNET2 = "word_language_model", "AWD-LSTM", "ESPnet1", "ESPnet2"

ORIGINALS: dict[str, Original] = {
    "words-lstm": Original(
        lambda: WordLanguageModel("LSTM", 5, 7, 2), WORDS, _sizes("lstm", 5, 7, 7)
    ),
    "words-lstm-tied": Original(
        lambda: WordLanguageModel("LSTM", 6, 6, 1, tied=True), WORDS,
        _sizes("lstm", 6, 6, tied=True),
    ),
    "words-lstm-projected": Original(
        lambda: WordLanguageModel("LSTM", 5, 8, 2, recurrent_projection=3), WORDS,
        _sizes("lstm", 5, 8, 8, recurrent_projection_size=3),
    ),
    "words-lstm-without-bias": Original(
        lambda: WordLanguageModel("LSTM", 5, 7, 2, bias=False), WORDS, _sizes("lstm", 5, 7, 7)
    ),
    "words-gru": Original(
        lambda: WordLanguageModel("GRU", 4, 9, 3), WORDS, _sizes("gru", 4, 9, 9, 9)
    ),
    "words-tanh": Original(
        lambda: WordLanguageModel("RNN_TANH", 5, 6, 2), WORDS, _sizes("rnn", 5, 6, 6)
    ),
    "words-relu": Original(
        lambda: WordLanguageModel("RNN_RELU", 5, 6, 2), WORDS,
        _sizes("rnn", 5, 6, 6, activation="relu"), activation="relu",
    ),
    "words-data-parallel": Original(
        lambda: WordLanguageModel("LSTM", 5, 7, 1), WORDS, _sizes("lstm", 5, 7),
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ),
    "awd": Original(
        lambda: AwdLstm(5, 8, 3, weight_drop=True), AWD, _sizes("lstm", 5, 8, 8, 5, tied=True),
        lambda state: [state, None, None],
    ),
    "awd-parameter": Original(
        lambda: AwdLstm(5, 8, 2, weight_drop=True, is_parameter=True), AWD,
        _sizes("lstm", 5, 8, 5, tied=True),
    ),
    "awd-without-drop": Original(
        lambda: AwdLstm(4, 6, 2, weight_drop=False), AWD, _sizes("lstm", 4, 6, 4, tied=True)
    ),
    "espnet2": Original(
        lambda: Espnet2(WordLanguageModel("LSTM", 6, 6, 2, tied=True)), ESPNET2,
        _sizes("lstm", 6, 6, 6, tied=True),
    ),
    "espnet2-gru": Original(
        lambda: Espnet2(WordLanguageModel("GRU", 5, 7, 1)), ESPNET2, _sizes("gru", 5, 7)
    ),
    "espnet1-lstm": Original(lambda: Espnet1("LSTM", 6, 2), ESPNET1, _sizes("lstm", 6, 6, 6)),
    "espnet1-gru": Original(lambda: Espnet1("GRU", 7, 1), ESPNET1, _sizes("gru", 7, 7)),
    "fairseq": Original(
        lambda: FairseqLstm(5, 7, 2, 7, shared=False), "fairseq", _sizes("lstm", 5, 7, 7),
        lambda state: {"args": None, "model": state, "extra_state": {"epoch": 3}},
    ),
    "fairseq-projected": Original(
        lambda: FairseqLstm(5, 7, 1, 4, shared=False), "fairseq",
        _sizes("lstm", 5, 7, projection_size=4), lambda state: {"model": state},
    ),
    "fairseq-shared": Original(
        lambda: FairseqLstm(5, 7, 2, 5, shared=True), "fairseq",
        _sizes("lstm", 5, 7, 7, projection_size=5, tied=True), lambda state: {"model": state},
    ),
    "icefall": Original(
        lambda: RnnLmModel(5, 8, 3, tied=False), "icefall", _sizes("lstm", 5, 8, 8, 8),
        lambda state: {"model": state, "model_avg": None, "epoch": 1},
    ),
    "icefall-tied": Original(
        lambda: RnnLmModel(6, 6, 2, tied=True), "icefall", _sizes("lstm", 6, 6, 6, tied=True),
        lambda state: {"model_avg": {f"module.{name}": t for name, t in state.items()}},
    ),
}  # fmt: skip


def words() -> list[str]:
    """A vocabulary for these networks."""
    return ["<blank>", "<unk>", *(f"w{i}" for i in range(VOCABULARY_SIZE - 3)), "<eos>"]


def main(folder: Path) -> None:
    """Write a checkpoint of each kind, and a vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words()))
    for name, original in ORIGINALS.items():
        state = original.module(torch.float32).state_dict()
        torch.save(original.save(state), folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
