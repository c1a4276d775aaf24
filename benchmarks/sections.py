"""The sections of the page, in its order."""

from __future__ import annotations

MEASURED = {
    "ngram": "benchmarks.ngram_scoring",
    "grpc": "benchmarks.grpc_scoring",
    "watching": "benchmarks.instrumentation",
    "estimation": "benchmarks.estimation",
    "loading": "benchmarks.load_time",
    "network": "benchmarks.network_scoring",
    "generation": "benchmarks.generation",
    "selection": "benchmarks.selection",
    "memory": "benchmarks.memory",
    "growth": "benchmarks.growth",
}
"""Sections that are measured anew by every run, and their modules."""

KEPT = {
    "ngram-text": "a large text that is not made up",
    "network-lists": "a recognizer's lists",
    "kenlm-binary": "a large model of KenLM's",
    "learning": "hours of training",
    "rescoring": "a recognizer's lists and a trained network",
    "tuning": "a recognizer's lists and a trained network",
    "large-nbest": "a gigabyte of lists",
    "error-detection": "a text and a network that was trained on it",
}
"""Sections whose results are of earlier runs, and what they take; results tell their commands."""

ORDER = (*MEASURED, *KEPT)
