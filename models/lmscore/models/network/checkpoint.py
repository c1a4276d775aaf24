"""A network's folder: config.json, model.safetensors and the files of its tokenizer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lmscore.models.errors import ModelFormatError, ModelNotFoundError
from lmscore.models.network.config import NetworkConfig
from lmscore.models.tokenization.loading import load_tokenizer
from lmscore.models.tokenization.spec import TokenizerSpec
from lmscore.models.tokenization.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT = "lmscore-network"
FORMAT_VERSION = 1

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network as a folder holds it."""

    config: NetworkConfig
    tensors: dict[str, Tensor]  # by name, of the shapes that the config says; dtype as stored
    tokenizer: Tokenizer


def read_checkpoint(folder: Path) -> Checkpoint:
    """The network in a folder.

    Raises ModelNotFoundError for a file that is absent, ModelFormatError for one that is not what
    it should be, with the name of the tensor or field.
    """
    config, spec = read_config(folder)
    tokenizer = load_tokenizer(folder, spec)
    if len(tokenizer.vocabulary) != config.vocabulary_size:
        raise ModelFormatError(
            folder / CONFIG_FILE,
            f"vocabulary_size is {config.vocabulary_size}, but the tokenizer has "
            f"{len(tokenizer.vocabulary)} tokens",
        )
    return Checkpoint(config, _read_tensors(folder / WEIGHTS_FILE, config), tokenizer)


def read_config(folder: Path) -> tuple[NetworkConfig, TokenizerSpec]:
    """What config.json says; raises as read_checkpoint does."""
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelFormatError(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(path, f"not JSON: {error}") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ModelFormatError(
            path,
            f'not a network of this program: "format" is not "{FORMAT}"; '
            "lmscore-convert imports those of other programs",
        )
    if values.get("version") != FORMAT_VERSION:
        problem = f"version {values.get('version')!r} is not {FORMAT_VERSION}, which is known here"
        raise ModelFormatError(path, problem)
    config = NetworkConfig.from_json(path, values.get("network"))
    return config, TokenizerSpec.from_json(path, values.get("tokenizer"))


def write_checkpoint(
    folder: Path,
    config: NetworkConfig,
    tensors: Mapping[str, Tensor],
    spec: TokenizerSpec,
    tokenizer_files: Mapping[str, bytes],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder that read_checkpoint reads; its config.json comes last, when all is there.

    Tensors keep their dtype. notes, such as what it was trained on, stand in config.json. Raises
    OSError.
    """
    _check_tensors(folder / WEIGHTS_FILE, {k: tuple(t.shape) for k, t in tensors.items()}, config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tokenizer_files.items():
        _replace(folder / name, content)
    weights = folder / f"{WEIGHTS_FILE}.new"
    weights.touch()
    mode = weights.stat().st_mode  # safetensors would let nobody else read the file
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, weights)
        weights.chmod(mode)
        weights.replace(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise _system_error(error, weights) from None
    finally:
        weights.unlink(missing_ok=True)  # where a disk is full, what is half written takes room
    values = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "network": config.to_json(),
        "tokenizer": spec.to_json(),
    }
    if notes:
        values["notes"] = dict(notes)
    _replace(folder / CONFIG_FILE, json.dumps(values, indent=2, ensure_ascii=False).encode())


def _system_error(error: SafetensorError, path: Path) -> Exception:
    """The OSError that safetensors wraps, such as that of a full disk; else the error itself."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def _read_tensors(path: Path, config: NetworkConfig) -> dict[str, Tensor]:
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 not a dict
        _check_tensors(path, shapes, config)
        tensors = {name: file.get_tensor(name) for name in shapes}
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise ModelFormatError(path, f"{name} has numbers of type {dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise ModelFormatError(path, f"{name} has a NaN or infinite value")
    return tensors


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise ModelNotFoundError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise ModelFormatError(path, f"not a whole safetensors file: {error}") from None


def _check_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], config: NetworkConfig
) -> None:
    expected = config.shapes()
    if missing := sorted(expected.keys() - shapes.keys()):
        raise ModelFormatError(path, f"lacks {missing[0]}, which the config asks for")
    if extra := sorted(shapes.keys() - expected.keys()):
        raise ModelFormatError(path, f"has {extra[0]}, which the config does not know")
    for name, shape in expected.items():
        if shapes[name] != shape:
            problem = f"{name} is of shape {list(shapes[name])}, not {list(shape)} as configured"
            raise ModelFormatError(path, problem)
