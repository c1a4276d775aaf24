"""Tensors by name from what torch.save or safetensors wrote, without running code from the file."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lmscore.models.errors import ModelFormatError
from lmscore.models.network.importers.file_type import network_file_type
from lmscore.models.network.importers.pickle_advice import refusal

# Plain data of fairseq's and icefall's trainers, which no pickle can make run anything.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    pathlib.PosixPath,
]

_STATE_DICTS = ("model", "state_dict", "model_state_dict", "model_avg")
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and its like, and of torch.compile


@dataclass(frozen=True, slots=True)
class TorchFile:
    """What a file holds of a network."""

    tensors: dict[str, Tensor]
    part: str | None = None  # what the tensors are called within the file
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the network, if it has any


def read_torch_file(path: Path) -> TorchFile:
    """The tensors in a file; raises ModelFormatError for one that has none or runs code."""
    match network_file_type(path):
        case "safetensors":
            return TorchFile(_unwrapped(_read_safetensors(path)))
        case "zip":
            _check_archive(path)
            return _from_object(path, _load(path, mmap=True))
        case "pickle":
            return _from_object(path, _load(path, mmap=False))
        case _:
            raise ModelFormatError(path, "neither a file of torch.save nor of safetensors")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, with those that save_model left out because they are shared."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
            shared = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFormatError(path, f"not a whole safetensors file: {error}") from None
    aliases = {name: tensors[of] for name, of in shared.items() if of in tensors}
    return aliases | tensors


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        problem = "a zip archive that is cut off or damaged; copy or download it anew"
        raise ModelFormatError(path, problem) from None
    if any(name.endswith("/constants.pkl") for name in names):
        raise ModelFormatError(
            path, "a TorchScript archive; save its weights alone: "
            f"torch.save(torch.jit.load({path.name!r}, map_location='cpu').state_dict(), "
            f"{path.stem + '.weights.pt'!r})"
        )  # fmt: skip
    if not any(name.endswith("/data.pkl") for name in names):
        raise ModelFormatError(path, "a zip archive, but not one of torch.save")


def _load(path: Path, *, mmap: bool) -> object:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # about pickles of other protocols, which load or fail
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|type|class) '?([\w.]+)'? (?:was|whose)", str(error))
        if found is None and "Unsupported" not in str(error):
            raise ModelFormatError(path, _DAMAGED) from None
        raise ModelFormatError(path, refusal(path, found and found[1])) from None
    except Exception:  # noqa: BLE001 damaged bytes lead anywhere
        raise ModelFormatError(path, _DAMAGED) from None


_DAMAGED = "a file of torch.save or pickle that is cut off, damaged or of another kind"


def _from_object(path: Path, loaded: object) -> TorchFile:
    if isinstance(loaded, list | tuple) and loaded:  # AWD-LSTM: the model comes first
        loaded = loaded[0]
    if isinstance(loaded, Mapping):
        if _is_state_dict(loaded):
            return TorchFile(_unwrapped(_tensors(path, loaded)))
        for part in _STATE_DICTS:
            if isinstance(inner := loaded.get(part), Mapping) and _is_state_dict(inner):
                return TorchFile(_unwrapped(_tensors(path, inner)), part, _settings(loaded))
    problem = f"holds no tensors by name, neither as they are nor as {', '.join(_STATE_DICTS)}"
    if isinstance(loaded, Mapping) and loaded:
        problem += f"; it has {', '.join(str(key) for key in loaded)}: save the state_dict alone"
    raise ModelFormatError(path, problem)


def _is_state_dict(values: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) and isinstance(key, str) for key, value in values.items())


def _tensors(path: Path, values: Mapping[Any, Any]) -> dict[str, Tensor]:
    for name, value in values.items():
        if not isinstance(value, Tensor) or not isinstance(name, str):
            raise ModelFormatError(path, f"{name} is no tensor, but a {type(value).__name__}")
    return dict(values)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            return _unwrapped({name.removeprefix(wrapper): t for name, t in tensors.items()})
    return tensors


def _settings(loaded: Mapping[Any, Any]) -> dict[str, Any]:
    """What fairseq kept of the network's options: args, or the model's part of cfg."""
    for options in (loaded.get("args"), (loaded.get("cfg") or {}).get("model")):
        if isinstance(options, argparse.Namespace):
            return vars(options)
        if isinstance(options, dict):
            return options
    return {}
