"""The processes and the device of a run, as `accelerate launch` began them.

Knows accelerate; nothing of models or data.
"""

from __future__ import annotations

from typing import Any

import torch

from xpert.errors import SettingsError
from xpert.models.loading import choose_device


def open_accelerator() -> Any:
    """accelerate's view of the processes; precision and devices are set by hand, so one fits all later runs.

    Raises:
        SettingsError: the processes are to share the U-Net itself, which is not supported.
    """
    from accelerate import Accelerator
    from accelerate.state import is_initialized

    accelerator = Accelerator() if is_initialized() else Accelerator(mixed_precision="no")
    kind = str(accelerator.distributed_type.value)
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise SettingsError(
            f"accelerate was launched with {kind}, which splits a model over processes: launch with --multi_gpu or one "
            "process"
        )
    return accelerator


def run_device(accelerator: Any, device: str) -> torch.device:
    """Where this process computes: what accelerate gives it, unless one is named.

    Raises:
        SettingsError: one is named that is not here, or for several processes.
    """
    if device == "auto":
        launched: torch.device = accelerator.device
        return launched
    if accelerator.num_processes > 1:
        raise SettingsError(f"device {device!r}: accelerate gives each of its processes a device: use auto")
    return choose_device(device)
