"""A summarizer made of any CLIP: explains pictures in words.

The embedding of a pair is E(second) - E(first) of normalised picture embeddings; a word's direction is
mean over captions of T("a {word} photo of {caption}") - T("a photo of {caption}"), of normalised text embeddings
(paper, images). Knows files of pictures, texts and vectors; never sees a pipeline or a space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from xpert.embedded import EMBEDDED_CLIPS
from xpert.errors import DamagedModelError, MissingModelError, SettingsError
from xpert.models.base_files import check_loaded, refuse_adapter
from xpert.models.headers import strict_json
from xpert.models.loading import check_weights, choose_device
from xpert.models.reference import folder_digest, model_digest, resolve_folder, tokenizer_digest
from xpert.models.remote_code import refuse_code
from xpert.records import PicturePair
from xpert.summarizing.ranking import ranked_words
from xpert.summarizing.summarizer import FloatArray, Progress, Proposal

PLAIN, STYLED = "a photo of {caption}", "a {word} photo of {caption}"
VOCABULARY_FILE = "vocabulary.txt"
VOCABULARY = (
    "abstract", "animated", "antique", "black-and-white", "blue", "blurry", "bright", "cartoonish", "colorful",
    "cool", "cubist", "dark", "detailed", "dreamy", "faded", "flat", "futuristic", "geometric", "glossy", "golden",
    "gothic", "grainy", "green", "hazy", "impressionist", "ink", "minimalist", "monochrome", "moody", "muted", "neon",
    "nostalgic", "orange", "painterly", "pastel", "photorealistic", "pink", "pixelated", "psychedelic", "purple",
    "realistic", "red", "retro", "romantic", "sepia", "sketchy", "soft", "striped", "surreal", "symmetrical",
    "textured", "vibrant", "vintage", "warm", "watercolor", "yellow",
)  # fmt: skip
_SAFE_REVISIONS = {"openai/clip-vit-base-patch32": "refs/pr/15"}
"""Where the hub keeps the safetensors of a model whose main revision has none."""


class Proposer(Protocol):
    """Names candidate words for what sets the second pictures of pairs apart, such as a vision-language model."""

    @property
    def identity(self) -> str:
        """SHA-256 of model and wording."""
        ...

    def propose(
        self, pairs: Sequence[PicturePair], *, limit: int = 24, on_progress: Progress | None = None
    ) -> list[Proposal]:
        """Candidate words, most probable first."""
        ...

    def close(self) -> None:
        """Give the model's memory back; asking again loads it again."""
        ...


