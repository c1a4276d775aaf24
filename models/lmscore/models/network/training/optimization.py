"""What changes the weights: optimizers, and schedules of their learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from lmscore.models.network.module import NetworkModule
from lmscore.models.network.training.settings import OptimizationSettings


def make_optimizer(module: NetworkModule, settings: OptimizationSettings) -> Optimizer:
    """The optimizer that the settings ask for; weight decay is for matrices alone."""
    weights = list(module.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    match settings.optimizer:
        case "adam":
            return Adam(groups, rate, fused=True)
        case "adamw":
            return AdamW(groups, rate, fused=True)
        case "sgd":
            return SGD(groups, rate, settings.momentum, fused=True)


@dataclass(slots=True)
class Schedule:
    """The learning rate at each step; on a plateau it depends on what was measured."""

    settings: OptimizationSettings
    total_steps: int
    scale: float = 1.0
    waited: int = 0  # evaluations without gain since the rate last fell

    def rate(self, step: int) -> float:
        """The rate of a step, from 0."""
        settings = self.settings
        rising = min(1.0, (step + 1) / (settings.warmup_steps + 1))
        share = self.scale
        if settings.schedule == "cosine":
            span = max(1, self.total_steps - settings.warmup_steps)
            done = min(1.0, max(0, step - settings.warmup_steps) / span)
            fall = (1 + math.cos(math.pi * done)) / 2
            share = settings.final_share + (1 - settings.final_share) * fall
        return settings.learning_rate * rising * share

    def evaluated(self, *, gained: bool) -> None:
        """Take note of an evaluation."""
        self.waited = 0 if gained else self.waited + 1
        if self.settings.schedule == "plateau" and self.waited >= self.settings.decay_patience:
            self.scale *= self.settings.decay
            self.waited = 0


def gradient_norm(module: NetworkModule, longest: float | None) -> float:
    """The length of the gradient, which is cut to the longest allowed."""
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), longest or math.inf)
    return float(norm)
