"""Everything that the pages show is run, and does what they say.

`pytest tests/docs --write-docs` puts what the commands print into the pages; read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, SHELL, blocks, pages
from tests.docs.session import Try
from tests.docs.writing import write

RUN = SHELL | {"python"}
WRONG = Path(__file__).with_name("wrong_page.md")

pytestmark = pytest.mark.timeout(600)  # the first start on a machine compiles

TRIED = [page for page in pages() if any(block.language in RUN for block in blocks(page))]


@pytest.mark.parametrize("page", TRIED, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_true(
    page: Path, try_page: Try, request: pytest.FixtureRequest
) -> None:
    with try_page(page) as tried:
        for block in blocks(page):
            tried.attempt(block)
    if request.config.getoption("--write-docs", default=False):
        write(page, tried.printed)
    elif tried.problems:
        pytest.fail("\n\n".join(tried.problems), pytrace=False)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(WRONG.read_text())
    return path


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

    assert page.read_text() == WRONG.read_text().replace("something else", "$ not a command")
