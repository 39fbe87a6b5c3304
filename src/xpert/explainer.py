"""One base, one summarizer, one space: everything that explains adapters and people alike.

The server explains adapters with it, the device explains samples or pictures; all call the same `explain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, Protocol

from typing_extensions import TypeVar

from xpert.errors import DataError, MismatchError, SpaceError
from xpert.explaining import explain
from xpert.models.generation import Progress
from xpert.models.loading import LoadedModel, personalized
from xpert.probing.pictures import PictureProber
from xpert.probing.prompts import default_prompts
from xpert.probing.text import ProbeSettings, answer, draw_samples, pair_person, pair_up
from xpert.records import Explanation, OutputPair, Picture, PicturePair, Sample
from xpert.space.basis import Space
from xpert.summarizing.summarizer import Summarizer

PairT = TypeVar("PairT", default=OutputPair)
PairOut = TypeVar("PairOut", covariant=True, default=OutputPair)

PERSON_SAMPLES = 50


class AdapterProber(Protocol[PairOut]):
    """A base model and what it and its personalized models are asked: prompts for texts, captions for pictures."""

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked and of how it is answered."""
        ...

    @property
    def base_digest(self) -> str:
        """SHA-256 of the base model."""
        ...

    def null_pairs(self, on_progress: Progress | None = None) -> Sequence[PairOut]:
        """The base against itself, another draw: what noise looks like."""
        ...

    def adapter_pairs(self, adapter: Path, on_progress: Progress | None = None) -> Sequence[PairOut]:
        """Base and personalized model side by side."""
        ...


@dataclass
class Prober:
    """A base model and the prompts that it and its pLLMs answer; the base answers once.

    Args:
        base: loaded without adapter.
        prompts: what is asked.
        settings: how it is answered.
    """

    base: LoadedModel
    prompts: tuple[str, ...] = field(default_factory=default_prompts)
    settings: ProbeSettings = field(default_factory=ProbeSettings)
    _references: list[str] | None = field(default=None, init=False, repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the prompts and of how they are answered."""
        return self.settings.digest(self.prompts)

    @property
    def base_digest(self) -> str:
        """SHA-256 of the base model."""
        return self.base.digest

    def references(self, on_progress: Progress | None = None) -> list[str]:
        """The base model's answers, made once: all prompts, as often as the settings say."""
        if self._references is None:
            self._references = self._answers(self.base, 0, on_progress)
        return self._references

    def null_pairs(self, on_progress: Progress | None = None) -> list[OutputPair]:
        """The base against itself, another draw: what noise looks like."""
        again = self._answers(self.base, 1, on_progress)
        return pair_up(self.prompts * self.settings.draws, self.references(on_progress), again)

    def adapter_pairs(self, adapter: Path, on_progress: Progress | None = None) -> list[OutputPair]:
        """Base and pLLM side by side; an adapter is switched on and off on the base in memory, a whole model loaded."""
        references = self.references(on_progress)
        with personalized(self.base, adapter) as model:
            responses = self._answers(model, 0, on_progress)
        return pair_up(self.prompts * self.settings.draws, references, responses)

    def _answers(self, model: LoadedModel, offset: int, on_progress: Progress | None) -> list[str]:
        """Every prompt answered `draws` times; an odd offset gives draws that no even one has."""
        seeds = (2 * draw + offset for draw in range(self.settings.draws))
        drawn = (answer(model, self.prompts, self.settings, seed_offset=s, on_progress=on_progress) for s in seeds)
        return [text for texts in drawn for text in texts]


@dataclass
class AdapterExplainer(Generic[PairT]):
    """Explains adapters of one base in one space.

    Raises:
        MismatchError: the space was built over another base or other prompts.
    """

    prober: AdapterProber[PairT]
    summarizer: Summarizer[PairT]
    space: Space

    def __post_init__(self) -> None:
        if self.space.base != self.prober.base_digest:
            raise MismatchError(
                f"the space was built over base {self.space.base[:12]}, the loaded base is "
                f"{self.prober.base_digest[:12]}: load the pool's own base, or rebuild with `xpert pool reindex`"
            )
        if self.space.prompts != self.prober.digest:
            raise MismatchError(
                f"the space was built with prompts {self.space.prompts[:12]}, these are {self.prober.digest[:12]}: "
                "use the pool's own prompts, or rebuild with `xpert pool reindex`"
            )

    def explain_adapter(self, adapter: Path, *, on_progress: Progress | None = None) -> Explanation:
        """Explain a personalized model by what it answers to the probe prompts."""
        pairs = self.prober.adapter_pairs(adapter, on_progress)
        return explain(pairs, self.summarizer, self.space, prompts=self.prober.digest, on_progress=on_progress)


@dataclass
class Explainer(AdapterExplainer):
    """Explains adapters of a language model, and people who write."""

    prober: Prober

    def explain_samples(
        self,
        samples: Sequence[Sample],
        *,
        limit: int = PERSON_SAMPLES,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> tuple[Explanation, Literal["prompts", "continuation"]]:
        """Explain a person by at most `limit` samples; also says how the reference answers were made."""
        drawn = draw_samples(samples, limit, seed)
        pairs = pair_person(self.prober.base, drawn, self.prober.settings, on_progress=on_progress)
        digest = self.prober.settings.digest([pair.prompt for pair in pairs])
        explanation = explain(pairs, self.summarizer, self.space, prompts=digest, on_progress=on_progress)
        return explanation, "prompts" if drawn[0].prompt is not None else "continuation"


@dataclass
class PictureExplainer(AdapterExplainer[PicturePair]):
    """Explains adapters of a diffusion pipeline, and people by their pictures.

    Raises:
        SpaceError: the space was built with another encoder; found before anything is painted.
    """

    prober: PictureProber

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.summarizer.width != self.space.width:
            raise SpaceError(
                f"the encoder's embeddings have {self.summarizer.width} numbers, the space expects {self.space.width}: "
                "use the pool's own encoder, or rebuild with `xpert pool reindex --clip MODEL`"
            )
        if self.summarizer.identity != self.space.summarizer:
            raise SpaceError(
                f"the space was built with encoder {self.space.summarizer[:12]}, this one is "
                f"{self.summarizer.identity[:12]}: use the pool's own encoder, or rebuild with `xpert pool reindex`"
            )

    def person_pairs(
        self, pictures: Sequence[Picture], *, on_progress: Progress | None = None
    ) -> Sequence[PicturePair]:
        """A person's pictures beside what the base paints for the same captions.

        Raises:
            DataError: no picture, or one without a caption.
        """
        captions = []
        for picture in pictures:
            if not picture.caption:
                raise DataError(
                    f"picture {picture.file.name} has no caption, and the base must paint the same thing: give "
                    "captions in a metadata.jsonl, or a vision-language model that writes them (--vision)"
                )
            captions.append(picture.caption)
        return self.prober.person_pairs(captions, [picture.file for picture in pictures], on_progress)

    def explain_pictures(self, pictures: Sequence[Picture], *, on_progress: Progress | None = None) -> Explanation:
        """Explain a person by their pictures."""
        pairs = self.person_pairs(pictures, on_progress=on_progress)
        digest = self.prober.settings.digest([pair.prompt for pair in pairs])
        return explain(pairs, self.summarizer, self.space, prompts=digest, on_progress=on_progress)
