"""What turns gradients into weights: AdamW, its learning rate, and the weights' moving average.

Knows parameters and settings; never sees a model or data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from xpert.tuning.diffusion_settings import DiffusionSettings


def adamw(parameters: list[torch.nn.Parameter], settings: DiffusionSettings, device: torch.device) -> Any:
    """AdamW, fused where the device has it."""
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(
        parameters,
        lr=settings.rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
        fused=fused or None,
        foreach=None if fused else True,
    )


def rate_factors(settings: DiffusionSettings, steps: int) -> Callable[[int], float]:
    """Step, counted from 0 -> factor of the learning rate, as diffusers' schedules compute it."""
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=settings.rate)
    schedule: Any = get_scheduler(
        settings.schedule,
        optimizer=optimizer,
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=steps,
        num_cycles=settings.schedule_cycles,
    )
    factor: Callable[[int], float] = schedule.lr_lambdas[0]
    return factor


def average(parameters: list[torch.nn.Parameter], settings: DiffusionSettings) -> Any:
    """diffusers' EMAModel of parameters, or None where none is wanted."""
    if not settings.ema:
        return None
    from diffusers.training_utils import EMAModel

    make: Any = EMAModel
    return make(parameters, decay=settings.ema_decay, foreach=True)
