"""The .ngram file: the arrays of a model as they are used, to be mapped rather than read.

docs/ngram-format.md describes it. Everything that decides where a kernel reads lies in the header,
which is checked when a file is opened; kernels bound whatever else they take from the file. So a
damaged file can give wrong scores, which verify finds, but no reads outside it.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from lmscore.models.compression import open_model_file
from lmscore.models.contents import contents
from lmscore.models.errors import ModelFormatError
from lmscore.models.ngram.automaton import (
    BUCKET_FIELDS,
    END_BUCKET,
    FIRST_BUCKET,
    HOMES,
    KEY_BITS,
    LEVEL_COLUMNS,
    ORDER,
    PARAMETER_COUNT,
    REMAINDER_BITS,
    START,
    VOCABULARY_SIZE,
    WORD_BITS,
    Children,
    Entries,
    remainder_bits,
)
from lmscore.models.ngram.line_reader import Progress
from lmscore.models.ngram.model import NgramModel
from lmscore.models.ngram.vocabulary import NgramVocabulary
from lmscore.models.ngram.words import WordTable

MAGIC = b"\x89lmscore.ngram\r\n"  # a transfer that alters line ends or bits 7 damages it
VERSION = 1
MAX_ORDER = 100
_ALIGNMENT = 64
_CHUNK_BYTES = 1 << 22

_FIELDS = (
    "version",
    "header_bytes",
    "file_bytes",
    "data_crc32",  # of all bytes after the header
    "order",
    "word_bits",
    "key_bits",
    "has_unknown",
    "bos_id",
    "eos_id",
    "unk_id",
    "table_homes",
    "table_id_mask",
    "table_seed",
)
_SECTIONS: tuple[tuple[str, Any], ...] = (
    ("slots", np.uint32),
    ("groups", np.uint64),
    ("children", np.uint8),
    ("table", np.uint64),
    ("offsets", np.int64),
    ("pool", np.uint8),
)


class _Header(NamedTuple):
    """What a file says of itself, all numbers of 64 bits."""

    fields: dict[str, int]
    counts: NDArray[np.uint64]  # (order,) n-grams by length
    levels: NDArray[np.uint64]  # (order + 2, 5) as in Entries
    sections: NDArray[np.uint64]  # (6, 2) offset in the file, and bytes

    @classmethod
    def bytes_for(cls, order: int) -> int:
        """Size of the header of a model, with its checksum."""
        numbers = len(_FIELDS) + order + (order + 2) * LEVEL_COLUMNS + 2 * len(_SECTIONS) + 1
        return _aligned(len(MAGIC) + 8 * numbers)

    def encode(self) -> bytes:
        """The bytes in the file, with the CRC-32 of what is before it at the end."""
        parts = [np.array(list(self.fields.values()), np.uint64), *self[1:]]
        body = MAGIC + b"".join(part.astype("<u8").tobytes() for part in parts)
        body = body.ljust(self.bytes_for(self.fields["order"]) - 8, b"\0")
        return body + zlib.crc32(body).to_bytes(8, "little")

    @classmethod
    def decode(cls, head: bytes, order: int) -> Self:
        """The header in the first bytes of a file."""
        numbers = np.frombuffer(head, "<u8", offset=len(MAGIC)).astype(np.uint64)
        sizes = [len(_FIELDS), order, (order + 2) * LEVEL_COLUMNS, 2 * len(_SECTIONS)]
        fields, counts, levels, sections, _ = np.split(numbers, np.cumsum(sizes))
        named = dict(zip(_FIELDS, fields.tolist(), strict=True))
        return cls(named, counts, levels.reshape(-1, LEVEL_COLUMNS), sections.reshape(-1, 2))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def save_ngram(model: NgramModel, path: Path, progress: Progress | None = None) -> None:
    """Write a model; progress is told of the bytes written.

    It is written beside the path and then moved there: processes that have mapped a file that was
    there before keep it whole, and nobody ever sees half a file. Raises OSError.
    """
    sections = _sections_of(model)
    offset = _Header.bytes_for(model.entries.order)
    places = []
    for section in sections:
        places.append((offset, section.nbytes))
        offset = _aligned(offset + section.nbytes)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.seek(places[0][0])
            crc = _write_sections(file, sections, offset, progress)
            fields = _fields_of(model, places[0][0], offset, crc)
            counts = np.array(model.ngram_counts, np.uint64)
            header = _Header(fields, counts, model.entries.levels, np.array(places, np.uint64))
            file.seek(0)
            file.write(header.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sections_of(model: NgramModel) -> list[NDArray[Any]]:
    """The arrays in the order of _SECTIONS."""
    vocabulary = model.vocabulary
    return [
        model.entries.slots,
        model.children.groups,
        model.children.data,
        vocabulary.table.slots,
        vocabulary.offsets,
        vocabulary.pool,
    ]


def _write_sections(
    file: IO[bytes], sections: list[NDArray[Any]], end: int, progress: Progress | None
) -> int:
    """Write all sections, each padded; the CRC-32 of what was written."""
    crc = 0
    for section in sections:
        data = memoryview(cast("Any", section.view(np.uint8)))
        chunks = [data[i : i + _CHUNK_BYTES] for i in range(0, len(data), _CHUNK_BYTES)]
        chunks.append(memoryview(bytes(-len(data) % _ALIGNMENT)))
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
            file.write(chunk)
            if progress is not None:
                progress(file.tell(), end)
    return crc


def _fields_of(
    model: NgramModel, header_bytes: int, file_bytes: int, data_crc32: int
) -> dict[str, int]:
    vocabulary, parameters = model.vocabulary, model.entries.parameters
    homes, id_mask, seed, _ = vocabulary.table.parameters.tolist()
    return {
        "version": VERSION,
        "header_bytes": header_bytes,
        "file_bytes": file_bytes,
        "data_crc32": data_crc32,
        "order": model.entries.order,
        "word_bits": int(parameters[WORD_BITS]),
        "key_bits": int(parameters[KEY_BITS]),
        "has_unknown": int(model.has_unknown),
        "bos_id": vocabulary.bos_id,
        "eos_id": vocabulary.eos_id,
        "unk_id": vocabulary.unk_id,
        "table_homes": homes,
        "table_id_mask": id_mask,
        "table_seed": seed,
    }


def open_ngram(path: Path, *, copy: bool = False) -> NgramModel:
    """Map a file; only its header is read. Raises ModelFormatError and ModelNotFoundError.

    The file must not be truncated or written to while it is mapped; moving another one to its
    path is safe. With copy, all of it is read into memory, and may then be written to.
    """
    with open_model_file(path) as file:
        header = _read_header(path, file)
        data = contents(path, file, copy=copy)
    arrays = {
        name: np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, offset)
        for (name, dtype), (offset, size) in zip(_SECTIONS, header.sections.tolist(), strict=True)
    }
    fields = header.fields
    words = int(header.counts[0])
    parameters = np.zeros(PARAMETER_COUNT, np.uint64)
    parameters[ORDER] = fields["order"]
    parameters[VOCABULARY_SIZE] = words
    parameters[WORD_BITS] = fields["word_bits"]
    parameters[KEY_BITS] = fields["key_bits"]
    hashing = [fields["table_homes"], fields["table_id_mask"], fields["table_seed"], words]
    return NgramModel(
        Entries(arrays["slots"], arrays["slots"].view(np.float32), header.levels, parameters),
        Children(arrays["groups"], arrays["children"]),
        NgramVocabulary(
            arrays["pool"],
            arrays["offsets"],
            WordTable(arrays["table"], np.array(hashing, np.uint64)),
            (fields["bos_id"], fields["eos_id"], fields["unk_id"]),
        ),
        ngram_counts=tuple(header.counts.tolist()),
        has_unknown=bool(fields["has_unknown"]),
    )


def verify_ngram(path: Path, progress: Progress | None = None) -> None:
    """Read a whole file and compare its checksums; raises as open_ngram does."""
    with open_model_file(path) as file:
        fields = _read_header(path, file).fields
        file.seek(fields["header_bytes"])
        crc = 0
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
            if progress is not None:
                progress(file.tell(), fields["file_bytes"])
    if crc != fields["data_crc32"]:
        raise ModelFormatError(path, "the file is damaged: its data have another checksum")


def _read_header(path: Path, file: IO[bytes]) -> _Header:
    """The header of a file, checked, with the file's size and the places of its sections."""
    if sys.byteorder != "little":
        raise ModelFormatError(path, ".ngram files are for little-endian machines")
    start = file.read(len(MAGIC) + 8 * len(_FIELDS))
    if len(start) < len(MAGIC) + 8 * len(_FIELDS) or not start.startswith(MAGIC):
        raise ModelFormatError(path, "not an .ngram file, or only the start of one")
    fields = dict(
        zip(_FIELDS, np.frombuffer(start, "<u8", offset=len(MAGIC)).tolist(), strict=True)
    )
    if fields["version"] != VERSION:
        problem = f"version {fields['version']} of the .ngram format; this program reads {VERSION}"
        raise ModelFormatError(path, problem)
    if not 1 <= fields["order"] <= MAX_ORDER:
        raise ModelFormatError(path, f"the header is damaged: order {fields['order']}")
    head = start + file.read(_Header.bytes_for(fields["order"]) - len(start))
    if len(head) < _Header.bytes_for(fields["order"]):
        raise ModelFormatError(path, "the file is truncated")
    if zlib.crc32(head[:-8]).to_bytes(8, "little") != head[-8:]:
        raise ModelFormatError(path, "the header is damaged: it has another checksum")
    size = os.fstat(file.fileno()).st_size
    if size != fields["file_bytes"]:
        problem = f"the file is truncated or has grown: {size} bytes, not {fields['file_bytes']}"
        raise ModelFormatError(path, problem)
    header = _Header.decode(head, fields["order"])
    for problem in _contradictions(header, len(head)):
        raise ModelFormatError(path, f"the header contradicts itself: {problem}")
    return header


