"""Is there room for a training step? Asked before anything large is opened. Knows the system's own numbers only."""

from __future__ import annotations

from pathlib import Path

from xpert.errors import SettingsError
from xpert.runtime.manifest import Manifest

_MIB = 2**20


def available_bytes() -> int | None:
    """Memory that a program may still take, by the system and by the limit of its group; None where nothing says."""
    found = [value for value in (_of_the_machine(), _of_the_group()) if value is not None]
    return min(found, default=None)


def _of_the_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _of_the_group() -> int | None:
    room = Path("/sys/fs/cgroup")
    try:
        return int((room / "memory.max").read_text()) - int((room / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return None


def check_memory(
    manifest: Manifest,
    batch_size: int,
    length_tokens: int,
    budget_bytes: int | None = None,
    *,
    recompute: bool = False,
) -> int:
    """The estimate of a step in bytes, where it fits.

    Args:
        manifest: with the numbers to estimate from.
        batch_size: sequences of a batch.
        length_tokens: of the longest.
        budget_bytes: what may be used; None: what the system has left.
        recompute: whether activations are computed again.

    Raises:
        SettingsError: a sequence is longer than the export allows, or the step does not fit.
    """
    if length_tokens > manifest.length_tokens:
        raise SettingsError(
            f"samples have up to {length_tokens} tokens, the export reads {manifest.length_tokens} at most: use a "
            "smaller --max-length-tokens, or export with a larger one"
        )
    needed = manifest.memory.estimate(batch_size, length_tokens, recompute=recompute)
    budget = available_bytes() if budget_bytes is None else budget_bytes
    if budget is not None and needed > budget:
        raise SettingsError(
            f"a step of {batch_size} x {length_tokens} tokens needs about {needed // _MIB} MiB, {budget // _MIB} MiB "
            f"are there: use {'' if recompute else '--gradient-checkpointing, '}a smaller --batch-size (with more "
            "--accumulation-steps) or --max-length-tokens, or export with --int8"
        )
    return needed
