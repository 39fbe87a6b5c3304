"""The loss of a diffusion model on a batch: how well it tells the noise from the picture.

Knows latents, noise and a U-Net; never sees pictures, captions or the VAE.

Legend: b samples, (c, h, w) shape of a latent, (t, d) hidden states of a caption, p pooled width, T timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from xpert.errors import MismatchError
from xpert.tuning.diffusion_settings import DiffusionSettings

_PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, slots=True)
class DiffusionBatch:
    """What one forward pass learns from.

    Attributes:
        latents: (b, c, h, w), scaled.
        noise: (b, c, h, w); what the U-Net must tell, noise offset included.
        perturbation: (b, c, h, w) further noise on what it sees; None: none.
        timesteps: (b,), 0 to T - 1.
        states: (b, t, d).
        pooled: (b, p); None but for XL.
        time_ids: (b, 6) original height and width, crop's top and left, target height and width; None but for XL.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    perturbation: torch.Tensor | None
    timesteps: torch.Tensor
    states: torch.Tensor
    pooled: torch.Tensor | None = None
    time_ids: torch.Tensor | None = None

    def to(self, device: torch.device) -> DiffusionBatch:
        """The same batch on a device, without waiting for the copy."""
        if device.type == "cpu":
            return self

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        def moved_too(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else moved(tensor)

        return DiffusionBatch(
            moved(self.latents),
            moved(self.noise),
            moved_too(self.perturbation),
            moved(self.timesteps),
            moved(self.states),
            moved_too(self.pooled),
            moved_too(self.time_ids),
        )


def training_scheduler(scheduler: Any, settings: DiffusionSettings) -> Any:
    """The noise schedule of a pipeline, for training.

    Raises:
        MismatchError: its U-Net predicts something that is not known here.
    """
    from diffusers import DDPMScheduler

    made: Any = DDPMScheduler
    config = dict(scheduler.config)
    predicted = settings.prediction_type or config.get("prediction_type") or "epsilon"
    if predicted not in _PREDICTIONS:
        raise MismatchError(
            f"the pipeline's scheduler says prediction_type {predicted!r}, known are {' and '.join(_PREDICTIONS)}: "
            "give a pipeline with one of them, or set prediction_type"
        )
    return made.from_config(config | {"prediction_type": predicted})


class DiffusionLoss:
    r"""Mean squared error of a U-Net's answer.

    With a_t = alphas_cumprod[t], latents x, noise e (Ho et al. 2020, arXiv:2006.11239):

        seen   = sqrt(a_t) x + sqrt(1 - a_t) (e + input_perturbation * perturbation)
        target = e  (epsilon)  or  sqrt(a_t) e - sqrt(1 - a_t) x  (v_prediction)
        loss   = mean over b of w_t * mean over (c, h, w) of (unet(seen, t, caption) - target)^2

    w_t is 1, or with snr_gamma min(SNR_t, gamma) / SNR_t (epsilon), min(SNR_t, gamma) / (SNR_t + 1) (v_prediction),
    SNR_t = a_t / (1 - a_t). The error is computed in fp32.

    Args:
        unet: called as a UNet2DConditionModel is.
        scheduler: from `training_scheduler`.
        settings: of the run.
    """

    def __init__(self, unet: Any, scheduler: Any, settings: DiffusionSettings) -> None:
        self._unet, self._scheduler, self._settings = unet, scheduler, settings

    @property
    def timesteps(self) -> int:
        """Number T of timesteps."""
        return int(self._scheduler.config.num_train_timesteps)

    def __call__(self, batch: DiffusionBatch) -> torch.Tensor:
        """The loss of a batch, a number with its gradient."""
        noise = batch.noise
        if batch.perturbation is not None:
            noise = noise + self._settings.input_perturbation * batch.perturbation
        seen = self._scheduler.add_noise(batch.latents, noise, batch.timesteps)
        added = None
        if batch.pooled is not None:
            added = {"text_embeds": batch.pooled, "time_ids": batch.time_ids}
        answer = self._unet(seen, batch.timesteps, batch.states, added_cond_kwargs=added, return_dict=False)[0]
        if self._scheduler.config.prediction_type == "epsilon":
            target = batch.noise
        else:
            target = self._scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps)
        errors = (answer.float() - target.float()).square().flatten(1).mean(dim=1)
        loss: torch.Tensor = (errors * self._weights(batch.timesteps)).mean()
        return loss

    def _weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        """w_t of every sample; (b,)."""
        gamma = self._settings.snr_gamma
        if gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        from diffusers.training_utils import compute_snr

        snr: torch.Tensor = compute_snr(self._scheduler, timesteps)
        if self._scheduler.config.prediction_type == "epsilon":
            return (gamma / snr).clamp(max=1.0)  # the same as min(SNR, gamma) / SNR, and 1 where SNR is 0
        return snr.clamp(max=gamma) / (snr + 1)
