"""Picture pairs of a diffusion pipeline, and of a person: the same captions, the same noise.

Knows pipelines and files; never sees a summarizer. One pipeline is in memory at a time: the base paints everything
that is asked of it, then it goes, then a personalized one comes. Every picture is kept under the digest of who painted
it and how, so an interrupted run resumes where it was and a second one paints nothing; what is painted for a person's
captions goes with the prober.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xpert.embedded import EMBEDDED_PIPELINES, cache_folder
from xpert.errors import DamagedModelError, DataError, ModelError
from xpert.models.generation import Progress
from xpert.models.headers import strict_json
from xpert.models.image_adapters import check_image_fit, inspect_image_adapter
from xpert.models.loading import choose_device, choose_dtype
from xpert.models.opened import LoadedPipeline, open_pipeline
from xpert.models.pipelines import check_pipeline, is_pipeline, pipeline_digest, resolve_pipeline
from xpert.models.reference import ModelReference
from xpert.probing.painted import is_painted, save_picture
from xpert.records import PicturePair
from xpert.writing import private_folder

PAINTING_FILE = "painting.json"
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


def usual_settings(base: str) -> PaintSettings:
    """How a base is painted with where nothing else is said: by `painting.json` in its folder, else by the defaults.

    A small base needs it: with a guidance of 7.5 its colours turn over.

    Args:
        base: name or folder of the pipeline.

    Raises:
        DamagedModelError: the file is there and says something else than steps and guidance_scale.
    """
    file = EMBEDDED_PIPELINES.get(base, Path(base).expanduser()) / PAINTING_FILE
    if not file.is_file():
        return PaintSettings()
    stated = strict_json(file.read_bytes(), str(file))
    steps, guidance = stated.get("steps"), stated.get("guidance_scale")
    if stated.keys() != {"steps", "guidance_scale"} or type(steps) is not int or not isinstance(guidance, int | float):
        raise DamagedModelError(f"{file} must hold steps and guidance_scale, two numbers, and nothing else: correct it")
    return PaintSettings(steps, float(guidance))


def picture_folder() -> Path:
    """Where painted pictures are kept, in XPerT's cache."""
    return cache_folder() / "pictures"


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
        batch_size: pictures painted at once; halved where memory runs out.
        stage: what progress calls it.
        on_progress: called with (stage, done, total).

    Raises:
        ModelError: the pipeline fails, paints what is no picture, or needs more memory than there is.
        StorageError: the disk refused.
    """
    missing = [job for job in jobs if not is_painted(job[2])]
    done = len(jobs) - len(missing)
    start = 0
    while start < len(missing):
        if on_progress is not None:
            on_progress(stage, done + start, len(jobs))
        batch = missing[start : start + batch_size]
        pictures = _painted(loaded, batch, settings)
        if pictures is None:
            batch_size = len(batch) // 2
            if loaded.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        for (_, _, file), picture in zip(batch, pictures, strict=True):
            save_picture(picture, file)
        start += len(batch)
    if on_progress is not None:
        on_progress(stage, len(jobs), len(jobs))


def _painted(loaded: LoadedPipeline, batch: Sequence[tuple[str, int, Path]], settings: PaintSettings) -> Any:
    """The pictures of a batch; None where memory ran out and a smaller batch may fit."""
    side = settings.resolution or loaded.resolution
    try:
        values = loaded.pipeline(
            [caption for caption, _, _ in batch],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            height=side,
            width=side,
            generator=[torch.Generator("cpu").manual_seed(seed) for _, seed, _ in batch],
            output_type="np",
        ).images
    except (RuntimeError, ValueError) as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()):
            raise ModelError(
                f"{loaded.folder} could not paint {len(batch)} captions at {side} x {side} ({error}): check the "
                "resolution, or use a smaller batch"
            ) from error
        if len(batch) == 1:
            raise ModelError(
                f"{loaded.folder} needs more memory than {loaded.device} has, to paint one picture at {side} x {side}: "
                "use another device, such as cpu, or a smaller pipeline"
            ) from error
        return None
    for (caption, _, _), value in zip(batch, values, strict=True):
        if not np.isfinite(value).all():
            raise ModelError(
                f"{loaded.folder} paints numbers that are not finite for a caption ({len(caption)} characters): it is "
                "damaged or its training diverged, or its numbers overflow on this device: use another device, such "
                "as cpu, or tune again with a smaller learning rate"
            )
    return loaded.pipeline.image_processor.numpy_to_pil(values)


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
    _people: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False, repr=False)

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

        What the base paints for them is kept as long as this object and no longer, since it tells of the person's
        captions; pictures that are in the folder already are read from there.

        Raises:
            DataError: there is no picture.
        """
        if not pictures:
            raise DataError("no pictures to explain: give at least one")
        if self._people is None:
            self._people = tempfile.TemporaryDirectory(prefix="xpert-people-")
        return _pair_up(captions, self._paint(None, captions, 0, on_progress, Path(self._people.name)), pictures)

    def _paint(
        self,
        adapter: Path | None,
        captions: Sequence[str],
        draw: int,
        on_progress: Progress | None,
        fresh: Path | None = None,
    ) -> list[Path]:
        """Files of the pictures; a whole pipeline paints with its own parts, anything else on the base.

        What is not there yet is painted into `fresh`, by default among those that are kept.
        """
        who, reference = self.base_digest, self.base
        if adapter is not None and is_pipeline(adapter):
            who, reference = pipeline_digest(adapter), ModelReference(str(adapter))
        elif adapter is not None:
            who += inspect_image_adapter(adapter).digest
            reference = ModelReference(self.base.model, str(adapter), self.base.revision)
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        dtype = choose_dtype(choose_device(self.device))
        room = self.folder / hashlib.sha256(f"{who}\0{settings}\0{dtype}".encode()).hexdigest()[:32]
        seeds = self.settings.noise_seeds(captions, draw)
        files = [room / f"{seed:016x}.png" for seed in seeds]
        if fresh is not None:
            files = [file if is_painted(file) else fresh / file.name for file in files]
        if all(is_painted(file) for file in files):
            return files
        private_folder(self.folder)
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
