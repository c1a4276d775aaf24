"""The .ngram file: the same scores, mapped; and whatever is done to it, never a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmscore.models.errors import ModelFormatError, ModelNotFoundError
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.file import MAGIC, open_ngram, save_ngram, verify_ngram
from lmscore.models.ngram.model import NgramModel
from tests.models.backoff import Backoff, random_backoff, random_texts


def saved(backoff: Backoff, folder: Path) -> tuple[NgramModel, Path]:
    model = load_model(backoff.write(folder / "model.arpa"))
    assert isinstance(model, NgramModel)
    save_ngram(model, folder / "model.ngram")
    return model, folder / "model.ngram"


@pytest.mark.parametrize(
    "shape",
    [
        {"order": 1},
        {"order": 2, "with_unknown": False},
        {"order": 5, "words": 3, "density": 0.6},
        {"order": 4, "words": 4, "density": 0.5, "drop_suffixes": 0.5, "drop_prefixes": 0.5},
    ],
)
def test_a_mapped_model_is_the_one_that_was_saved(tmp_path: Path, shape: dict[str, float]) -> None:
    backoff = random_backoff(1, **shape)  # type: ignore[arg-type]
    model, path = saved(backoff, tmp_path)
    mapped = load_model(path)
    assert isinstance(mapped, NgramModel)
    texts = ScoreBatch(Texts.from_strings(random_texts(backoff, 1)))
    assert mapped.score(texts).log_probs.tolist() == model.score(texts).log_probs.tolist()
    states = np.arange(mapped.entries.levels[-1, 0], dtype=np.uint32)
    assert (mapped.next_log_probs(states) == model.next_log_probs(states)).all()
    words = range(len(model.vocabulary))
    assert mapped.vocabulary.tokens(words) == model.vocabulary.tokens(words)
    assert mapped.description == model.description
    verify_ngram(path)


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    _, path = saved(random_backoff(1), tmp_path)
    first = path.read_bytes()
    _, path = saved(random_backoff(1), tmp_path)
    assert path.read_bytes() == first


def test_saving_leaves_a_mapped_file_whole_and_no_other_behind(tmp_path: Path) -> None:
    model, path = saved(random_backoff(1), tmp_path)
    mapped = open_ngram(path)
    saved(random_backoff(2), tmp_path)
    texts = ScoreBatch(Texts.from_strings(["w1 w2 w3"]))
    assert mapped.score(texts).log_probs.tolist() == model.score(texts).log_probs.tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.arpa", "model.ngram"]


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    _, path = saved(random_backoff(1, order=2, words=2), tmp_path)
    whole = path.read_bytes()
    cut = tmp_path / "cut.ngram"
    for size in range(len(MAGIC), len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(ModelFormatError):
            load_model(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(ModelFormatError, match="has grown"):
        load_model(cut)


def test_every_flipped_byte_of_the_header_is_refused(tmp_path: Path) -> None:
    _, path = saved(random_backoff(1, order=2, words=2), tmp_path)
    whole = bytearray(path.read_bytes())
    header_bytes = int.from_bytes(whole[24:32], "little")
    for place in range(header_bytes):
        whole[place] ^= 0x41
        path.write_bytes(whole)
        with pytest.raises(ModelFormatError):
            open_ngram(path)
        whole[place] ^= 0x41


def test_a_flipped_byte_of_the_data_is_found_by_verifying(tmp_path: Path) -> None:
    _, path = saved(random_backoff(1), tmp_path)
    whole = bytearray(path.read_bytes())
    whole[-100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ModelFormatError, match="damaged"):
        verify_ngram(path)


def test_other_versions_are_refused_by_number(tmp_path: Path) -> None:
    _, path = saved(random_backoff(1), tmp_path)
    whole = bytearray(path.read_bytes())
    whole[16] = 2
    path.write_bytes(whole)
    with pytest.raises(ModelFormatError, match=r"version 2 of the \.ngram format"):
        load_model(path)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        open_ngram(tmp_path / "none.ngram")


FUZZ = """
import random, sys, warnings, zlib
from pathlib import Path
import numpy as np
from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.ngram.file import open_ngram

path, target = Path(sys.argv[1]), Path(sys.argv[2])
whole = path.read_bytes()
header_bytes = int.from_bytes(whole[24:32], "little")
texts = Texts.from_strings(["w0 w1 w2 w0 w3 w1", "x w2 w2 w1", "", "w3 w3 w3 w3 w3"] * 9)
rng, numbers = random.Random(1), np.random.default_rng(1)
opened = 0
for turn in range(int(sys.argv[3])):
    data = bytearray(whole)
    in_header = turn % 3 == 0
    first, end = (16, header_bytes - 8) if in_header else (header_bytes, len(data))
    count = rng.choice([1, 1, 4, 50, 1000])
    # Five of six values are likely to mean something, the sixth is any byte.
    values = numbers.choice([0, 1, 127, 128, 255, -1], count)
    values = np.where(values < 0, numbers.integers(256, size=count), values)
    np.frombuffer(data, np.uint8)[numbers.integers(first, end, count)] = values
    if in_header:  # as if made on purpose
        data[header_bytes - 8:header_bytes] = zlib.crc32(data[:header_bytes - 8]).to_bytes(
            8, "little")
    target.unlink(missing_ok=True)  # what was there before may still be mapped
    target.write_bytes(data)
    try:
        model = open_ngram(target)
    except ModelFormatError:
        continue
    opened += 1
    with np.errstate(all="ignore"):
        for per_token in (False, True):
            model.score(ScoreBatch(texts, per_token=per_token))
        end = int(model.entries.levels[-1, 0])
        model.next_log_probs(np.array([rng.randrange(end) for _ in range(20)], np.uint32))
        model.vocabulary.tokens(range(len(model.vocabulary)))
        model.description
print(opened)
"""


@pytest.mark.timeout(600)  # it compiles everything anew
def test_thousands_of_damaged_files_are_never_read_outside(tmp_path: Path) -> None:
    _, path = saved(random_backoff(1, order=4, words=4, density=0.5), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(path), str(tmp_path / "fuzz.ngram"), "3000"],
        capture_output=True,
        text=True,
        check=False,
        # Kernels that check every index, kept apart from those that everyone else uses.
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "checked")},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1500
