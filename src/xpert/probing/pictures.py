"""Picture pairs of a diffusion pipeline, and of a person: the same captions, the same noise.

Knows pipelines and files; never sees a summarizer. One pipeline is in memory at a time: the base paints everything
that is asked of it, then it goes, then a personalized one comes. Every picture is kept under the digest of who painted
it and how, so an interrupted run goes on where it was and a second one paints nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from xpert.errors import DataError, ModelError, StorageError
from xpert.models.generation import Progress
from xpert.models.image_adapters import check_image_fit, inspect_image_adapter
from xpert.models.opened import LoadedPipeline, open_pipeline
from xpert.models.pipelines import check_pipeline, is_pipeline, pipeline_digest, resolve_pipeline
from xpert.models.reference import ModelReference
from xpert.records import PicturePair

_SEED_BITS = 63


@dataclass(frozen=True, slots=True)
class PaintSettings:
    """How captions are painted; part of an explanation's identity.

    Attributes:
        steps: denoising steps.
        guidance_scale: weight of the caption (classifier-free guidance); 1 is none.
        resolution: width and height in pixels; None: what the pipeline was made for.
        seed: of the noise.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    resolution: int | None = None
    seed: int = 0

    def digest(self, captions: Sequence[str]) -> str:
        """SHA-256 of the captions and of how they are painted."""
        return hashlib.sha256(json.dumps([list(captions), asdict(self)]).encode()).hexdigest()

    def noise_seeds(self, captions: Sequence[str], draw: int = 0) -> list[int]:
        """One seed a caption: of the settings' seed, the caption, how often it came before, and the draw.

        It does not depend on the other captions, and base and personalized pipelines share it.
        """
        seen: Counter[str] = Counter()
        seeds = []
        for caption in captions:
            key = json.dumps([self.seed, caption, seen[caption], draw])
            seeds.append(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> (64 - _SEED_BITS))
            seen[caption] += 1
        return seeds


def picture_folder() -> Path:
    """Where painted pictures are kept: $XPERT_CACHE/pictures, by default in ~/.cache/xpert."""
    return Path(os.environ.get("XPERT_CACHE") or Path.home() / ".cache" / "xpert") / "pictures"


def paint(
    loaded: LoadedPipeline,
    jobs: Sequence[tuple[str, int, Path]],
    settings: PaintSettings,
    *,
    batch_size: int,
    stage: str = "painting",
    on_progress: Progress | None = None,
) -> None:
    """Paint captions into files; what is there already is left as it is.

    The noise of every picture comes from a generator of its own on the CPU, so it depends neither on the batch nor on
    the device.

    Args:
        loaded: the pipeline.
        jobs: caption, seed of the noise, file to write.
        settings: how.
        batch_size: pictures painted at once.
        stage: what progress calls it.
        on_progress: called with (stage, done, total).

    Raises:
        ModelError: the pipeline fails or paints what is no picture.
        StorageError: the disk refused.
    """
    missing = [job for job in jobs if not job[2].is_file()]
    done = len(jobs) - len(missing)
    side = settings.resolution or loaded.resolution
    for start in range(0, len(missing), batch_size):
        if on_progress is not None:
            on_progress(stage, done + start, len(jobs))
        batch = missing[start : start + batch_size]
        try:
            pictures = loaded.pipeline(
                [caption for caption, _, _ in batch],
                num_inference_steps=settings.steps,
                guidance_scale=settings.guidance_scale,
                height=side,
                width=side,
                generator=[torch.Generator("cpu").manual_seed(seed) for _, seed, _ in batch],
            ).images
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{loaded.folder} could not paint {batch[0][0]!r} at {side} x {side} ({error}): check the resolution, "
                "or use a smaller batch"
            ) from error
        for (_, _, file), picture in zip(batch, pictures, strict=True):
            save_picture(picture, file)
    if on_progress is not None:
        on_progress(stage, len(jobs), len(jobs))


