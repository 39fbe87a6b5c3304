"""Pictures as a U-Net sees them: cropped, and encoded by the VAE, once a picture where that is possible.

Knows pictures, crops and the VAE; never reads captions, never sees the U-Net.

Legend: (c, h, w) shape of a latent, r side of a crop in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image

from xpert.data.decoding import MAX_PIXELS
from xpert.data.pictures import PictureSet
from xpert.errors import DataError
from xpert.tuning.picture_batches import Choice, Crop, crop_of

OnProgress = Callable[[str, int, int], None]
Moments = tuple[torch.Tensor, torch.Tensor]
_Key = tuple[int, Crop]

STAGE = "encoding pictures"
_WORKERS = 4


def pixels(picture: Image.Image, crop: Crop) -> torch.Tensor:
    """A cropped picture as numbers from -1 to 1, shape (3, r, r)."""
    side = min(crop.width, crop.height)
    if picture.size != (crop.width, crop.height):
        picture = picture.resize((crop.width, crop.height), Image.Resampling.LANCZOS)
    picture = picture.crop((crop.left, crop.top, crop.left + side, crop.top + side))
    if crop.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = np.array(picture, dtype=np.float32)
    return torch.from_numpy(values / 127.5 - 1.0).permute(2, 0, 1).contiguous()


def check_pictures(pictures: PictureSet, resolution: int) -> None:
    """See that there are pictures, that each has a caption, and that each can be scaled.

    Raises:
        DataError: it is not so.
    """
    if not len(pictures):
        raise DataError("0 pictures are given, at least 1 is needed")
    for index in range(len(pictures)):
        if not pictures.caption(index):
            raise DataError(f"picture {pictures.name(index)} has no caption: give one, or take it out")
        crop = crop_of(pictures.size(index), resolution, Choice(index, 0, 0, False, 0), center=True)
        if crop.width * crop.height > MAX_PIXELS:
            width, height = pictures.size(index)
            raise DataError(
                f"picture {pictures.name(index)} is {width} x {height} pixels, too narrow to be scaled to {resolution} "
                "pixels on its shorter side: crop it"
            )


class Latents:
    """The VAE's posterior of every crop: its mean and its standard deviation.

    What is asked for again and again, crops that cannot move, is computed once and kept; where that is all, the VAE
    leaves memory. Pictures are encoded one at a time, so that their numbers never depend on their neighbours.

    Args:
        vae: an AutoencoderKL.
        pictures: what is learned from.
        resolution: side r of the crops.
        center: crop the middle.
        device: where the VAE runs.
        budget_bytes: of what is kept, in main memory.
    """

    def __init__(
        self,
        vae: Any,
        pictures: PictureSet,
        *,
        resolution: int,
        center: bool,
        device: torch.device,
        budget_bytes: int,
    ) -> None:
        self._vae = vae.to(device).eval().requires_grad_(False)
        self._pictures, self._resolution, self._center = pictures, resolution, center
        self._device, self._budget = device, budget_bytes
        self._kept: dict[_Key, Moments] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[_Key, Future[torch.Tensor]] = {}
        config = vae.config
        side = resolution // 2 ** (len(config.block_out_channels) - 1)
        self.shape = (int(config.latent_channels), side, side)
        self._scale = float(config.scaling_factor)
        self._shift = _per_channel(config, "latents_mean", config.get("shift_factor") or 0.0)
        self._spread = _per_channel(config, "latents_std", 1.0)

    @property
    def is_complete(self) -> bool:
        """Whether all that was prepared is kept and the VAE is gone."""
        return self._vae is None

    def crop(self, choice: Choice) -> Crop:
        """The crop of a sample."""
        return crop_of(self._pictures.size(choice.picture), self._resolution, choice, center=self._center)

    def prepare(self, choices: Iterable[Choice], *, keep_vae: bool, on_progress: OnProgress | None = None) -> None:
        """Encode ahead what is asked for again, as much as may be kept; where that is all, the VAE leaves memory.

        Args:
            choices: all that will ever be asked for, in the order in which they will be.
            keep_vae: keep the VAE in any case.
            on_progress: told (stage, done, total).
        """
        still: dict[_Key, None] = {}
        moves = False
        for choice in choices:
            key = (choice.picture, self.crop(choice))
            if self._cannot_move(key[1]):
                still[key] = None
            else:
                moves = True
        entry_bytes = 2 * 4 * self.shape[0] * self.shape[1] * self.shape[2]
        kept = list(still)[: self._budget // entry_bytes]
        for done, key in enumerate(kept, start=1):
            self._start_ahead(kept[done : done + _WORKERS])
            self._kept[key] = self._encode(key)
            if on_progress is not None:
                on_progress(STAGE, done, len(kept))
        if len(kept) == len(still) and not moves and not keep_vae:
            self._vae = None

    def of(self, choice: Choice, posterior: torch.Tensor) -> torch.Tensor:
        """A latent as the U-Net sees it, (c, h, w): a sample of the posterior, scaled.

        (mean + std * posterior - shift) * scale, or with a VAE that states its latents' mean and spread
        (mean + std * posterior - mean_of_latents) * scale / spread.

        Args:
            choice: the sample's.
            posterior: standard normal numbers (c, h, w) of the sample.
        """
        key = (choice.picture, self.crop(choice))
        mean, std = self._kept.get(key) or self._encode(key)
        return (mean + std * posterior - self._shift) * self._scale / self._spread

    @torch.no_grad()
    def painted(self, latent: torch.Tensor) -> Image.Image:
        """The picture that the VAE makes of a latent (c, h, w) as the U-Net sees it; for a VAE that was kept."""
        device, dtype = self._vae.device, self._vae.dtype
        unscaled = latent.float().cpu() * self._spread / self._scale + self._shift
        with torch.autocast(device.type, enabled=False):  # the VAE of XL overflows in fp16
            answer = self._vae.decode(unscaled[None].to(device, dtype)).sample[0]
        values = ((answer.float().cpu() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return Image.fromarray(values.permute(1, 2, 0).numpy())

    def ahead(self, choices: Iterable[Choice]) -> None:
        """Begin to read and crop, in threads, what will be asked for next."""
        keys = ((choice.picture, self.crop(choice)) for choice in choices)
        self._start_ahead([key for key in keys if key not in self._kept])

    def close(self) -> None:
        """Stop the threads and let go of the pictures."""
        self._ahead = {}
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _cannot_move(self, crop: Crop) -> bool:
        return self._center or crop.width == crop.height

    def _start_ahead(self, keys: Iterable[_Key]) -> None:
        for key in keys:
            if key not in self._ahead:
                self._pool = self._pool or ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1))
                self._ahead[key] = self._pool.submit(self._pixels, key)

    def _pixels(self, key: _Key) -> torch.Tensor:
        return pixels(self._pictures.picture(key[0]), key[1])

    @torch.no_grad()
    def _encode(self, key: _Key) -> Moments:
        waiting = self._ahead.pop(key, None)
        values = self._pixels(key) if waiting is None else waiting.result()
        values = values[None].to(self._device, self._vae.dtype)
        posterior = self._vae.encode(values).latent_dist
        return posterior.mean[0].float().cpu(), posterior.std[0].float().cpu()


def _per_channel(config: Any, name: str, otherwise: float) -> torch.Tensor:
    """Numbers (c, 1, 1) of a VAE's configuration, or one number for all channels."""
    stated = config.get(name)
    return torch.tensor(otherwise if stated is None else stated, dtype=torch.float32).reshape(-1, 1, 1)
