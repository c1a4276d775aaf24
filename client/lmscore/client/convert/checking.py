"""What a caller gives, checked before it becomes a message."""

from __future__ import annotations

from collections.abc import Sequence

from lmscore.client.requests import ModelChoice, name_of
from lmscore.client.status import invalid_argument
from lmscore.v1 import common_pb2

HALF_A_PAIR = "half a surrogate pair, which UTF-8 cannot spell"


def refuse_unknown(given: ModelChoice, known: type[ModelChoice]) -> None:
    """TypeError for a misspelt keyword, which would leave its setting at the default."""
    for name in given:
        if name not in known.__annotations__:
            raise TypeError(
                f"there is no setting {name!r}; there are {sorted(known.__annotations__)}"
            )


def selector(default_model: str, choice: ModelChoice) -> common_pb2.ModelSelector:
    """The model that was chosen, or the client's; what a call says beats what a name ends with."""
    model = checked_text(choice.get("model", default_model), "model.name")
    version, label = choice.get("version"), choice.get("label")
    if version is None and label is None:
        version, label = _suffix(model)
    return common_pb2.ModelSelector(
        name=name_of(model),
        version=checked_number(version, "model.version", 64),
        label=checked_text(label, "model.label") if label is not None else None,
    )


def _suffix(model: str) -> tuple[int | None, str | None]:
    """Version and label at the end of NAME:VERSION or NAME@LABEL."""
    _, at, label = model.partition("@")
    if at:
        return None, label
    _, colon, version = model.partition(":")
    if not colon:
        return None, None
    if not (version.isascii() and version.isdigit()):
        raise invalid_argument("model.version", f"{version!r} is not a number")
    return int(version), None


def checked_texts(texts: Sequence[str], field: str = "texts") -> Sequence[str]:
    """The texts, if UTF-8 can spell them; TypeError for one string in place of several."""
    if isinstance(texts, str):  # a sequence of strings too: of its characters
        raise TypeError(f"{field} is one string; give a list of strings")
    for i, text in enumerate(texts):
        if not _encodable(text):
            raise _unusable(text, f"{field}[{i}]")
    return texts


def checked_text(text: str, field: str) -> str:
    """The text, if UTF-8 can spell it."""
    if not _encodable(text):
        raise _unusable(text, field)
    return text


def _encodable(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except (UnicodeEncodeError, AttributeError):
        return False


def _unusable(text: object, field: str) -> Exception:
    if isinstance(text, str):
        return invalid_argument(field, HALF_A_PAIR)
    return TypeError(f"{field} is of type {type(text).__name__}; give a string")


def checked_number(number: int | None, field: str, bits: int) -> int | None:
    """The number, if it fits into that many bits."""
    if number is not None and not 0 <= number < 2**bits:
        raise invalid_argument(field, f"{number} is not within 0 and 2**{bits} - 1")
    return number