def save_picture(picture: Any, file: Path) -> None:
    """Write a PNG whole or not at all.

    Raises:
        StorageError: the disk refused.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(temporary, format="PNG")
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"{file} cannot be written ({error.strerror or error}): free space, or give another folder for pictures"
        ) from error


@dataclass
class PictureProber:
    """A base pipeline and the captions that it and its personalized models paint.

    Args:
        base: the pipeline, without adapter.
        captions: what is asked.
        settings: how it is painted.
        folder: where pictures are kept.
        device: auto, cpu, cuda, ...
        batch_size: pictures painted at once; no part of the identity.
    """

    base: ModelReference
    captions: tuple[str, ...]
    settings: PaintSettings
    folder: Path
    device: str = "auto"
    batch_size: int = 4
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.captions:
            raise DataError("no captions to paint: give at least one")

    @property
    def digest(self) -> str:
        """SHA-256 of the captions and of how they are painted."""
        return self.settings.digest(self.captions)

    @property
    def base_digest(self) -> str:
        """SHA-256 of the base pipeline."""
        if "base" not in self._digests:
            self._digests["base"] = pipeline_digest(resolve_pipeline(self.base.model, self.base.revision))
        return self._digests["base"]

    def references(self, on_progress: Progress | None = None) -> list[Path]:
        """The base's pictures of the captions."""
        return self._paint(None, self.captions, 0, on_progress)

    def null_pairs(self, on_progress: Progress | None = None) -> list[PicturePair]:
        """The base against itself with other noise."""
        again = self._paint(None, self.captions, 1, on_progress)
        return _pair_up(self.captions, self.references(on_progress), again)

    def adapter_pairs(self, adapter: Path, on_progress: Progress | None = None) -> list[PicturePair]:
        """Base and personalized pipeline side by side, from the same noise."""
        self.check(adapter)
        references = self.references(on_progress)
        return _pair_up(self.captions, references, self._paint(adapter, self.captions, 0, on_progress))

    def check(self, adapter: Path) -> None:
        """See that a personalized model can be opened on the base, before anything is painted.

        Raises:
            MissingModelError, DamagedModelError: it, or the base, cannot be read.
            MismatchError: it belongs to another base.
        """
        base = resolve_pipeline(self.base.model, self.base.revision)
        check_image_fit(inspect_image_adapter(adapter), base)
        if is_pipeline(adapter):
            check_pipeline(adapter)

    def person_pairs(
        self, captions: Sequence[str], pictures: Sequence[Path], on_progress: Progress | None = None
    ) -> list[PicturePair]:
        """A person's pictures beside what the base paints for the same captions.

        Raises:
            DataError: there is no picture.
        """
        if not pictures:
            raise DataError("no pictures to explain: give at least one")
        return _pair_up(captions, self._paint(None, captions, 0, on_progress), pictures)

    def _paint(
        self, adapter: Path | None, captions: Sequence[str], draw: int, on_progress: Progress | None
    ) -> list[Path]:
        """Files of the pictures; a whole pipeline paints with its own parts, anything else on the base."""
        who, reference = self.base_digest, self.base
        if adapter is not None and is_pipeline(adapter):
            who, reference = pipeline_digest(adapter), ModelReference(str(adapter))
        elif adapter is not None:
            who += inspect_image_adapter(adapter).digest
            reference = ModelReference(self.base.model, str(adapter), self.base.revision)
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        room = self.folder / hashlib.sha256(f"{who}\0{settings}".encode()).hexdigest()[:32]
        seeds = self.settings.noise_seeds(captions, draw)
        files = [room / f"{seed:016x}.png" for seed in seeds]
        if all(file.is_file() for file in files):
            return files
        with open_pipeline(reference, device=self.device) as loaded:
            paint(
                loaded,
                list(zip(captions, seeds, files, strict=True)),
                self.settings,
                batch_size=self.batch_size,
                stage="painting, base" if adapter is None else "painting, personalized",
                on_progress=on_progress,
            )
        return files


def _pair_up(captions: Sequence[str], references: Sequence[Path], responses: Sequence[Path]) -> list[PicturePair]:
    return [PicturePair(c, a, b) for c, a, b in zip(captions, references, responses, strict=True)]
