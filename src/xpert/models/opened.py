"""One pipeline in memory, with its adapter, for the length of a block.

Knows diffusers; never sees personal data.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xpert.models.image_adapters import attach_image_adapter, check_image_fit, inspect_image_adapter
from xpert.models.loading import choose_device, choose_dtype
from xpert.models.pipelines import pipeline_digest, read_pipeline, resolve_pipeline
from xpert.models.reference import ModelReference


@dataclass
class LoadedPipeline:
    """A pipeline in evaluation mode and the digest of its files, without and with its adapter."""

    pipeline: Any
    device: torch.device
    folder: Path
    digest: str

    @property
    def resolution(self) -> int:
        """Width of the pictures that it was made for, in pixels."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)


@contextmanager
def open_pipeline(
    reference: ModelReference, *, device: str = "auto", dtype: torch.dtype | None = None
) -> Iterator[LoadedPipeline]:
    """A pipeline in memory for the length of a block, with its adapter where the reference names one; then gone.

    Raises:
        MissingModelError, DamagedModelError: pipeline or adapter cannot be read.
        MismatchError: the adapter belongs to another pipeline.
        SettingsError: no such device here.
    """
    folder, chosen = resolve_pipeline(reference.model, reference.revision), choose_device(device)
    facts = None
    if reference.adapter is not None:
        facts = inspect_image_adapter(Path(reference.adapter))
        check_image_fit(facts, folder)
    pipeline = read_pipeline(folder, choose_dtype(chosen, dtype))
    if facts is not None:
        attach_image_adapter(pipeline, facts)
    loaded = LoadedPipeline(pipeline.to(chosen), chosen, folder, pipeline_digest(folder))
    del pipeline
    try:
        yield loaded
    finally:
        loaded.pipeline = None
        gc.collect()
        if chosen.type == "cuda":
            torch.cuda.empty_cache()
