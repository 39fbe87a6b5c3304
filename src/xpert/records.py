"""Frozen values that cross rooms and the wire. No torch, no I/O.

Legend: n pairs, d width of an embedding, k words of a space.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from xpert.printing import printable

Shown = Annotated[str, AfterValidator(printable)]
"""Text that comes from others and is shown: without characters that act on a terminal."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One piece of personal data: what was asked (None for plain text) and what the person wrote."""

    prompt: str | None
    response: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a person: its caption (None where there is none) and its file."""

    caption: str | None
    file: Path


@dataclass(frozen=True, slots=True)
class OutputPair:
    """What two writers answered to one prompt: `reference` is the base model's text."""

    prompt: str
    reference: str
    response: str


@dataclass(frozen=True, slots=True)
class PicturePair:
    """What two image models painted for one caption from the same noise, or a person's picture beside the base's.

    `reference` is the file of the base model's picture, `response` that of the other.
    """

    prompt: str
    reference: Path
    response: Path


class Record(BaseModel):
    """A frozen value with a JSON form (`model_dump_json`, `model_validate_json`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WordCoefficient(Record):
    """One word of an explanation.

    Attributes:
        word: lower-case adjective.
        coefficient: z_k, not negative; 1.0 is about as much of the word as a text rewritten in that style has.
        low: lower end of the bootstrap interval over prompts.
        high: upper end of it.
        floor: what z_k reaches when the base is compared with itself.
    """

    word: Shown
    coefficient: float
    low: float
    high: float
    floor: float = Field(ge=0)

    @property
    def above_noise(self) -> bool:
        """True when the coefficient is farther from zero than the noise floor."""
        return abs(self.coefficient) > self.floor


class Digests(Record):
    """What an explanation was made with; two explanations compare only where base, summarizer and space agree."""

    base: str
    summarizer: str
    prompts: str
    space: str


class Explanation(Record):
    """Coefficients over the words of a space, for a model or a person alike.

    Attributes:
        words: one entry a word, in the order of the space.
        residual: share of the embedding's length that no word explains, 0 to 1.
        pairs: number n of output pairs.
        noise: how far the base lies from itself in the direction of this embedding, at this n.
        coordinates: position along the axes of the space, in units of a full style: the words' span, then what no
            word says; shape (m,).
        interval: level of the bootstrap interval, e.g. 0.95.
        digests: what it was made with.
    """

    words: tuple[WordCoefficient, ...]
    residual: float = Field(ge=0)
    pairs: int = Field(ge=1)
    noise: float = Field(ge=0)
    coordinates: tuple[float, ...] = ()
    interval: float = Field(gt=0, lt=1)
    digests: Digests

    @property
    def coefficients(self) -> tuple[float, ...]:
        """z, in the order of the space; shape (k,)."""
        return tuple(w.coefficient for w in self.words)

    @property
    def position(self) -> tuple[float, ...]:
        """What distances are measured between: the coordinates; the coefficients where there are none."""
        return self.coordinates or self.coefficients

    def strongest(self, count: int = 3) -> tuple[WordCoefficient, ...]:
        """The largest positive words that stand above the noise floor, largest first."""
        rising = [w for w in self.words if w.coefficient > 0 and w.above_noise]
        return tuple(sorted(rising, key=lambda w: (-w.coefficient, w.word))[:count])


class PoolRecord(Record):
    """One pLLM of a pool. The adapter's bytes lie under its digest; the row holds the rest.

    Attributes:
        name: unique in its pool; letters, digits, dot, dash and underscore.
        adapter: SHA-256 over the adapter's files.
        base: digest of the base model that the adapter belongs to.
        base_name: name or folder of that base, for people.
        rank: LoRA rank r; 0 where all weights of a U-Net are kept.
        target_modules: sorted names of the adapted layers; empty where it is all of them.
        size_bytes: bytes of all files.
        created: ISO 8601, UTC.
        explanation: None until explained.
        note: free text from the model card, shown to people, never interpreted.
        card: SHA-256 of the card beside the adapter; None where it has none, or was added before this was kept.
    """

    name: Shown
    adapter: Shown
    base: Shown
    base_name: Shown
    rank: int
    target_modules: tuple[Shown, ...]
    size_bytes: int
    created: Shown
    explanation: Explanation | None = None
    note: Shown = ""
    card: Shown | None = None


class Ranked(Record):
    """One candidate of a selection.

    Attributes:
        name: name in the pool.
        distance: 1 - cosine between the coordinates of person and pLLM, each axis weighed by its spread over the
            candidates: smaller is nearer in kind.
        gap: ||cu - ci||, in units of a full style.
        gain: ||cu|| - gap: how much nearer than the base it lies; negative is worse than the base.
    """

    name: str
    distance: float
    gap: float
    gain: float


class Selection(Record):
    """Where to start, and why.

    Attributes:
        choice: name of the chosen pLLM; None: start from the base.
        ranking: all candidates, nearest first.
        margin: distance of the second minus distance of the first; 0 with fewer than two.
        noise: gain that the base reaches against itself; a choice must gain more.
        reason: one sentence for people.
        person: the explanation of the person's data.
        reference: how the reference answers were made.
    """

    choice: str | None
    ranking: tuple[Ranked, ...]
    margin: float
    noise: float
    reason: str
    person: Explanation
    reference: Literal["prompts", "continuation", "none"] = "prompts"


class Combination(Record):
    """Models to merge for a person.

    Attributes:
        weights: name -> weight, largest first; one entry is a single model, none the base alone.
        distance: ||cu - sum_i a_i ci||, predicted, in units of a full style.
        gain: ||cu|| - distance: how much nearer than the base the sum lies.
        coordinates: sum_i a_i ci, the predicted position.
    """

    weights: dict[str, float]
    distance: float
    gain: float
    coordinates: tuple[float, ...]


class MeasuredCombination(Record):
    """A merge that was made and explained.

    Attributes:
        plan: its weights, with what was predicted of them.
        measured: the explanation of the merge.
        distance: ||cu - c||, measured, in units of a full style; the plan has the predicted one.
        missing: how far its words are from the person's in kind: 1 - cosine, the noise added to the length.
    """

    plan: Combination
    measured: Explanation
    distance: float
    missing: float
