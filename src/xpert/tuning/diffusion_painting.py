"""Validation pictures: the same captions painted from the same noise, so that they show what the run changed.

Knows a pipeline without text encoders and a U-Net in training; never sees the person's pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from xpert.models.folders import whole_folder
from xpert.tuning.conditioning import Captions
from xpert.tuning.diffusion_settings import DiffusionSettings
from xpert.tuning.latents import Latents
from xpert.tuning.picture_batches import seeded

FOLDER = "validation"
INFERENCE_STEPS = 25
GUIDANCE = 7.5


class ValidationPainter:
    """Paints `validation_prompts` into `<folder>/validation/step-000100/0.png`, 1.png, ...

    Args:
        pipeline: with VAE and scheduler, without text encoders.
        unet: in training; painted with as it is when called.
        captions: that know the prompts.
        latents: whose VAE was kept.
        settings: of the run.
        folder: of the unfinished run.
        device: where the U-Net is.
    """

    def __init__(
        self,
        pipeline: Any,
        unet: Any,
        captions: Captions,
        latents: Latents,
        settings: DiffusionSettings,
        *,
        folder: Path,
        device: torch.device,
    ) -> None:
        pipeline.register_modules(unet=unet)
        if settings.prediction_type is not None:
            scheduler = pipeline.scheduler
            config = dict(scheduler.config) | {"prediction_type": settings.prediction_type}
            pipeline.register_modules(scheduler=type(scheduler).from_config(config))
        self._pipeline, self._unet, self._latents = pipeline, unet, latents
        self._settings, self._folder, self._device = settings, folder / FOLDER, device
        self._prompts = [captions.of([prompt]) for prompt in settings.validation_prompts]
        self._nothing = captions.unconditional()

    def __call__(self, step: int) -> tuple[Path, ...]:
        """Paint after `step` steps; what was painted already is left as it is. Returns the files.

        Raises:
            StorageError: the disk refused.
        """
        folder = self._folder / f"step-{step:06d}"
        if not folder.is_dir():
            self._unet.eval()
            try:
                with whole_folder(folder) as fresh:
                    for number in range(len(self._prompts)):
                        self._latents.painted(self._paint(number)).save(fresh / f"{number}.png")
            finally:
                self._unet.train()
        return tuple(folder / f"{number}.png" for number in range(len(self._prompts)))

    @torch.no_grad()
    def _paint(self, number: int) -> torch.Tensor:
        (states, pooled), (no_states, no_pooled) = self._prompts[number], self._nothing
        more: dict[str, Any] = {}
        if pooled is not None and no_pooled is not None:
            more["pooled_prompt_embeds"] = pooled.float().to(self._device)
            more["negative_pooled_prompt_embeds"] = no_pooled.float().to(self._device)
        side = self._latents.shape[1] * self._pipeline.vae_scale_factor
        answer = self._pipeline(
            prompt_embeds=states.float().to(self._device),
            negative_prompt_embeds=no_states.float().to(self._device),
            num_inference_steps=INFERENCE_STEPS,
            guidance_scale=GUIDANCE,
            height=side,
            width=side,
            generator=seeded(self._settings.seed, "validation", number),
            output_type="latent",
            **more,
        )
        latent: torch.Tensor = answer.images[0]
        return latent
