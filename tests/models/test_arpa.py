"""Reading ARPA files: both dialects, compressed or not, and everything that can be wrong."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import re
import tempfile
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmscore.models.errors import ModelFormatError, ModelFormatWarning, ModelNotFoundError
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import fingerprint, load_model
from lmscore.models.ngram import line_reader
from lmscore.models.ngram.arpa import read_arpa
from lmscore.models.ngram.arpa_rows import exact_float32
from lmscore.models.ngram.line_reader import LineReader
from tests.conftest import TINY_ARPA
from tests.models.backoff import random_backoff

Compress = Callable[[bytes], bytes]
quick_xz = partial(lzma.compress, preset=0)
UNREADABLE = Path("/proc/self/mem")  # opens, but its first page is not mapped


def log_prob(path: Path, text: str = "a b") -> float:
    return float(load_model(path).score(ScoreBatch(Texts.from_strings([text]))).log_probs[0])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_arpa(content: str | bytes) -> Path:
        path = tmp_path / "model.arpa"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_arpa


Write = Callable[[str | bytes], Path]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compression_is_told_by_the_first_bytes(
    write: Write, tiny_arpa: Path, compress: Compress
) -> None:
    path = write(compress(TINY_ARPA.encode()))
    assert log_prob(path) == log_prob(tiny_arpa)


LENIENT = {
    "CRLF": TINY_ARPA.replace("\n", "\r\n"),
    "comments and blank lines first": "\n# made by hand\n\n" + TINY_ARPA,
    "spaces for tabs": TINY_ARPA.replace("\t", " "),
    "tabs for spaces": TINY_ARPA.replace(" ", "\t").replace("ngram\t", "ngram "),
    "blanks at the ends of rows": re.sub(r"(?m)^(-.*)$", r"  \1 \t ", TINY_ARPA),
    "blank lines between rows": re.sub(r"(?m)^(-.*)$", "\\1\n", TINY_ARPA),
    "no line feed at the end": TINY_ARPA.rstrip("\n"),
    "blanks in counts": TINY_ARPA.replace("ngram 1=5", "ngram  1 = 5"),
    "zero back-offs at the top": re.sub(r"(?m)^(.* [ab/<>s]+)$", "\\1\t0", TINY_ARPA),
    "capital unknown": TINY_ARPA.replace("<unk>", "<UNK>"),
    "an order without n-grams": TINY_ARPA.replace("ngram 2=3", "ngram 2=3\nngram 3=0").replace(
        "\n\\end", "\n\\3-grams:\n\n\\end"
    ),
    "exponents and plus signs": TINY_ARPA.replace("-1.0", "-1e0").replace("-99", "-.99E+02"),
}


@pytest.mark.parametrize("variant", LENIENT)
def test_what_both_dialects_allow_reads_without_a_word(
    write: Write, tiny_arpa: Path, variant: str
) -> None:
    assert log_prob(write(LENIENT[variant])) == log_prob(tiny_arpa)
    assert log_prob(write(LENIENT[variant]), "x") == log_prob(tiny_arpa, "x")


WARNED = {
    "a byte order mark": ("\ufeff" + TINY_ARPA, ":1: ignored a byte order mark"),
    "a byte order mark alone": ("\ufeff\n" + TINY_ARPA, ":1: ignored a byte order mark"),
    "headers of HTTP": ("HTTP/1.1 200 OK\r\n\r\n" + TINY_ARPA, ":1: ignored 'HTTP/1.1 200 OK'"),
    "text before the data": ("made by me\n" + TINY_ARPA, ":1: ignored 'made by me' before"),
    "text after the end": (TINY_ARPA + "bye\n", ":18: ignored 'bye' and what follows"),
    "too high a count": (TINY_ARPA.replace("2=3", "2=4"), ":17: .*4 2-grams, the file has 3"),
    "too low a count": (TINY_ARPA.replace("2=3", "2=2"), ":17: .*2 2-grams, the file has 3"),
    "back-offs at the top": (TINY_ARPA.replace("a b\n", "a b\t-1\n"), "back-offs of 1 2-grams"),
}


@pytest.mark.parametrize("variant", WARNED)
def test_what_only_one_dialect_allows_is_warned_of(
    write: Write, tiny_arpa: Path, variant: str
) -> None:
    content, message = WARNED[variant]
    path = write(content)
    with pytest.warns(ModelFormatWarning, match=message):
        repaired = log_prob(path)
    assert repaired == log_prob(tiny_arpa)


def test_back_offs_at_the_top_are_not_kept(write: Write) -> None:
    path = write(TINY_ARPA.replace("a b\n", "a b\t-1\n").replace("b </s>\n", "b </s>\t-1.5e-9\n"))
    with pytest.warns(ModelFormatWarning, match="back-offs of 2 2-grams"):
        table = read_arpa(path)
    assert table.orders[1].log10_backoffs.tolist() == [0, 0, 0]


REPEATED = {
    "a word": ("1-grams:\n", "-0.1\ta\t-0.9\n", 12, "'a', .*: the first one counts$"),
    "the start": ("1-grams:\n", "-0.1\t<s>\t-0.9\n", 12, "'<s>', .*: the first one counts$"),
    "the unknown": ("1-grams:\n", "-0.1\t<UNK>\n", 7, "'<unk>', .*: the last one counts$"),
    "a middle n-gram": ("2-grams:\n", "-0.1\ta b\t-0.9\n", 18, "'a b', .*: the first one counts$"),
    "a top n-gram": ("3-grams:\n", "-0.1\ta b a\n", 22, "'a b a', .*: the first one counts$"),
    "a word twice": ("1-grams:\n", "-0.1\ta\n-.2\ta\n", 12, "the first one counts, and 1 more$"),
}
TRIGRAMS = TINY_ARPA.replace("ngram 2=3", "ngram 2=4\nngram 3=2").replace(
    "\n\\end", "-0.6\tb a\t-0.1\n\n\\3-grams:\n-0.4\ta b a\n-0.7\t<s> a b\n\n\\end"
)


@pytest.mark.parametrize("case", REPEATED)
def test_of_repeated_ngrams_the_one_counts_that_kenlm_finds(write: Write, case: str) -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is compiled from source")
    section, rows, line, message = REPEATED[case]
    order = int(section[0])
    before, after = TRIGRAMS.split(section)
    own, rest = after.split("\n\n", 1)
    count = int(re.findall(rf"ngram {order}=(\d)", before)[0])
    before = before.replace(
        f"ngram {order}={count}", f"ngram {order}={count + rows.count(chr(10))}"
    )
    path = write(f"{before}{section}{own}\n{rows}\n{rest}")
    with pytest.warns(ModelFormatWarning, match=message) as caught:
        model = load_model(path)
    assert [str(warning.message).split(": ")[0] for warning in caught] == [f"{path}:{line}"]
    peer = kenlm.Model(str(path))
    for text in ("a b a b x", "b b a", "x a b a", ""):
        scores = model.score(ScoreBatch(Texts.from_strings([text]), per_token=True)).tokens
        assert scores is not None
        expected = [prob * math.log(10) for prob, _, _ in peer.full_scores(text)]
        assert scores.log_probs.tolist() == pytest.approx(expected, rel=1e-6)


REFUSED: dict[str, tuple[str | bytes, int | None, str]] = {
    "empty": ("", None, "an empty file"),
    "blank": ("\n \n", None, "an empty file"),
    "a page of the web": ("<!DOCTYPE html>\n<html>", 1, "HTML"),
    "a page behind a byte order mark": ("\ufeff<!DOCTYPE html>\n", 1, "HTML"),
    "a page behind its headers": ("HTTP/1.1 404 No\r\nA: b\r\n\r\n<HTML>\n", 4, "HTML"),
    "an answer of a web server": ("HTTP/1.1 200 OK\r\n\r\n{}\n", None, "a web server answered"),
    "zip": (b"PK\3\4\24\0\0\0", 1, "a zip archive"),
    "UTF-16": (TINY_ARPA.encode("utf-16"), 1, "UTF-16"),
    "compressed KenLM binary": (
        gzip.compress(b"mmap lm http://kheafield.com/code format version 5\n\0"),
        1,
        "a compressed KenLM binary",
    ),
    "compressed .ngram": (gzip.compress(b"\x89lmscore.ngram\r\n\0"), 1, "a compressed .ngram"),
    "IRSTLM text": ("iARPA\n" + TINY_ARPA, 1, "iARPA"),
    "IRSTLM binary": (b"blmt 3 1 2 3\n\0\1", 1, "IRSTLM binary"),
    "KenLM binary": (b"mmap lm http://kheafield.com/code format version 5\n\0", None, "KenLM"),
    "prose": ("once upon a time\n" * 9, None, r"no line says \\data\\"),
    "compressed prose": (gzip.compress(b"once upon a time\n"), None, r"no line says \\data\\"),
    "truncated gzip": (gzip.compress(TINY_ARPA.encode())[:-20], 14, "too early"),
    "damaged gzip": (b"\x1f\x8b" + b"damaged" * 20, 1, "compressed data are damaged"),
    "damaged bzip2": (b"BZh9" + b"damaged" * 20, 1, "compressed data are damaged"),
    "damaged xz": (b"\xfd7zXZ\0" + b"damaged" * 20, 1, "compressed data are damaged"),
    "no counts": (TINY_ARPA.replace("ngram", "gram"), 2, "expected ngram N=COUNT"),
    "a count without number": (TINY_ARPA.replace("2=3", "2=x"), 3, "expected ngram N=COUNT"),
    "counts out of order": (TINY_ARPA.replace("ngram 2", "ngram 3"), 3, "count of 2-grams"),
    "no sections": (TINY_ARPA[: TINY_ARPA.index("\\1-")], 4, "expected .1-grams:"),
    "a missing section": (TINY_ARPA.replace("\\2-grams:", "\\end\\"), 12, "expected .2-grams:"),
    "an unannounced section": (TINY_ARPA.replace("ngram 2=3\n", ""), 11, "expected .end"),
    "the end of the file in a section": (TINY_ARPA[: TINY_ARPA.index("-0.30103\tb")], 14, "trunc"),
    "the end of the file in a row": (
        TINY_ARPA[: TINY_ARPA.index("b </s>") + 1],
        15,
        "fewer than 2",
    ),
    "no end": (TINY_ARPA[: TINY_ARPA.index("\\end")], 16, "truncated"),
    "a word for a number": (TINY_ARPA.replace("-0.69897", "minus"), 8, "'minus' is not a number"),
    "NaN": (TINY_ARPA.replace("-0.69897", "nan"), 8, "'nan' is not a number"),
    "a NaN back-off": (TINY_ARPA.replace("-0.146", "nan0.146"), 9, "is not a number"),
    "an infinite back-off": (TINY_ARPA.replace("-0.14612804", "inf"), 9, "'inf' is not a number"),
    "half a number": (TINY_ARPA.replace("-0.69897", "-0.69897e"), 8, "is not a number"),
    "a back-off beyond all numbers": (TINY_ARPA.replace("-0.146", "1e99"), 9, "not a number"),
    "a probability beyond all": (TINY_ARPA.replace("-0.69897", "1e99"), 8, "'1e99' is positive"),
    "a digit before infinity": (TINY_ARPA.replace("-0.69897", "-1.inf"), 8, "'-1.inf' is not a nu"),
    "a letter after infinity": (TINY_ARPA.replace("-0.69897", "  -infx"), 8, "'-infx' is not a n"),
    "a number of a thousand digits": (TINY_ARPA.replace("0.69897", "1" * 1000), 8, "not a number"),
    "a positive probability": (TINY_ARPA.replace("-0.30103\ta", "0.3\ta"), 14, "'0.3' is positive"),
    "infinite probability": (TINY_ARPA.replace("-0.30103\ta", "inf\ta"), 14, "'inf' is positive"),
    "too few words": (TINY_ARPA.replace("a b\n", "a\n"), 14, "fewer than 2 words"),
    "too many words": (TINY_ARPA.replace("a b\n", "a b -1 a\n"), 14, "more than 2 words and"),
    "a word instead of a back-off": (TINY_ARPA.replace("a b\n", "a b a\n"), 14, "'a' is not a num"),
    "a word without unigram": (TINY_ARPA.replace("a b\n", "a c\n"), 14, "'c' is not among"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_dialect_allows_is_an_error_with_its_line(write: Write, case: str) -> None:
    content, line, message = REFUSED[case]
    path = write(content)
    with (
        warnings.catch_warnings(action="ignore", category=ModelFormatWarning),
        pytest.raises(ModelFormatError, match=message) as raised,
    ):
        load_model(path)
    assert raised.value.line == line
    assert str(raised.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, quick_xz])
def test_damage_to_compressed_data_names_the_line_reached(write: Write, compress: Compress) -> None:
    rows = "".join(f"-1.{i * i}\tw{i * 7919}\n" for i in range(200_000))
    content = f"\\data\\\nngram 1=200000\n\\1-grams:\n{rows}\\end\\\n".encode()
    packed = compress(content)
    for cut in (0.5, 0.9):
        with pytest.raises(ModelFormatError, match="the compressed data end too early") as raised:
            load_model(write(packed[: int(len(packed) * cut)]))
        assert raised.value.line is not None
        reached = len(b"\n".join(content.split(b"\n")[: raised.value.line])) / len(content)
        # bzip2 unpacks blocks of 900 kB, all or nothing.
        assert cut - 0.3 < reached < cut + 0.05


def test_a_truncated_file_is_refused_wherever_it_ends(write: Write) -> None:
    whole = TINY_ARPA.rstrip("\n").encode()
    for size in range(len(whole)):
        with pytest.raises(ModelFormatError):
            load_model(write(whole[:size]))


def test_a_path_without_a_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        load_model(tmp_path / "none.arpa")
    with pytest.raises(ModelNotFoundError, match="a folder"):
        load_model(tmp_path)
    with pytest.raises(ModelNotFoundError, match="no such file"):
        fingerprint(tmp_path / "none.arpa")


@pytest.mark.skipif(not UNREADABLE.exists(), reason="needs a file that opens but cannot be read")
@pytest.mark.parametrize("read", [load_model, fingerprint, read_arpa])
def test_a_file_that_cannot_be_read_says_so_in_a_line(read: Callable[[Path], object]) -> None:
    with pytest.raises(ModelFormatError, match=f"^{UNREADABLE}: cannot be read: [^\n]+$"):
        read(UNREADABLE)


def test_the_fingerprint_is_the_sha256_of_the_file(tiny_arpa: Path) -> None:
    assert fingerprint(tiny_arpa) == sha256(tiny_arpa.read_bytes()).hexdigest()


def test_words_that_a_model_lacks_are_added(write: Write) -> None:
    path = write("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\ta\n-2\tb\n\\end\\\n")
    with pytest.warns(ModelFormatWarning) as caught:
        model = load_model(path)
    assert [re.search(r"no (\S+) among", str(warning.message))[1] for warning in caught] == [  # type: ignore[index]
        "</s>",
        "<s>",
    ]
    assert not model.description.has_unknown
    assert model.description.unknown_log_prob == pytest.approx(-100 * math.log(10))
    scores = model.score(ScoreBatch(Texts.from_strings(["a b", "x"]), per_token=True))
    assert scores.tokens is not None
    assert (scores.tokens.log_probs / math.log(10)).tolist() == pytest.approx(
        [-1, -2, -100, -100, -100]
    )
    with pytest.warns(ModelFormatWarning):
        table = read_arpa(path)
    assert table.words == [b"a", b"b", b"<unk>", b"</s>", b"<s>"]
    assert table.orders[0].log10_probs.tolist() == [-1, -2, -100, -100, -99]


def test_minus_99_is_a_number_like_any_other(write: Write) -> None:
    path = write(TINY_ARPA.replace("-1.0\t<unk>", "-99\t<unk>"))
    assert load_model(path).description.unknown_log_prob == pytest.approx(-99 * math.log(10))


def test_minus_infinity_is_no_probability(write: Write) -> None:
    path = write(TINY_ARPA.replace("-1.0\t<unk>", "-inf\t<unk>"))
    assert log_prob(path, "x") == -math.inf


def test_words_keep_all_bytes_but_separators(tmp_path: Path) -> None:
    backoff = random_backoff(1)
    table = read_arpa(backoff.write(tmp_path / "model.arpa", newline="\r\n"))
    assert [word.decode() for word in table.words] == backoff.words


def test_words_need_not_be_utf8(write: Write) -> None:
    model = load_model(write(TINY_ARPA.encode().replace(b"b", b"\xff\xfe")))
    vocabulary = model.vocabulary
    assert "\ufffd\ufffd" in vocabulary.tokens(range(len(vocabulary)))


def test_small_blocks_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = random_backoff(2, order=4, words=5, density=0.5).write(tmp_path / "model.arpa")
    whole = read_arpa(path)
    for size in (16, 67, 200):
        monkeypatch.setattr(line_reader, "BLOCK_BYTES", size)
        parts = read_arpa(path)
        assert parts.words == whole.words
        for part, level in zip(parts.orders, whole.orders, strict=True):
            assert part.ids.tolist() == level.ids.tolist()
            assert part.log10_probs.tolist() == level.log10_probs.tolist()
            assert part.log10_backoffs.tolist() == level.log10_backoffs.tolist()


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))), st.data())
@example([b"", b"longer than what a block holds", b""], None)
def test_lines_come_out_of_blocks_as_they_are(
    lines: list[bytes], data: st.DataObject | None
) -> None:
    size = data.draw(st.integers(4, 100)) if data else 16
    content = b"".join(line + b"\n" for line in lines)
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.NamedTemporaryFile() as file,
        Path(file.name).open("rb") as raw,
    ):
        Path(file.name).write_bytes(content)
        patch.setattr(line_reader, "BLOCK_BYTES", size)
        reader = LineReader(Path(file.name), raw, None)
        assert [*iter(reader.next_line, None)] == lines


def test_a_row_at_the_start_of_a_block_is_read_as_any_other(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"-1\tw{i}\n" for i in range(9))
    path = write(f"\\data\\\nngram 1=10\n\\1-grams:\n{rows}-1e\tx\n\\end\\\n")
    for size in range(32, 48):  # one of them begins a block with the last row
        monkeypatch.setattr(line_reader, "BLOCK_BYTES", size)
        with pytest.raises(ModelFormatError, match="'-1e' is not a number"):
            read_arpa(path)


def test_a_line_without_end_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_reader, "MAX_LINE_BYTES", line_reader.BLOCK_BYTES)
    with pytest.raises(ModelFormatError, match="a line of more than"):
        load_model(write(b"x" * (line_reader.BLOCK_BYTES + 1)))


def test_counts_beyond_all_bounds_take_no_memory(write: Write) -> None:
    content = TINY_ARPA.replace("2=3", "2=999999999999999999")
    for data in (content.encode(), gzip.compress(content.encode())):
        with pytest.warns(ModelFormatWarning, match="999999999999999999 2-grams"):
            load_model(write(data))


def test_progress_ends_at_the_size_of_the_file(tiny_arpa: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_model(tiny_arpa, lambda done, total: seen.append((done, total)))
    size = tiny_arpa.stat().st_size
    assert seen[-1] == (size, size)


NUMBERS = st.decimals(min_value=-200, max_value=0, allow_nan=False, places=None).map(
    str
) | st.from_regex(r"-[0-9]{1,12}(\.[0-9]{0,25})?([eE][-+]?[0-9]{1,2})?", fullmatch=True)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
@example(["-16777217", "-16777219", "-1.00000017881393432617187499"])  # halfway, and just below
@example(["-1e-45", "-0.7e-45", "-1e-300", "-7.00649232162408535461864791644958e-46"])
@example(["-.25e+1", "-9.999999999999999999", "-99999999999999999999", "-1e99"])
def test_numbers_are_rounded_once(numbers: list[str]) -> None:
    expected = [_nearest_float32(number) for number in numbers]
    assert [float(exact_float32(number.encode())) for number in numbers] == expected
    probs = _read_numbers(numbers)
    assert probs == expected


def _read_numbers(numbers: list[str]) -> list[float]:
    rows = "".join(f"{number}\tw{i}\n" for i, number in enumerate(numbers))
    content = f"\\data\\\nngram 1={len(numbers)}\n\\1-grams:\n{rows}\\end\\\n"
    with (
        tempfile.NamedTemporaryFile() as file,
        warnings.catch_warnings(action="ignore", category=ModelFormatWarning),
    ):
        Path(file.name).write_text(content)
        table = read_arpa(Path(file.name))
    probs: list[float] = table.orders[0].log10_probs[: len(numbers)].tolist()
    return probs


def _nearest_float32(number: str) -> float:
    """By trying the neighbours; a tie goes to the even one."""
    exact = Fraction(number)
    with np.errstate(over="ignore"):
        start = np.float32(float(exact))
        if np.isinf(start):
            return float(start)
        candidates = [
            start,
            np.nextafter(start, np.float32(np.inf)),
            np.nextafter(start, np.float32(-np.inf)),
        ]
    return float(
        min(
            (c for c in candidates if np.isfinite(c)),
            key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1),
        )
    )
