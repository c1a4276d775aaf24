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
TRIED = [page for page in pages() if any(block.language in RUN for block in blocks(page))]


@pytest.mark.timeout(300)  # some train networks
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
