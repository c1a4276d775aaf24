"""Model files mapped, or copied into memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.file import save_ngram
from lmscore.models.ngram.model import NgramModel

KENLM = Path(__file__).parent / "kenlm" / "fixtures"
BATCH = ScoreBatch(Texts.from_strings(["a b", "b a a", ""]), per_token=True)


@pytest.fixture(params=["ngram", "probing", "trie"])
def binary(request: pytest.FixtureRequest, tmp_path: Path, tiny_arpa: Path) -> Path:
    path = tmp_path / "model"
    if request.param == "ngram":
        model = load_model(tiny_arpa)
        assert isinstance(model, NgramModel)
        save_ngram(model, path)
    else:
        path.write_bytes((KENLM / f"plain.{request.param}.bin").read_bytes())
    return path


def test_a_copied_model_scores_as_a_mapped_one(binary: Path) -> None:
    mapped, copied = load_model(binary), load_model(binary, copy=True)

    assert copied.score(BATCH).log_probs.tolist() == mapped.score(BATCH).log_probs.tolist()
    assert copied.description == mapped.description


def test_truncating_its_file_does_not_hurt_a_copied_model(binary: Path) -> None:
    copied = load_model(binary, copy=True)
    before = copied.score(BATCH).log_probs.tolist()

    with binary.open("r+b") as file:
        file.truncate(0)

    assert copied.score(BATCH).log_probs.tolist() == before