@dataclass
class ClipSummarizer:
    """A CLIP as a summarizer of pictures; see `Summarizer` for the law.

    Args:
        model: hub name or folder; a `vocabulary.txt` in the folder is its default vocabulary.
        captions: over which a word's direction is averaged.
        vocabulary: the words that `propose` ranks; None: the folder's, else `VOCABULARY`.
        proposer: proposes words in place of the vocabulary.
        device: auto, cpu, cuda, ...
        batch_size: pictures or texts embedded at once.

    Raises:
        SettingsError: no captions, or an empty vocabulary.
    """

    model: str
    captions: tuple[str, ...]
    vocabulary: tuple[str, ...] | None = None
    proposer: Proposer | None = None
    device: str = "auto"
    batch_size: int = 32
    _known: dict[Path, FloatArray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.captions:
            raise SettingsError("no captions to average a word's direction over: give at least one")
        if self.vocabulary is not None and not self.vocabulary:
            raise SettingsError("the vocabulary is empty: give at least one word")

    @cached_property
    def folder(self) -> Path:
        """Where the model lies.

        Raises:
            MissingModelError: it is not here, and the hub does not give it in safetensors.
        """
        return _clip_folder(str(EMBEDDED_CLIPS.get(self.model, self.model)))

    @property
    def identity(self) -> str:
        """SHA-256 of the model's files, those of its tokenizer and image processor, the frames and the captions."""
        prepared = tokenizer_digest(self.folder), folder_digest(self.folder, ("*processor_config.json",))
        parts = [model_digest(self.folder), *prepared, PLAIN, STYLED, *self.captions]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary in use."""
        if self.vocabulary is not None:
            return self.vocabulary
        file = self.folder / VOCABULARY_FILE
        return tuple(file.read_text("utf-8").split()) if file.is_file() else VOCABULARY

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        """Model, tokenizer and image processor; the latter without torchvision, so that all machines agree."""
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

        file = self.folder / "config.json"
        try:
            config = strict_json(file.read_bytes(), str(file))
        except OSError as error:
            raise MissingModelError(f"CLIP {self.folder} is not complete ({error}): download it again") from error
        if config.get("model_type") != "clip":
            raise DamagedModelError(
                f"{self.folder} is a {config.get('model_type')!r} model, a CLIP is needed: give one, such as "
                "openai/clip-vit-base-patch32"
            )
        refuse_code(self.folder)
        refuse_adapter(self.folder)
        device: Any = choose_device(self.device)
        try:
            read: Any = CLIPModel.from_pretrained(
                self.folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
            processor = CLIPImageProcessorPil.from_pretrained(self.folder, trust_remote_code=False)
        except OSError as error:
            raise MissingModelError(f"CLIP {self.folder} is not complete ({error}): download it again") from error
        except Exception as error:  # damage shows as many things
            raise DamagedModelError(f"CLIP {self.folder} cannot be read ({error}): download it again") from error
        model, report = read
        check_weights(model, report["missing_keys"], self.folder)
        check_loaded(model, report, self.folder)
        return model.to(device).eval(), tokenizer, processor

    @property
    def width(self) -> int:
        """d: width of CLIP's shared space."""
        return int(self._parts[0].config.projection_dim)

    def embed(self, pairs: Sequence[PicturePair], *, on_progress: Progress | None = None) -> FloatArray:
        """E(response) - E(reference) of normalised picture embeddings, shape (n, d)."""
        seconds = self._pictures([pair.response for pair in pairs], on_progress)
        firsts = self._pictures([pair.reference for pair in pairs])
        return seconds - firsts

    def propose(self, pairs: Sequence[PicturePair], *, limit: int = 24) -> list[Proposal]:
        """Words of the proposer, or of the vocabulary by softmax of their cosine with the mean embedding."""
        if self.proposer is not None:
            return self.proposer.propose(pairs, limit=limit)
        words = self.words
        return ranked_words(self.embed(pairs).mean(0), words, self.word_vectors(words), limit)

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        """Mean over captions of T("a {word} photo of {caption}") - T("a photo of {caption}"), shape (k, d)."""
        if not words:
            return np.zeros((0, self.width))
        plain = self._texts([PLAIN.format(caption=caption) for caption in self.captions])
        rows = []
        for word in words:
            styled = self._texts([STYLED.format(word=word, caption=caption) for caption in self.captions])
            rows.append((styled - plain).mean(0))
        return np.stack(rows)

    def _texts(self, texts: Sequence[str]) -> FloatArray:
        model, tokenizer, _ = self._parts
        rows = []
        for start in range(0, len(texts), self.batch_size):
            inputs = tokenizer(
                list(texts[start : start + self.batch_size]), padding="max_length", truncation=True,
                max_length=model.config.text_config.max_position_embeddings, return_tensors="pt",
            ).to(model.device)  # fmt: skip
            with torch.inference_mode():
                rows.append(model.get_text_features(**inputs).pooler_output)
        return _normalised(rows)

    def _pictures(self, files: Sequence[Path], on_progress: Progress | None = None) -> FloatArray:
        """Normalised embeddings of picture files, each read once in the life of this summarizer."""
        from xpert.data.decoding import read_picture_file

        model, _, processor = self._parts
        waiting = [file for file in dict.fromkeys(files) if file not in self._known]
        for start in range(0, len(waiting), self.batch_size):
            batch = waiting[start : start + self.batch_size]
            pictures = [read_picture_file(file) for file in batch]
            inputs = processor(images=pictures, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                rows = _normalised([model.get_image_features(**inputs).pooler_output])
            self._known |= dict(zip(batch, rows, strict=True))
            if on_progress is not None:
                on_progress("embedding", len(files) - len(waiting) + start + len(batch), len(files))
        if on_progress is not None and not waiting:
            on_progress("embedding", len(files), len(files))
        return np.stack([self._known[file] for file in files]) if files else np.zeros((0, self.width))


def _clip_folder(model: str) -> Path:
    """The folder of a CLIP; of a hub name, a revision that holds safetensors."""
    folder = resolve_folder(model)
    if any(folder.glob("*.safetensors")) or Path(model).expanduser().is_dir():
        return folder
    if model in _SAFE_REVISIONS:
        folder = resolve_folder(model, _SAFE_REVISIONS[model])
    if not any(folder.glob("*.safetensors")):
        raise MissingModelError(
            f"{model} holds no .safetensors file on the hub, and pickled weights are refused: give a CLIP with "
            "safetensors, or a folder of one that `save_pretrained` wrote"
        )
    return folder


def _normalised(rows: list[torch.Tensor]) -> FloatArray:
    whole = torch.cat(rows).double()
    return np.asarray((whole / whole.norm(dim=-1, keepdim=True)).cpu().numpy(), dtype=np.float64)
