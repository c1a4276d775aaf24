"""What a call is called in logs, here and where it comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import count

REQUEST_ID_KEY = "x-request-id"
"""Metadata with which a caller may name its call; every call's end carries it back."""

_GOOD = re.compile(r"[!-~]{1,64}")

_process = os.urandom(6).hex()
_numbers = count(1)


def request_id(metadata: Mapping[str, str]) -> str:
    """The caller's, if it is up to 64 characters of visible ASCII; else a new one."""
    given = metadata.get(REQUEST_ID_KEY, "")
    return given if _GOOD.fullmatch(given) else f"{_process}-{next(_numbers):x}"
