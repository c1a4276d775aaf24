"""Models that fail, clocks that jump and disks that are full."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.soak import failing_model, faults
from tests.soak.expected import DEMO_MODELS
from tests.soak.report import Tally


async def test_failures_are_told_to_whom_they_are_about_and_to_nobody_else() -> None:
    tally = Tally("failures")
    with faults.jumping_clock(tally):
        async with failing_model.failing_server(tally) as address:
            await failing_model.run_failures(
                address, tally, tasks=40, seconds=0.3, seed=1, share=0.3
            )

    assert tally.problems == []
    assert tally.codes["INTERNAL"] == tally.faults["handler raised"] > 0
    assert tally.codes["RESOURCE_EXHAUSTED"] > 0
    assert tally.codes["OK"] > 0


def test_a_full_disk_ends_a_conversion_in_words(tmp_path: Path) -> None:
    tally = Tally("conversion")
    target = tmp_path / "model.ngram"
    faults.convert_on_full_disk(DEMO_MODELS["ngram"], target, tally, max_bytes=100_000)

    assert tally.problems == []


def test_a_full_disk_ends_a_conversion_of_a_network_in_words(tmp_path: Path) -> None:
    tensors = {
        "encoder.weight": torch.zeros(20, 8),
        "rnn.weight_ih_l0": torch.zeros(32, 8),
        "rnn.weight_hh_l0": torch.zeros(32, 8),
        "rnn.bias_ih_l0": torch.zeros(32),
        "rnn.bias_hh_l0": torch.zeros(32),
        "decoder.weight": torch.zeros(20, 8),
        "decoder.bias": torch.zeros(20),
    }
    source, words = tmp_path / "model.pt", tmp_path / "vocab.txt"
    torch.save(tensors, source)
    words.write_text("".join(f"{word}\n" for word in ["<eos>", "<unk>", *"abcdefghijklmnopqr"]))
    tally = Tally("conversion")
    faults.convert_on_full_disk(
        source, tmp_path / "network", tally, max_bytes=3000, options=["--vocabulary", str(words)]
    )

    assert tally.problems == []
