"""What tries the pages: it has to see what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.compare import matches, within
from tests.docs.markdown import blocks
from tests.docs.session import Try
from tests.docs.writing import write

PAGE = """\
Prose.

<!-- not run: it would go on for ever -->
```sh
yes
```

<!-- run first: echo made > before -->
<!-- exits with 3: it is told to -->
```console
$ cat before
made
$ echo one; \\
    echo 1.5
one
...
$ (exit 3)
```

```sh
cat <<END > file
$ not a command
END
cat file
```
```text
something else
```

```python
from pathlib import Path
print(Path("file").read_text(), "127.0.0.1:50051")
```
```text
$ not a command
 127.0.0.1:50051
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a  \nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("...\nc\n", "a\nb\n", False),
        ("1.5\n", "1.6\n", False),
    ],
)
def test_output_is_as_shown(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("PPL 1,000.0 x", "PPL 1,000.5   x", True),
        ("PPL 1,000.0 x", "PPL 1,002.0 x", False),
        ("PPL 1 x", "PPL 1 y", False),
        ("PPL 1 2", "PPL 1", False),
        ("-1.0e-5", "-1.1e-5", True),
    ],
)
def test_numbers_may_differ_as_far_as_is_said(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed, within(0.001)) is same


def test_blocks_know_their_lines_and_their_marks(page: Path) -> None:
    first, second, third, fourth = blocks(page)

    assert (first.line, first.marks) == (5, {"not run": "it would go on for ever"})
    assert [command.line for command in second.commands] == [11, 13, 17]
    assert [command.shown for command in second.commands] == ["made\n", "one\n...\n", None]
    assert [command.line for command in third.commands] == [21, 24]
    assert third.output is not None
    assert (third.output.line, fourth.language) == (27, "python")


def test_a_mark_that_is_not_known_is_an_error(page: Path) -> None:
    page.write_text("<!-- never run: why -->\n```sh\ntrue\n```\n")

    with pytest.raises(ValueError, match=r"page\.md:1: no mark"):
        blocks(page)


def test_what_a_page_gets_wrong_is_told_with_its_line(page: Path, try_page: Try) -> None:
    with try_page(page) as tried:
        for block in blocks(page):
            tried.attempt(block)

    assert tried.problems == [
        f"{page}:27: the page shows\nsomething else\nbut it printed\n$ not a command\n"
    ]


def test_a_command_that_fails_is_told(page: Path, try_page: Try) -> None:
    page.write_text("```sh\necho so; false\n```\n")
    with try_page(page) as tried:
        tried.attempt(*blocks(page))

    assert tried.problems == [f"{page}:2: echo so; false\nit exited with 1:\nso\n"]


def test_what_is_printed_can_be_put_into_the_page(page: Path, try_page: Try) -> None:
    with try_page(page) as tried:
        for block in blocks(page):
            tried.attempt(block)
    write(page, tried.printed)

    assert page.read_text() == PAGE.replace("something else", "$ not a command")
