from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.client import textfile
from lmscore.client.textfile import FileError, LineReader


def texts(path: Path) -> list[str]:
    return [line.text for line in LineReader(str(path))]


@given(lines=st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))))
def test_lines_survive_plain_and_gzipped(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    if data.startswith((b"\x1f\x8b", b"\xef\xbb\xbf")):
        return
    plain = tmp_path_factory.mktemp("lines") / "plain"
    packed = plain.with_suffix(".gz")
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))

    assert texts(plain) == lines
    assert texts(packed) == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        ("a\x0bb\u2028c\x85d\n".encode(), ["a\x0bb\u2028c\x85d"]),
    ],
)
def test_only_line_feeds_end_lines(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    (tmp_path / "file").write_bytes(data)

    assert texts(tmp_path / "file") == lines


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack("é\nab".encode() + b"\xff\n"))

    with pytest.raises(FileError) as raised:
        texts(path)
    assert str(raised.value) == (
        f"{path}:2: not UTF-8: byte 0xff at offset 5 of the text, 2 of the line"
    )
    assert (raised.value.path, raised.value.line) == (str(path), 2)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:12] + b"\0" * 20])
def test_broken_gzip_is_named(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    path = tmp_path / "file.gz"
    path.write_bytes(damage(gzip.compress(b"some text to pack\n" * 10)))

    with pytest.raises(FileError, match="broken gzip data"):
        texts(path)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "MAX_LINE_BYTES", 10)
    (tmp_path / "file").write_bytes(b"short\n" + b"a" * 11)

    with pytest.raises(FileError, match=r"file:2: the line is longer than 10 bytes"):
        texts(tmp_path / "file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nothing: No such file"):
        texts(tmp_path / "nothing")


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a\nb\n"))))
    reader = LineReader("-")

    assert [line.text for line in reader] == ["a", "b"]
    assert reader.size is None


def test_errors_in_standard_input_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))

    with pytest.raises(FileError, match="standard input:1: not UTF-8"):
        list(LineReader("-"))


def test_position_goes_from_nothing_to_the_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"ab\ncd\n")
    reader = LineReader(str(path))

    assert (reader.position, reader.size) == (0, 6)
    assert [reader.position for _ in reader] == [3, 6]
    assert reader.position == 6


PACKERS = [bytes, gzip.compress, bz2.compress, lzma.compress]


@pytest.mark.parametrize("pack", PACKERS)
def test_packed_files_are_known_by_what_they_begin_with(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "file").write_bytes(pack(b"a\nb\n"))

    assert texts(tmp_path / "file") == ["a", "b"]


@pytest.mark.parametrize(("pack", "name"), [(bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_other_broken_packing_is_named(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str
) -> None:
    data = pack(bytes(range(256)) * 100)
    (tmp_path / "file").write_bytes(data[:40] + b"damaged" + data[47:])

    with pytest.raises(FileError, match=f"broken {name} data"):
        texts(tmp_path / "file")


@pytest.mark.parametrize("pack", PACKERS)
def test_a_look_at_the_opening_takes_nothing_away(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    lines = [f"line {i}" for i in range(30_000)]
    (tmp_path / "file").write_bytes(pack("\n".join(lines).encode()))
    reader = LineReader(str(tmp_path / "file"))

    assert reader.opening().startswith("line 0\nline 1\n")
    assert [line.text for line in reader] == lines


def test_the_opening_of_a_pipe_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\nc\n")))
    reader = LineReader("-")

    assert reader.opening() == "a\nb\nc\n"
    assert [line.text for line in reader] == ["a", "b", "c"]


def test_pieces_do_not_cut_characters(tmp_path: Path) -> None:
    text = "\ufeffä€😀" * 40_000
    (tmp_path / "file").write_text(text, encoding="utf-8")

    assert "".join(LineReader(str(tmp_path / "file")).pieces()) == text[1:]


def test_pieces_name_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ab\xff")

    with pytest.raises(FileError, match="not UTF-8: byte 0xff"):
        list(LineReader(str(tmp_path / "file")).pieces())
