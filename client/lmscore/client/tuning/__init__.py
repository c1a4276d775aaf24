"""Weights of a combination from n-best lists with references.

>>> from lmscore.client.tuning import tune
>>> tuning = tune(lists, {"news": answers}, metric="wer")  # doctest: +SKIP
>>> print(tuning.weights, tuning.cross_validated)  # doctest: +SKIP

Needs what comes with the extra ``cli``: numpy, rapidfuzz and sacrebleu.
"""

from lmscore.client.tuning.api import Score, Tuning, steps_of, tune
from lmscore.client.tuning.curves import Curve
from lmscore.client.tuning.error_metrics import METRICS

__all__ = ["METRICS", "Curve", "Score", "Tuning", "steps_of", "tune"]
