"""The .ngram file as docs/ngram-format.md has it: read by that page alone, and checked by it."""

from __future__ import annotations

import math
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import ScoreBatch, Texts
from lmscore.models.loading import load_model
from lmscore.models.ngram.file import open_ngram, save_ngram, verify_ngram
from lmscore.models.ngram.model import NgramModel
from tests.models.backoff import Backoff, random_backoff

HEADER_BYTES, FILE_BYTES, DATA_CRC, ORDER, WORD_BITS, KEY_BITS, HAS_UNKNOWN = range(1, 8)
BOS, EOS, UNK, HOMES, ID_MASK, SEED = range(8, 14)
SLOTS, GROUPS, CHILDREN, TABLE, OFFSETS, POOL = range(6)
SHAPES: dict[str, dict[str, Any]] = {
    "words": {"order": 1},
    "bigrams, without an unknown word": {"order": 2, "with_unknown": False},
    "long n-grams": {"order": 4, "words": 9, "density": 0.4},
}


class Page:
    """A file, read as the page says."""

    def __init__(self, data: bytes) -> None:
        assert data[:16] == bytes.fromhex("896c6d73636f72652e6e6772616d0d0a")
        self.data = data
        self.order: int = struct.unpack_from("<Q", data, 16 + 8 * ORDER)[0]
        count = 14 + self.order + 5 * (self.order + 2) + 12
        self.numbers = struct.unpack_from(f"<{count}Q", data, 16)
        self.counts = self.numbers[14 : 14 + self.order]
        rows = self.numbers[14 + self.order : -12]
        self.levels = [rows[i : i + 5] for i in range(0, len(rows), 5)]
        self.places = [self.numbers[-12:][i : i + 2] for i in range(0, 12, 2)]

    def section(self, number: int) -> bytes:
        offset, size = self.places[number]
        return self.data[offset : offset + size]

    def field(self, state: int, field: int, kind: str) -> float:
        """Of a state's slot: 0 check, 1 probability, 2 back-off, 3 link."""
        place = self.places[SLOTS][0] + state // 4 * 64 + 16 * field + 4 * (state % 4)
        return float(struct.unpack_from(f"<{kind}", self.data, place)[0])

    def words(self) -> list[str]:
        """By id."""
        bounds = struct.unpack(f"<{self.counts[0] + 1}q", self.section(OFFSETS))
        pool = self.section(POOL)
        return [pool[a:b].decode() for a, b in pairwise(bounds)]

    def state(self, ids: list[int]) -> int:
        """Of an n-gram; 0 if it is not there."""
        if len(ids) == 1:
            return 1 + ids[0]
        prefix, length = self.state(ids[:-1]), len(ids)
        bits = self.numbers[KEY_BITS]
        x = ((prefix - self.levels[length - 1][0]) << self.numbers[WORD_BITS]) + ids[-1]
        x = x * 0xD6E8FEB86659FD93 % 2**bits
        x ^= x >> bits // 2
        x = x * 0x9E3779B97F4A7C15 % 2**bits
        _, bucket, homes, end, remainder_bits = self.levels[length]
        assert remainder_bits == bits - 32 + (-(-(2**32) // homes) - 1).bit_length()
        bucket += (x >> bits - 32) * homes >> 32
        check = x % 2**remainder_bits + 1
        while bucket < end:
            for state in range(4 * bucket, 4 * bucket + 4):
                if self.field(state, 0, "I") == check:
                    return state
            if self.field(4 * bucket + 3, 0, "I") <= check:
                break
            bucket, check = bucket + 1, check + 2**remainder_bits
        return 0

    def children(self, state: int) -> list[int]:
        """The words that follow a state."""
        (begin,) = struct.unpack_from("<Q", self.section(GROUPS), 8 * (state // 64))
        lists = self.section(CHILDREN)[begin:]
        for _ in range(state % 64):
            size, lists = leb128(lists)
            lists = lists[size:]
        size, lists = leb128(lists)
        words, rest = [0], lists[:size]
        while rest:
            step, rest = leb128(rest)
            words.append(words[-1] + step)
        return words[1:]

    def id_of(self, word: str) -> int | None:
        """By the table of words."""
        table = struct.unpack(f"<{self.places[TABLE][1] // 8}Q", self.section(TABLE))
        mask, value, text = self.numbers[ID_MASK], self.numbers[SEED], word.encode()
        for i in range(0, len(text), 8):
            value ^= int.from_bytes(text[i : i + 8], "little")
            value = value * 0x9FB21C651E98DF25 % 2**64
            value ^= value >> 32
        at = (value >> 32) * self.numbers[HOMES] >> 32
        while table[at]:
            if table[at] | mask == value | mask:
                return int(table[at] & mask) - 1
            at += 1
        return None


def leb128(data: bytes) -> tuple[int, bytes]:
    """The number that data begins with, and what follows it."""
    number = shift = 0
    for place, byte in enumerate(data):
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, data[place + 1 :]
    raise AssertionError("the data end within a number")


def many_words() -> Backoff:
    """So many that lists and the steps within them take several bytes."""
    backoff = random_backoff(4, order=2, words=400, density=0.002)
    words = [word for word in backoff.words if word != "<s>"]
    for word in words[::2]:
        backoff.probs["w0", word] = -1.5
    by_id = sorted(backoff.words, key=lambda word: -backoff.probs[word,])
    for i in (128, 256, 258):
        backoff.probs["w1", by_id[i]] = -0.5
    return backoff


def saved(folder: Path, backoff: Backoff) -> Path:
    model = load_model(backoff.write(folder / "model.arpa"))
    assert isinstance(model, NgramModel)
    save_ngram(model, folder / "model.ngram")
    return folder / "model.ngram"


@pytest.fixture(scope="module", params=[*SHAPES, "many words"])
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Backoff, Page]:
    shape = SHAPES.get(request.param)
    backoff = random_backoff(3, **shape) if shape else many_words()
    path = saved(tmp_path_factory.mktemp("model"), backoff)
    return backoff, Page(path.read_bytes())


def ngrams(backoff: Backoff, page: Page) -> Iterator[tuple[tuple[str, ...], int]]:
    """All that there are, with their states."""
    ids = {word: i for i, word in enumerate(page.words())}
    for ngram in backoff.probs:
        yield ngram, page.state([ids[word] for word in ngram])


def test_the_header_says_where_everything_is(example: tuple[Backoff, Page]) -> None:
    backoff, page = example
    numbers, data = page.numbers, page.data
    header = -(-(16 + 8 * len(numbers) + 8) // 64) * 64

    assert (numbers[0], numbers[HEADER_BYTES], numbers[FILE_BYTES]) == (1, header, len(data))
    assert numbers[DATA_CRC] == zlib.crc32(data[header:])
    assert struct.unpack_from("<Q", data, header - 8)[0] == zlib.crc32(data[: header - 8])
    assert page.order == backoff.order
    assert numbers[HAS_UNKNOWN] == (("<unk>",) in backoff.probs)
    lengths = [len(ngram) for ngram in backoff.probs]
    assert page.counts[1:] == tuple(lengths.count(n) for n in range(2, page.order + 1))
    offsets = [offset for offset, _ in page.places]
    ends = [-(-(offset + size) // 64) * 64 for offset, size in page.places]
    assert offsets == [header, *ends[:-1]]
    assert ends[-1] == len(data)


def test_words_go_by_falling_probability_and_are_found_by_hash(
    example: tuple[Backoff, Page],
) -> None:
    backoff, page = example
    words = page.words()

    assert {*words} == {*backoff.words, "<unk>"}
    probs = [backoff.probs.get((word,), -100.0) for word in words]
    assert probs == sorted(probs, reverse=True)
    assert [words[page.numbers[i]] for i in (BOS, EOS, UNK)] == ["<s>", "</s>", "<unk>"]
    for i, word in enumerate(words):
        assert page.id_of(word) == (None if word in {"<s>", "<unk>"} else i)


def test_every_ngram_has_its_slot_and_nothing_else_has(example: tuple[Backoff, Page]) -> None:
    backoff, page = example
    states = [state for _, state in ngrams(backoff, page)]

    assert 0 not in states
    assert len({*states}) == len(states)
    slots = range(page.levels[1][3] * 4, page.levels[-1][0])
    used = {state for state in slots if page.field(state, 0, "I")}
    assert used == {state for state in states if state >= page.levels[1][3] * 4}
    for ngram, state in ngrams(backoff, page):
        assert -abs(page.field(state, 1, "f")) == backoff.probs[ngram]
        assert page.field(state, 2, "f") == backoff.backoffs.get(ngram, 0.0)


def test_links_lead_to_the_longest_suffix_that_is_a_state(example: tuple[Backoff, Page]) -> None:
    backoff, page = example
    states = dict(ngrams(backoff, page)) | {(): 0}
    continued = {ngram[:-1] for ngram in backoff.probs}
    own = {n for n in states if n in continued or backoff.backoffs.get(n, 0.0) != 0.0}

    for ngram, state in states.items():
        sign = int(page.field(state, 1, "I")) >> 31
        assert sign == (ngram in own)
        if ngram:
            suffix = next(ngram[i:] for i in range(1, len(ngram) + 1) if ngram[i:] in own)
            assert page.field(state, 3, "I") == states[suffix]


def test_what_follows_a_state_is_listed(example: tuple[Backoff, Page]) -> None:
    backoff, page = example
    words = page.words()
    followers = defaultdict(set)
    for ngram in backoff.probs:
        followers[ngram[:-1]].add(ngram[-1])

    assert page.order == 1 or page.children(0) == []
    for ngram, state in ngrams(backoff, page):
        if len(ngram) < page.order:
            assert {words[i] for i in page.children(state)} == followers[ngram]


def test_lists_of_many_bytes_are_read_as_they_were_written(tmp_path: Path) -> None:
    backoff = many_words()
    model = open_ngram(saved(tmp_path, backoff))
    words = model.vocabulary.tokens(range(len(model.vocabulary)))
    contexts = ["w0", "w1", "w2"]

    rows = model.next_log_probs(model.read(Texts.from_strings(contexts), bos=False))

    for context, row in zip(contexts, rows, strict=True):
        expected = [float(backoff.prob((context,), word)) * math.log(10) for word in words]
        expected[words.index("<s>")] = -math.inf
        assert row.tolist() == expected


def number_of(page: Page, level: int, column: int) -> int:
    return 14 + page.order + 5 * level + column


def contradictions(page: Page) -> dict[str, tuple[int, int, str]]:
    """By name, a number of the header, what to put there, and what is then said."""
    numbers, words, places = page.numbers, page.counts[0], len(page.numbers) - 12
    first, homes, last = (number_of(page, 2, 1), number_of(page, 2, 2), page.order + 1)
    slots = numbers[places + 1]
    return {
        "a section elsewhere": (places, numbers[places] + 64, "a section is not where"),
        "a gap between sections": (places + 2, numbers[places + 2] + 64, "a section is not where"),
        "a longer header": (HEADER_BYTES, numbers[HEADER_BYTES] + 64, "as long as the file"),
        "a longer last section": (places + 11, numbers[places + 11] + 64, "as long as the file"),
        "one word less": (14, words - 1, "the number of words"),
        "one word more": (14, words + 1, "the number of words"),
        "one id for two": (BOS, numbers[EOS], "the number of words"),
        "an id beyond the words": (UNK, words, "the number of words"),
        "no homes for words": (HOMES, 0, "the table of words"),
        "too many homes": (HOMES, numbers[places + 7] // 8 + 1, "the table of words"),
        "short keys": (KEY_BITS, 31, "the size of keys"),
        "long keys": (KEY_BITS, 64, "the size of keys"),
        "too few bits for words": (WORD_BITS, numbers[WORD_BITS] - 1, "the size of keys"),
        "a root with homes": (number_of(page, 0, 2), 1, "the level of words"),
        "words from elsewhere": (number_of(page, 1, 0), 2, "the level of words"),
        "words with homes": (number_of(page, 1, 2), 1, "the level of words"),
        "too few buckets for words": (number_of(page, 1, 3), words // 4, "the level of words"),
        "a level from elsewhere": (number_of(page, 2, 0), page.levels[2][0] + 4, "start of the"),
        "a level in other buckets": (first, numbers[first] + 1, "start of the level of 2-grams"),
        "no homes": (homes, 0, "the size of the level of 2-grams"),
        "homes beyond the end": (
            homes,
            page.levels[2][3] - page.levels[2][1] + 1,
            "the size of the level of 2-grams",
        ),
        "remainders of other bits": (
            number_of(page, 2, 4),
            page.levels[2][4] + 1,
            "the remainders of the level of 2-grams",
        ),
        "another end": (number_of(page, last, 0), page.levels[-1][0] + 4, "the number of slots"),
        "homes after the end": (number_of(page, last, 2), 1, "the number of slots"),
        "slots cut off": (places + 1, slots - 4, "the number of slots"),
    }


@pytest.fixture(scope="module")
def two_orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"), random_backoff(1, order=3, words=5))


def test_a_header_that_contradicts_itself_is_refused(two_orders: Path, tmp_path: Path) -> None:
    page = Page(two_orders.read_bytes())
    path = tmp_path / "altered.ngram"
    for name, (number, value, problem) in contradictions(page).items():
        altered = bytearray(page.data)
        struct.pack_into("<Q", altered, 16 + 8 * number, value)
        end = page.numbers[HEADER_BYTES] - 8
        struct.pack_into("<Q", altered, end, zlib.crc32(altered[:end]))
        path.write_bytes(altered)
        with pytest.raises(ModelFormatError, match=f"contradicts itself: .*{problem}") as raised:
            open_ngram(path)
        assert raised.value.line is None, name


def test_writing_and_verifying_tell_how_far_they_are(two_orders: Path, tmp_path: Path) -> None:
    path, seen = tmp_path / "model.ngram", []
    model = open_ngram(two_orders)
    save_ngram(model, path, lambda done, total: seen.append((done, total)))
    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)
    assert len(seen) >= 6

    seen.clear()
    verify_ngram(path, lambda done, total: seen.append((done, total)))
    assert seen == [(size, size)]


def test_a_file_is_mapped_unless_a_copy_is_asked_for(two_orders: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.ngram"
    path.write_bytes(two_orders.read_bytes())
    mapped, copied = open_ngram(path), open_ngram(path, copy=True)
    offset = Page(path.read_bytes()).places[POOL][0]

    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"?")

    assert mapped.vocabulary.pool[0] == ord("?")
    assert copied.vocabulary.pool[0] != ord("?")


@pytest.mark.parametrize("section", [SLOTS, GROUPS, CHILDREN, TABLE])
@pytest.mark.parametrize("filling", [b"\0", b"\1", b"\xff", b"\1\0\1\x7f\x81\0\1", b""])
def test_no_data_lead_outside_the_arrays(
    two_orders: Path, tmp_path: Path, section: int, filling: bytes
) -> None:
    page = Page(two_orders.read_bytes())
    offset, size = page.places[section]
    damaged = ((filling or bytes([page.counts[0]])) * size)[:size]  # the first id that is none
    path = tmp_path / "damaged.ngram"
    path.write_bytes(page.data[:offset] + damaged + page.data[offset + size :])
    model = open_ngram(path)
    words, states = len(model.vocabulary), np.arange(page.levels[-1][0], dtype=np.uint32)
    nothing = np.full((len(states), 1), -1)

    texts = Texts.from_strings(["w1 w2 w3 w1 w4 w0", "", "w0 w0 unheard-of w2 w2 w4 w1"])
    for per_token in (False, True):
        model.score(ScoreBatch(texts, per_token=per_token))
    assert model.next_log_probs(states).shape == (len(states), words)
    for temperature in (0.0, 1.0):
        some = np.full(len(states), temperature), nothing, np.linspace(0, 0.99, len(states))
        drawn, _ = model.draw(states, *some)
        assert (drawn >= -1).all()
        assert (drawn < words).all()


def test_where_no_slot_is_empty_other_words_are_unknown_still(
    two_orders: Path, tmp_path: Path
) -> None:
    data = bytearray(two_orders.read_bytes())
    offset, size = Page(bytes(data)).places[TABLE]
    data[offset : offset + size] = b"\xff" * size
    path = tmp_path / "full.ngram"
    path.write_bytes(data)
    model = open_ngram(path)

    assert model.vocabulary.id("w1") == model.vocabulary.unk_id
    assert model.score(ScoreBatch(Texts.from_strings(["w1 w2"]))).oov_counts.tolist() == [2]
