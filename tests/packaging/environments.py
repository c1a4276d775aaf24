"""Tries lmscore where it is not developed: on every Python, and with the oldest packages.

    python -m tests.packaging.environments versions [PYTHON ...]
    python -m tests.packaging.environments lowest
    python -m tests.packaging.environments renew

`versions` installs the wheel with the newest packages for each interpreter, and has it convert,
serve, score and generate. `lowest` runs a part of the tests with what lowest.txt names, which
`renew` works out of pyproject.toml. torch is the one that is pinned, without CUDA, which is
gigabytes: TORCH_INDEX says where it is, or nothing if uv finds it anyhow. A Python for which there
is none is tried with n-grams alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LOWEST = HERE / "lowest.txt"
TESTED_WITH = (
    "hypothesis",
    "psutil",
    "pytest",
    "pytest-asyncio",
    "pytest-rerunfailures",
    "pytest-timeout",
    "trustme",
)
TORCH = "torch==2.13.0+cpu"
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
EXTRAS = ("server", "cli", "plot", "tracing", "gpu")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PART = (
    "tests/client",
    "tests/models/network/test_checkpoint.py",
    "tests/models/network/test_scores.py",
    "tests/models/tokenization",
    "tests/models/test_convert.py",
    "tests/models/test_ngram_scores.py",
    "tests/server/test_generate.py",
    "tests/server/test_metrics.py",
    "tests/server/test_rescore.py",
    "tests/server/test_score.py",
    "tests/server/test_tracing.py",
)
"""Tests that reach every package that lmscore needs: those of the oldest versions run them."""
_HEAD = "# The oldest versions that pyproject.toml allows together; `make lowest` renews them.\n"
_OF_CUDA = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton)")


def main() -> None:
    """Do what the first argument says."""
    match sys.argv[1:]:
        case ["versions", *pythons]:
            sys.exit(_versions(pythons or _found()))
        case ["lowest"]:
            sys.exit(_lowest())
        case ["renew"]:
            _renew()
        case _:
            sys.exit(__doc__)


def _found() -> list[str]:
    """Interpreters of the versions that are tried, as uv finds them."""
    found = []
    for version in PYTHONS:
        done = _uv("python", "find", "--no-project", "--no-python-downloads", version)
        if done.returncode == 0:
            found.append(done.stdout.strip())
        else:
            print(f"Python {version}: none was found")
    return found


def _versions(pythons: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        wheel = _wheel(Path(folder))
        rows = [
            _tried(python, wheel, Path(folder) / f"environment{index}")
            for index, python in enumerate(pythons)
        ]
    for told, _ in rows:
        print(told)
    return int(not all(well for _, well in rows))


def _wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def _tried(python: str, wheel: Path, folder: Path) -> tuple[str, bool]:
    """A line about one interpreter, and whether all went well."""
    _uv("venv", "--python", python, str(folder), check=True)
    networks = _install(folder, TORCH).returncode == 0
    needs = [need for need in _needs() if not need.startswith("torch")]
    if (done := _install(folder, *needs)).returncode != 0:
        return f"{python}: not installed: {done.stderr.strip()}", False
    _install(folder, "--no-deps", str(wheel), check=True)
    command = [str(folder / "bin" / "python"), str(HERE / "smoke.py")]
    command += [] if networks else ["--without-networks"]
    done = subprocess.run(command, env=_clean(folder), capture_output=True, text=True, check=False)
    told = (done.stdout or done.stderr).strip().splitlines()[-1]
    without = "" if networks else " (n-grams alone: no torch without CUDA)"
    shutil.rmtree(folder)
    return f"{told}{without}", done.returncode == 0


def _lowest() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "environment"
        _uv("venv", "--python", "3.11", str(folder), check=True)
        _install(folder, TORCH, "-r", str(LOWEST), check=True)
        _install(folder, "-c", str(LOWEST), *TESTED_WITH, check=True)
        _install(folder, "--no-deps", str(_wheel(Path(temporary))), check=True)
        command = [str(folder / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, *PART], cwd=ROOT, env=_clean(folder), check=False
        ).returncode


def _renew() -> None:
    flags = ["--python-version", "3.11", "--resolution", "lowest-direct"]
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write("\n".join([*_needs(), TORCH.removesuffix("+cpu")]))
        file.flush()
        quiet = ["--quiet", "--no-header", "--no-annotate"]
        done = _uv("pip", "compile", *flags, *quiet, file.name, check=True)
    pins = [line for line in done.stdout.splitlines() if not _OF_CUDA.match(line)]
    LOWEST.write_text(_HEAD + "\n".join(pins) + "\n")


def _needs() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needs = [*project["dependencies"], *(need for extra in EXTRAS for need in extras[extra])]
    return list(dict.fromkeys(needs))


def _install(folder: Path, *what: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    python = str(folder / "bin" / "python")
    index = ("--extra-index-url", TORCH_INDEX) if TORCH_INDEX else ()
    return _uv("pip", "install", "--quiet", "--python", python, *index, *what, check=check)


def _uv(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uv", *arguments]
    return subprocess.run(command, check=check, capture_output=True, text=True)


def _clean(folder: Path) -> dict[str, str]:
    """The environment of a program that sees what is in the folder, and nothing of the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    compiled = {"NUMBA_CACHE_DIR": str(folder / "compiled")}  # with the numba that is tried
    return {**kept, **compiled, "PATH": f"{folder / 'bin'}:{kept['PATH']}"}


if __name__ == "__main__":
    main()
