"""From a step's number to what the U-Net learns from in it.

Knows the plan, latents and captions; never sees the U-Net.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from xpert.data.pictures import PictureSet
from xpert.tuning.conditioning import Captions
from xpert.tuning.diffusion_objective import DiffusionBatch
from xpert.tuning.diffusion_settings import DiffusionSettings
from xpert.tuning.latents import Latents
from xpert.tuning.picture_batches import Choice, Draws, PicturePlan


def caption_of(pictures: PictureSet, choice: Choice) -> str:
    """The caption that a sample is learned with."""
    found = pictures.caption(choice.picture)
    if isinstance(found, list):
        return found[int(choice.caption * len(found))]
    return found or ""


class BatchSource:
    """The batches of one process.

    Args:
        pictures: what is learned from.
        plan: which of them, when.
        latents: of the pictures.
        captions: of them.
        settings: of the run.
        timesteps: number T of timesteps.
        process: which of the plan's processes this is.
    """

    def __init__(
        self,
        pictures: PictureSet,
        plan: PicturePlan,
        latents: Latents,
        captions: Captions,
        settings: DiffusionSettings,
        *,
        timesteps: int,
        process: int = 0,
    ) -> None:
        self._pictures, self._plan, self._latents, self._captions = pictures, plan, latents, captions
        self._settings, self._timesteps, self._process = settings, timesteps, process

    def step(self, step: int) -> Iterator[DiffusionBatch]:
        """The batches of step `step`, counted from 0; while one is learned from, the next pictures are read."""
        parts = self._settings.accumulation_steps
        for part in range(parts):
            following = divmod(step * parts + part + 1, parts)
            batch = self._batch(self._plan.positions(step, part, self._process))
            if following[0] < self._plan.steps:
                positions = self._plan.positions(*following, self._process)
                self._latents.ahead(self._plan.choice(position) for position in positions)
            yield batch

    def _batch(self, positions: range) -> DiffusionBatch:
        drawn = [self._plan.draws(position, self._latents.shape, self._timesteps) for position in positions]
        latents = [self._latents.of(choice, draws.posterior) for choice, draws in drawn]
        states, pooled = self._captions.of([caption_of(self._pictures, choice) for choice, _ in drawn])
        times = [self._time_ids(choice) for choice, _ in drawn]
        added = [draws.perturbation for _, draws in drawn if draws.perturbation is not None]
        return DiffusionBatch(
            latents=torch.stack(latents),
            noise=torch.stack([self._noise(draws) for _, draws in drawn]),
            perturbation=torch.stack(added) if added else None,
            timesteps=torch.tensor([draws.timestep for _, draws in drawn]),
            states=states.float(),
            pooled=None if pooled is None else pooled.float(),
            time_ids=None if pooled is None else torch.tensor(times, dtype=torch.float32),
        )

    def _noise(self, draws: Draws) -> torch.Tensor:
        return draws.noise if draws.offset is None else draws.noise + self._settings.noise_offset * draws.offset

    def _time_ids(self, choice: Choice) -> list[int]:
        width, height = self._pictures.size(choice.picture)
        crop = self._latents.crop(choice)
        side = min(crop.width, crop.height)
        return [height, width, *crop.corner, side, side]
