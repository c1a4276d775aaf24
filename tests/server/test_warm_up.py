"""Models are ready when they are loaded: no call has to wait until a loop has been compiled."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from lmscore.models.decoding.generate import generate
from lmscore.models.decoding.parameters import Beam, Decoding, Greedy, Sampling
from lmscore.models.distribution import event_details, predict
from lmscore.models.language_model import LanguageModel, ScoreBatch, Texts, TokenSequences
from lmscore.models.network.placement import Placement
from lmscore.server.model_loading import load
from lmscore.server.model_source import ModelSource

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo"
STRATEGIES = (
    Decoding(Greedy(), max_tokens=3),
    Decoding(Sampling(), max_tokens=3, banned_token_ids=(5,), min_tokens=2),
    Decoding(Sampling(0.7, 5, 0.9, 0.1), max_tokens=3, num_sequences=2, alternatives=2),
    Decoding(Beam(3, 1.0, 2), max_tokens=3, repetition_penalty=1.2),
)


def compiled() -> dict[str, int]:
    """How many ways each loop of this process has been compiled in, or read from where it lies."""
    loops = [each for each in gc.get_objects() if isinstance(each, Dispatcher)]
    return {
        f"{loop.py_func.__module__}.{loop.py_func.__qualname__}": len(loop.signatures)
        for loop in loops
    }


def use(model: LanguageModel) -> None:  # type: ignore[type-arg]
    """Ask a model for everything that calls ask for."""
    texts = Texts.from_strings(["the class", "", "a zzyzx ☂"])
    tokens = TokenSequences(np.array([5, 6, 7]), np.array([0, 2, 3]))
    for per_token in (False, True):
        model.score(ScoreBatch(texts, per_token=per_token))
        model.score(ScoreBatch(texts, texts, per_token=per_token))
        model.score(ScoreBatch(tokens, per_token=per_token))
    model.tokenize(texts)
    predict(model, texts, 3)
    batch = ScoreBatch(texts, per_token=True)
    events = model.score(batch).tokens
    assert events is not None
    event_details(model, batch, events, 2)
    for settings in STRATEGIES:
        list(generate(model, ["the class", ""], settings))


def main() -> None:
    """Print what is compiled only when it is needed."""
    for name in ("trigram.arpa.gz", "lstm"):
        source = ModelSource(name="m", path=DEMO / name)
        model = load(source, Placement("cpu", "float32", threads=1)).model
        before = compiled()
        use(model)
        late = {loop for loop, ways in compiled().items() if ways > before.get(loop, 0)}
        print("late:", name, *sorted(late))


@pytest.mark.timeout(300)  # where nothing has been compiled yet
def test_no_call_waits_for_a_loop_to_be_compiled() -> None:
    # In a process of its own: others have used all loops already.
    command = [sys.executable, "-c", "from tests.server.test_warm_up import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    told = [line for line in done.stdout.splitlines() if line.startswith("late:")]
    assert told == ["late: trigram.arpa.gz", "late: lstm"]
