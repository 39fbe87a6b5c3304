"""Merge language models: LoRA adapters alone become one adapter; with a whole model among them, a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xpert.errors import SettingsError
from xpert.merging.adapters import merge_adapters
from xpert.merging.cards import Merged
from xpert.merging.models import SHARD_BYTES, merge_whole_models
from xpert.models.generation import Progress
from xpert.models.whole_models import is_whole_model


def merge_models(
    parents: Mapping[str, tuple[Path, float]],
    base_folder: Path,
    out: Path,
    *,
    method: str = "task-arithmetic",
    density: float = 1.0,
    mean: bool = False,
    rank: int | None = None,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    base_name: str | None = None,
    on_progress: Progress | None = None,
) -> Merged:
    """Write theta_0 + sum_i a_i (theta_i - theta_0), or what another method makes of the differences.

    Args:
        parents: name -> folder of a LoRA adapter or of a whole model, and weight a_i.
        base_folder, out, method, density, mean, seed, base_name, on_progress: as `merge_adapters`.
        rank: of an adapter; None: the sum of the parents' ranks.
        shard_bytes: most bytes of one file of a whole model's weights.

    Raises:
        SettingsError: a rank is given for whole models; else as `merge_adapters`.
        MissingModelError, DamagedModelError, MismatchError, ModelError, StorageError: as `merge_adapters`.
    """
    whole = sorted(name for name, (folder, _) in parents.items() if is_whole_model(folder))
    if not whole:
        return merge_adapters(
            parents, base_folder, out, method=method, density=density, mean=mean, rank=rank, seed=seed,
            base_name=base_name, on_progress=on_progress,
        )  # fmt: skip
    if rank is not None:
        raise SettingsError(f"{whole[0]!r} is a whole model, so the result has no rank: leave rank out")
    return merge_whole_models(
        parents, base_folder, out, method=method, density=density, mean=mean, seed=seed, shard_bytes=shard_bytes,
        base_name=base_name, on_progress=on_progress,
    )  # fmt: skip
