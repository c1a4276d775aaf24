"""What costs grow with: batches, n-best lists, vocabularies, orders, concurrent streams.

    python -m benchmarks.growth [--units N] [--tokens N]

Each is a plot with the line that would be ideal: rates that stay as they are where more is asked,
or that grow with what is shared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.corpora import some_lines, synthetic_corpus, train_ngrams
from benchmarks.generation import ENDLESS
from benchmarks.networks import (
    Shape,
    Workload,
    distinct_prefixes,
    made_up_lists,
    padded,
    workload,
    write_network,
)
from benchmarks.result import Plot, Samples, Section, Series
from benchmarks.serving import server
from benchmarks.standalone import run_alone
from benchmarks.streams import over_grpc
from benchmarks.timing import in_turns, rates, times

from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.network.model import NetworkModel
from lmscore.models.network.placement import Placement

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sizes:
    batches: tuple[int, ...] = (1, 4, 16, 64, 256, 512)  # texts of a call
    lists: tuple[int, ...] = (1, 5, 20, 100, 400)  # hypotheses of a list
    vocabularies: tuple[int, ...] = (1_000, 4_000, 16_000, 64_000)
    orders: tuple[int, ...] = (1, 2, 3, 4, 5)
    streams: tuple[int, ...] = (1, 4, 16, 64)
    units: int = 512
    network_texts: int = 512  # at most, of a measurement; as many as the largest batch
    tokens: int = 400_000  # of the text of the n-gram models
    seconds: float = 1.0  # of generating
    rounds: int = 3
    threads: int = 2


QUICK = Sizes(
    batches=(1, 16), lists=(1, 20), vocabularies=(1_000, 4_000), orders=(1, 3), streams=(1, 8),
    units=64, network_texts=40, tokens=20_000, seconds=0.3, rounds=1,
)  # fmt: skip


def measure(sizes: Sizes) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = synthetic_corpus(folder / "corpus.txt", sizes.tokens, 50_000)
        lines = some_lines(corpus, sizes.tokens // 4)
        orders = {n: _trained(corpus, folder, n) for n in sizes.orders}
        plots = (
            batch_plot(load_model(orders[sizes.orders[-1]]), lines, sizes),
            list_plot(sizes),
            vocabulary_plot(sizes),
            order_plot(orders, lines, sizes),
            stream_plot(folder, sizes),
        )
    text = (
        f"LSTMs of 2 x {sizes.units} units, random weights, {sizes.threads} threads; n-grams of "
        "made-up text. Dashed is what would be ideal; a band shows all rounds."
    )
    return Section("Growth", text, plots=plots)


def batch_plot(model: LanguageModel[Any], lines: list[str], sizes: Sizes) -> Plot:
    """A call costs something, whatever it holds; the more texts share it, the better."""
    work = workload(Shape(sizes.units, 2, 10_000), made_up_lists(sizes.network_texts, 1))
    network = NetworkModel(work.checkpoint, Placement("cpu", "float32", sizes.threads))
    ours, grams, pads = [], [], []
    for batch in sizes.batches:
        part = work.of(work.ids[: max(batch, min(64, sizes.network_texts))])
        some = lines[: max(batch, 1_000)]
        found = times(
            sizes.rounds,
            {
                "ours": partial(_score_network, network, part, batch),
                "pads": partial(_score_padded, part, batch, sizes.threads),
                "grams": partial(_score_lines, model, some, batch),
            },
        )
        ours.append(rates(part.events, found["ours"]))
        pads.append(rates(part.events, found["pads"]))
        grams.append(rates(sum(len(line.split()) + 1 for line in some), found["grams"]))
    xs = tuple(map(float, sizes.batches))
    series = (
        Series("n-grams", xs, tuple(grams)),
        Series("LSTM", xs, tuple(ours)),
        Series("nn.LSTM, padded batches", xs, tuple(pads)),
    )
    ideal = _proportional("in proportion (LSTM)", xs, ours[0])
    return Plot("growth-batch", "Texts of a call", "texts", "rate", "tokens/s", series, ideal)


def list_plot(sizes: Sizes) -> Plot:
    """Hypotheses of a list share their beginnings, the more of them the more."""
    ours, shared, pads = [], [], []
    for size in sizes.lists:
        lists = made_up_lists(max(1, sizes.network_texts // size), size)
        work = workload(Shape(sizes.units, 2, 10_000), lists)
        network = NetworkModel(work.checkpoint, Placement("cpu", "float32", sizes.threads))
        some = work.of(work.ids[:64])
        found = times(
            sizes.rounds,
            {
                "ours": partial(network.score, work.batch),
                "pads": partial(_score_padded, some, 64, sizes.threads),
            },
        )
        ours.append(rates(work.events, found["ours"]))
        pads.append(rates(some.events, found["pads"]))
        shared.append(work.events / distinct_prefixes(work))
    xs = tuple(map(float, sizes.lists))
    series = (Series("LSTM", xs, tuple(ours)), Series("nn.LSTM, batches of 64", xs, tuple(pads)))
    first = float(np.median(ours[0])) / shared[0]
    ideal = Series("each distinct prefix once", xs, tuple((first * each,) for each in shared))
    return Plot(
        "growth-list",
        "Hypotheses of an n-best list",
        "hypotheses",
        "rate",
        "tokens/s",
        series,
        ideal,
    )


def vocabulary_plot(sizes: Sizes) -> Plot:
    """The output layer takes a product a word; the layers below it take the same for all."""
    ours, works = [], []
    for words in sizes.vocabularies:
        work = workload(Shape(sizes.units, 2, words), made_up_lists(sizes.network_texts // 2, 1))
        network = NetworkModel(work.checkpoint, Placement("cpu", "float32", sizes.threads))
        found = times(sizes.rounds, {"ours": partial(network.score, work.batch)})
        ours.append(tuple(each / work.events for each in found["ours"]))
        works.append(16 * sizes.units**2 + sizes.units * words)
    xs = tuple(map(float, sizes.vocabularies))
    first = float(np.median(ours[-1])) / works[-1]
    ideal = Series("as the products grow", xs, tuple((first * each,) for each in works))
    series = (Series("LSTM", xs, tuple(ours)),)
    return Plot(
        "growth-vocabulary", "Words of the vocabulary", "words", "time a token", "s", series, ideal
    )


def order_plot(models: Mapping[int, Path], lines: list[str], sizes: Sizes) -> Plot:
    """A word takes a look-up of each order at most."""
    candidates: dict[str, Callable[[], object]] = {
        str(order): partial(_score_lines, load_model(path), lines, len(lines))
        for order, path in models.items()
    }
    tokens = sum(len(line.split()) + 1 for line in lines)
    found = times(sizes.rounds, candidates)
    ys = tuple(tuple(each / tokens for each in found[str(order)]) for order in models)
    xs = tuple(map(float, models))
    ideal = _proportional("in proportion", xs, ys[0])
    series = (Series("n-grams", xs, ys),)
    return Plot(
        "growth-order", "Order of the n-grams", "order", "time a token", "s", series, ideal,
        log_x=False, log_y=False,
    )  # fmt: skip


def stream_plot(folder: Path, sizes: Sizes) -> Plot:
    """A step of many texts reads the weights once."""
    write_network(folder / "lstm", Shape(sizes.units, 2, 10_000))
    options = ("--device", "cpu", "--dtype", "float32", "--threads", str(sizes.threads), *ENDLESS)
    with server(folder / "lstm", *options) as address:
        runs = {n: over_grpc(address, n) for n in sizes.streams}
        found = in_turns(
            sizes.rounds, {str(n): partial(run, sizes.seconds) for n, run in runs.items()}
        )
    ys = tuple(tuple(flow.rate for flow in found[str(n)]) for n in sizes.streams)
    xs = tuple(map(float, sizes.streams))
    ideal = _proportional("in proportion", xs, ys[0])
    series = (Series("LSTM over gRPC", xs, ys),)
    return Plot(
        "growth-streams", "Texts generated at once", "streams", "rate", "tokens/s", series, ideal
    )


def _trained(corpus: Path, folder: Path, order: int) -> Path:
    return train_ngrams(corpus, folder / f"{order}.ngram", order)


def _proportional(name: str, xs: Samples, first: Sequence[float]) -> Series:
    begin = float(np.median(first))
    return Series(name, xs, tuple((begin * x / xs[0],) for x in xs))


def _score_network(model: NetworkModel, work: Workload, batch: int) -> None:
    for part in _parts(work, batch):
        model.score(part.batch)


def _score_padded(work: Workload, batch: int, threads: int) -> None:
    torch.set_num_threads(threads)
    for part in _parts(work, batch):
        padded(part, CPU)


def _score_lines(model: LanguageModel[Any], lines: list[str], batch: int) -> None:
    for i in range(0, len(lines), batch):
        model.score(ScoreBatch(Texts.from_strings(lines[i : i + batch])))


def _parts(work: Workload, batch: int) -> Iterator[Workload]:
    for i in range(0, len(work.ids), batch):
        yield work.of(work.ids[i : i + batch])


if __name__ == "__main__":
    run_alone("growth", measure, Sizes(), QUICK)