def _contradictions(header: _Header, header_bytes: int) -> Iterator[str]:
    """What is wrong in a header whose checksum is right; only the first is sure to make sense.

    Without any, no key leads outside its level, no level outside the slots, and no section
    outside the file.
    """
    fields, places = header.fields, header.sections.tolist()
    ends = [header_bytes, *(_aligned(offset + size) for offset, size in places)]
    if [offset for offset, _ in places] != ends[:-1]:
        yield "a section is not where the one before it ends"
    if fields["header_bytes"] != header_bytes or fields["file_bytes"] != ends[-1]:
        yield "the sections are not as long as the file"
    sizes = {
        name: size // np.dtype(dtype).itemsize
        for (name, dtype), (_, size) in zip(_SECTIONS, places, strict=True)
    }
    words = int(header.counts[0])
    specials = {fields["bos_id"], fields["eos_id"], fields["unk_id"]}
    if sizes["offsets"] != words + 1 or len(specials) != 3 or max(specials) >= words:
        yield "the number of words"
    if not 1 <= fields["table_homes"] <= sizes["table"]:
        yield "the table of words"
    if not (32 <= fields["key_bits"] <= 63 and words <= 1 << min(fields["word_bits"], 32)):
        yield "the size of keys"
    yield from _level_contradictions(header, words, sizes["slots"])


def _level_contradictions(header: _Header, words: int, slots: int) -> Iterator[str]:
    """What is wrong with the levels, each of which must follow on the one before."""
    root, unigrams, *longer, last = header.levels.tolist()
    if any(root) or unigrams[:3] != [1, 0, 0] or unigrams[END_BUCKET] * 4 <= words:
        yield "the level of words"
    end = unigrams[END_BUCKET]
    for length, level in enumerate(longer, 2):
        if level[FIRST_BUCKET] != end or level[START] != 4 * end:
            yield f"the start of the level of {length}-grams"
        end = level[END_BUCKET]
        if not 1 <= level[HOMES] <= end - level[FIRST_BUCKET]:
            yield f"the size of the level of {length}-grams"
        if level[REMAINDER_BITS] != remainder_bits(level[HOMES], header.fields["key_bits"]):
            yield f"the remainders of the level of {length}-grams"
    if last != [4 * end, 0, 0, 0, 0] or slots != end * BUCKET_FIELDS or 4 * end > 1 << 32:
        yield "the number of slots"
