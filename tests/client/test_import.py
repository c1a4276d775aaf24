from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["torch", "numpy", "click", "rich", "jiwer", "lmscore.models"]


def test_the_client_imports_nothing_heavy() -> None:
    program = (
        f"import sys; from lmscore.client import *; print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_the_public_names_are_there() -> None:
    import lmscore.client

    assert sorted(lmscore.client.__all__) == lmscore.client.__all__
    for name in lmscore.client.__all__:
        assert hasattr(lmscore.client, name)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_the_command_says_what_to_install(missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from lmscore.client.cli.launcher import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == f"lmscore needs {missing}: pip install 'lmscore[cli]'\n"
    assert done.returncode == 1
