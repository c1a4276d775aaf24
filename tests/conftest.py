"""A model small enough to be worked out by hand, for all tests."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

HERE = Path(__file__).parent

# Examples are never timed: the machines that run them are shared, and compile on first use. Nor
# does a run fail for how hard its examples were to find, which is chance.
CHANCE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
ANY_MACHINE = settings(deadline=None, suppress_health_check=CHANCE)
# The same examples in every run, so that a change fails for what it changed; chance is for the
# other profile.
settings.register_profile("lmscore", ANY_MACHINE, max_examples=30, derandomize=True)
settings.register_profile("thorough", ANY_MACHINE, max_examples=1000)  # --hypothesis-profile
settings.load_profile("lmscore")

# Sockets, threads and processes meet there in an order that a busy machine chooses.
SEVERAL_TAKE_PART = {"client", "deploy", "docs", "interop", "server", "soak"}
LONG_FOLDERS = {"deploy", "soak"}
LONG_FILES = {
    "test_command.py",
    "test_lifecycle.py",
    "test_ngram_file.py",
    "test_pages.py",
    "test_processes.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes comes first: as the last file, it would keep one worker alone busy.

    What fails where several take part is run once more, and reported as RERUN.
    """
    for item in items:
        if item.path.relative_to(HERE).parts[0] in SEVERAL_TAKE_PART:
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(
        key=lambda item: (
            item.path.parent.name not in LONG_FOLDERS and item.path.name not in LONG_FILES
        )
    )


TINY_ARPA = """\
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.17609126
-0.69897\t</s>
-0.39794\ta\t-0.14612804
-0.52287875\tb\t-0.20411998

\\2-grams:
-0.22184875\t<s> a
-0.30103\ta b
-0.30103\tb </s>

\\end\\
"""
"""Unigrams: <unk> 0.1, </s> 0.2, a 0.4, b 0.3. p(a|<s>) = 0.6, p(b|a) = 0.5, p(</s>|b) = 0.5.

Back-off weights: <s> 2/3, a 5/7, b 5/8, so that every distribution sums to one.
"""


@pytest.fixture(scope="session")
def tiny_arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.arpa"
    path.write_text(TINY_ARPA)
    return path
