"""ARPA files that give back what was written."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lmscore.models.ngram.arpa import read_arpa
from lmscore.models.ngram.arpa_writer import write_arpa
from lmscore.models.ngram.table import NgramTable, OrderTable

MARKS = [b"<unk>", b"<s>", b"</s>"]


def unigrams(log10_probs: NDArray[np.float32]) -> NgramTable:
    """A model of words w3, w4, … and one bigram, since no reader needs a model without."""
    count = len(log10_probs)
    words = [*MARKS, *(b"w%d" % i for i in range(3, count))]
    first = OrderTable(
        np.arange(count, dtype=np.uint32)[:, None],
        log10_probs,
        np.roll(log10_probs, 1),
    )
    second = OrderTable(
        np.array([[1, 2]], np.uint32), np.array([-0.5], np.float32), np.zeros(1, np.float32)
    )
    return NgramTable(words, [first, second])


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_every_float32_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(5)
    values = -(10 ** rng.uniform(-12, 2, 200_000)).astype(np.float32)
    values[3:9] = -np.array([0, 1, 10, 99, 0.1, 9.9999999], np.float32)
    table = unigrams(values)

    write_arpa(table, tmp_path / name)

    found = read_arpa(tmp_path / name)
    assert found.words == table.words
    for ours, theirs in zip(found.orders, table.orders, strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.log10_probs, theirs.log10_probs)
        np.testing.assert_array_equal(ours.log10_backoffs, theirs.log10_backoffs)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_rows_are_spelled_as_lmplz_spells_them(tmp_path: Path) -> None:
    table = unigrams(np.array([-2.5, 0, -0.30103, -np.inf], np.float32))

    write_arpa(table, tmp_path / "model.arpa")

    assert (tmp_path / "model.arpa").read_text() == (
        "\\data\\\nngram 1=4\nngram 2=1\n"
        "\n\\1-grams:\n-2.5\t<unk>\t-99\n0\t<s>\t-2.5\n-0.30103\t</s>\t0\n-99\tw3\t-0.30103\n"
        "\n\\2-grams:\n-0.5\t<s> </s>\n"
        "\n\\end\\\n"
    )


def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    table = unigrams(np.zeros(4, np.float32))
    (tmp_path / "model.arpa").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_arpa(table, tmp_path / "model.arpa")

    assert not list((tmp_path / "model.arpa").iterdir())
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.01, "-0.01"),  # below it as float32: its digits are rounded up to the next power
        (-1e-7, "-1e-7"),
        (-1e-12, "-1e-12"),
        (-0.00001, "-0.00001"),
        (-9.999999, "-9.999999"),
        (-99.5, "-99.5"),
        (-0.3333333, "-0.3333333"),  # eight digits would be other ones
        (-3.333333, "-3.333333"),
        (-33.33333, "-33.33333"),
        (-0.03333333, "-0.03333333"),
        (-1.17549435e-38, "-1.1754944e-38"),
    ],
)
def test_a_number_is_as_short_as_it_can_be(tmp_path: Path, value: float, text: str) -> None:
    write_arpa(unigrams(np.array([0, 0, 0, value], np.float32)), tmp_path / "model.arpa.gz")

    written = gzip.decompress((tmp_path / "model.arpa.gz").read_bytes()).decode()
    assert f"\n{text}\tw3\t" in written
    assert np.float32(text) == np.float32(value)
