"""Which picture, crop, caption, timestep and noise every sample of a run has: pure functions of the seed.

Knows numbers only; never sees pictures, captions or models. Nothing here has a state, so a run is the same however it
is cut into batches, processes and interruptions:

    position p = 0, 1, 2, ... over the whole run;  epoch e = p // n,  place i = p % n  of n pictures
    picture(p) = randperm(n; seed, e)[i]
    everything else of p is drawn from one generator on the CPU, seeded by (seed, p), in this order:
        1. rand(4): crop from the top, crop from the left, flip (below 0.5), which of several captions
        2. randint(T): the timestep
        3. randn(c, h, w): what the VAE's posterior is sampled with
        4. randn(c, h, w): the noise of the diffusion
        5. randn(c, 1, 1): the noise offset, where there is one
        6. randn(c, h, w): the input perturbation, where there is one

Legend: n pictures, T timesteps, (c, h, w) shape of a latent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from xpert.tuning.diffusion_settings import DiffusionSettings


def seeded(seed: int, what: str, number: int) -> torch.Generator:
    """A generator on the CPU, seeded by the first 8 bytes of SHA-256 over "{seed}/{what}/{number}"."""
    digest = hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The pictures of an epoch in the order in which they are seen."""
    return torch.randperm(count, generator=seeded(seed, "epoch", epoch)).tolist()


def sample_generator(seed: int, position: int) -> torch.Generator:
    """What everything of the sample at a position is drawn from, in the order above."""
    return seeded(seed, "sample", position)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sample is made of.

    Attributes:
        picture: its number.
        top: where it is cropped, as a share of the room there is, 0 to below 1.
        left: likewise.
        flip: whether it is mirrored.
        caption: which of its captions, as a share of their number.
    """

    picture: int
    top: float
    left: float
    flip: bool
    caption: float


@dataclass(frozen=True, slots=True)
class Draws:
    """What a sample is learned with; `offset` and `perturbation` are None where the settings want none."""

    timestep: int
    posterior: torch.Tensor
    noise: torch.Tensor
    offset: torch.Tensor | None
    perturbation: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Crop:
    """How a picture becomes a square: scaled to (width, height), cropped at (top, left), then mirrored or not."""

    width: int
    height: int
    top: int
    left: int
    flip: bool

    @property
    def corner(self) -> tuple[int, int]:
        """(top, left) of the crop in the picture as it is seen, which is mirrored as a whole."""
        side = min(self.width, self.height)
        return self.top, self.width - side - self.left if self.flip else self.left


def crop_of(size: tuple[int, int], resolution: int, choice: Choice, *, center: bool) -> Crop:
    """The crop of a picture: the shorter side scaled to `resolution`, the longer one cropped.

    Args:
        size: (width, height) of the picture.
        resolution: side of the square, in pixels.
        choice: where it is cropped, unless `center`.
        center: crop the middle.
    """
    width, height = size
    if width <= height:
        width, height = resolution, int(resolution * height / width)
    else:
        width, height = int(resolution * width / height), resolution
    down, right = height - resolution, width - resolution
    if center:
        return Crop(width, height, round(down / 2), round(right / 2), choice.flip)
    top, left = min(down, int(choice.top * (down + 1))), min(right, int(choice.left * (right + 1)))
    return Crop(width, height, top, left, choice.flip)


class PicturePlan:
    """Which samples each step of a run learns from.

    Args:
        count: number of pictures, at least one.
        settings: of the run.
        processes: that share a step.
    """

    def __init__(self, count: int, settings: DiffusionSettings, processes: int = 1) -> None:
        self._count, self._settings, self._processes = count, settings, processes
        self._order = (0, epoch_order(count, settings.seed, 0))
        self.samples_a_step = settings.batch_size * settings.accumulation_steps * processes
        self.steps = settings.steps(count, processes)

    def positions(self, step: int, part: int, process: int = 0) -> range:
        """Positions of the samples of one forward pass.

        Args:
            step: counted from 0.
            part: which of the step's forward passes, counted from 0.
            process: which process.
        """
        size = self._settings.batch_size
        first = step * self.samples_a_step + (part * self._processes + process) * size
        return range(first, first + size)

    def choice(self, position: int) -> Choice:
        """The first of a sample's draws."""
        return self._choice(position, sample_generator(self._settings.seed, position))

    def choices(self) -> Iterator[Choice]:
        """Those of the whole run."""
        return (self.choice(position) for position in range(self.steps * self.samples_a_step))

    def draws(self, position: int, latent: tuple[int, int, int], timesteps: int) -> tuple[Choice, Draws]:
        """All that is drawn for a sample.

        Args:
            position: of the sample.
            latent: shape (c, h, w) of a latent.
            timesteps: number T of timesteps.
        """
        generator = sample_generator(self._settings.seed, position)
        choice = self._choice(position, generator)
        timestep = int(torch.randint(timesteps, (1,), generator=generator))
        posterior, noise = (torch.randn(latent, generator=generator) for _ in range(2))
        offset = torch.randn((latent[0], 1, 1), generator=generator) if self._settings.noise_offset else None
        perturbation = torch.randn(latent, generator=generator) if self._settings.input_perturbation else None
        return choice, Draws(timestep, posterior, noise, offset, perturbation)

    def pictures_seen(self, steps: int) -> int:
        """How many different pictures the first `steps` steps learn from."""
        return min(self._count, steps * self.samples_a_step)

    def _choice(self, position: int, generator: torch.Generator) -> Choice:
        epoch, place = divmod(position, self._count)
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._count, self._settings.seed, epoch))
        top, left, flip, caption = torch.rand(4, generator=generator).tolist()
        return Choice(self._order[1][place], top, left, self._settings.random_flip and flip < 0.5, caption)
