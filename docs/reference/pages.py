"""Which pages there are, and what makes each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.reference import commands, contract, errors, settings

FOLDER = Path(__file__).parent
BUILDERS: dict[str, Callable[[], str]] = {
    "contract.md": contract.build,
    "errors.md": errors.build,
    "commands.md": commands.build,
    "settings.md": settings.build,
}


def write() -> None:
    """Write all pages anew."""
    for name, build in BUILDERS.items():
        (FOLDER / name).write_text(build(), encoding="utf-8")


def outdated() -> list[str]:
    """Names of the pages that are not what would be written."""
    return [name for name, build in BUILDERS.items() if _read(FOLDER / name) != build()]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
