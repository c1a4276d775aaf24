"""How far a run has got, in a file beside its output: what `--resume` goes by."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from lmscore.client.textfile import FileError

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done, and what has to be the same for going on.

    The output's files hold exactly the first ``lists`` lists in their first ``offsets`` bytes.
    """

    settings: Mapping[str, Any]  # what the output depends on; JSON values
    lists: int = 0
    last_id: str = ""  # of them
    failed: int = 0  # of them
    written: int = 0  # of them
    offsets: Mapping[str, int] = field(default_factory=dict)  # bytes, by path within the output
    word_errors: Mapping[str, Any] | None = None

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """What a file says; absent if there is none."""
        try:
            content = json.loads(path.read_bytes())
            if content.pop("version") != _VERSION:
                raise FileError(str(path), "another version of lmscore wrote it")
            return cls(**content)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FileError(str(path), "it is not a file of progress") from error

    def save(self, path: Path) -> None:
        """Replace the file as a whole: whoever reads it finds the old or the new one."""
        new = path.with_name(f"{path.name}.new")
        with new.open("w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, **asdict(self)}, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """How other settings differ from these, for people."""
        now = json.loads(json.dumps(settings))
        return [
            f"{name} was {self.settings.get(name)!r} and is {now.get(name)!r}"
            for name in {**self.settings, **now}
            if self.settings.get(name) != now.get(name)
        ]


def progress_path(output: str) -> Path:
    """Where the progress of an output stands."""
    path = Path(output)
    return path.with_name(f"{path.name}.progress")
