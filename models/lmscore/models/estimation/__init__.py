"""Estimating n-gram models from text: counting, smoothing, pruning."""
