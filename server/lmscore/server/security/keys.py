"""API keys: a TOML file of names, hashes and what each key may do."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmscore.server.security.files import UnusableFileError, read_bytes

PREFIX = "lmscore_"
"""What every key begins with, by which scanners for leaked secrets can know one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class KeySettings(BaseModel):
    """A table of the file. A rate that is absent is without limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    requests_per_second: _Rate | None = None
    tokens_per_second: _Rate | None = None
    burst_seconds: _Rate = 10.0  # of the rates that may come at once
    admin: bool = False
    priority: Literal["interactive", "bulk"] = "interactive"  # the most urgent that it may ask for


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: dict[str, KeySettings]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that the server knows, without the key itself."""

    name: str
    settings: KeySettings


class KeyRing:
    """All keys of a file."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = keys

    def find(self, presented: str) -> ApiKey | None:
        """The key that this is; compares with every one, so that time tells nothing of them."""
        digest = hash_of(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(digest, key.settings.sha256):
                found = key
        return found


def hash_of(key: str) -> str:
    """SHA-256, hexadecimal, which is enough for keys that are random numbers of 256 bits."""
    return hashlib.sha256(key.encode("utf-8", errors="surrogatepass")).hexdigest()


def new_key(name: str) -> tuple[str, str]:
    """A new key, and the lines that make it known to a server. Raises ValueError for the name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a key's name (letters, digits, '.', '_' and '-')")
    key = PREFIX + secrets.token_urlsafe(32)
    return key, f'[keys."{name}"]\nsha256 = "{hash_of(key)}"\n'


def read_keys(path: Path) -> KeyRing:
    """The keys of a file. Raises UnusableFileError, which names the key at fault."""
    try:
        content = _File(**tomllib.loads(read_bytes(path).decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableFileError(path, str(error)) from None
    except ValidationError as error:
        raise UnusableFileError(path, _problem(error)) from None
    owners: dict[str, str] = {}
    for name, settings in content.keys.items():
        if not _NAME.fullmatch(name):
            problem = f"{name!r} is not a key's name (letters, digits, '.', '_' and '-')"
            raise UnusableFileError(path, problem)
        if settings.sha256 in owners:
            problem = f"keys.{name}.sha256: it is that of keys.{owners[settings.sha256]}"
            raise UnusableFileError(path, problem)
        owners[settings.sha256] = name
    return KeyRing(tuple(ApiKey(name, settings) for name, settings in content.keys.items()))


def _problem(error: ValidationError) -> str:
    # Not pydantic's own text, which shows the value: somebody may have put a key in its place.
    first = error.errors(include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "string_pattern_mismatch":
        return f"{place}: it is not 64 hexadecimal digits in lower case (lmscore-server --new-key)"
    return f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}"
