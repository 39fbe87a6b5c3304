"""Words and captions from any model that reads pictures and text: what sets the second picture of a pair apart.

Knows transformers and the wording; never sees a space and makes no embedding of a pair. No code that comes with a model
is run, nothing but a picture's pixels is shown to it, and its weights are read when it is first asked.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from xpert.errors import DamagedModelError, DataError, MissingModelError, ModelError, SettingsError
from xpert.models.base_files import check_base_files, check_loaded
from xpert.models.headers import strict_json
from xpert.models.loading import check_weights, choose_device, choose_dtype
from xpert.models.reference import folder_digest, model_digest, resolve_folder, tokenizer_digest
from xpert.models.remote_code import refuse_code
from xpert.models.token_tables import fit_tokenizer, fresh_generation_config, repair_config
from xpert.records import PicturePair
from xpert.summarizing.answers import plain_caption, shares, whole_part, words_of
from xpert.summarizing.picture_chats import LITERAL, rendered_question
from xpert.summarizing.summarizer import Progress, Proposal

VISION_MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
QUESTION = (
    "Given the two images above, which image style is more characteristic of the second image than the first image? "
    "Reply with a list of single-word adjectives or simple phrases."
)
CAPTION = "Describe the content of this picture in one short sentence, without its style."
_WORD_TOKENS = 96
_CAPTION_TOKENS = 48
_PROCESSOR_FILES = ("*processor_config.json", "chat_template.*", "tokenizer_config.json", "generation_config.json")


@dataclass
class VisionModel:
    """An image-text-to-text model that is asked about pictures, one greedy answer each.

    A missing model and one of another kind are refused here, before any weight is read.

    Args:
        reference: model folder or Hugging Face name.
        device: cpu, cuda, mps or auto.
        dtype: of the weights; None: bf16 on CUDA, fp32 elsewhere.
        batch_size: questions answered at once; more is faster and wants more memory.
        most_pixels: pictures with more are scaled down before the model sees them.
    """

    reference: str | Path = VISION_MODEL
    device: str = "auto"
    dtype: torch.dtype | None = None
    batch_size: int = 1
    most_pixels: int = 448 * 448
    folder: Path = field(init=False)
    _opened: tuple[Any, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.most_pixels < 1:
            raise SettingsError(
                f"batch_size {self.batch_size} and most_pixels {self.most_pixels}: give at least 1 of each"
            )
        choose_device(self.device)
        self.folder = resolve_folder(str(self.reference))
        _check_kind(self.folder)

    @property
    def identity(self) -> str:
        """SHA-256 of the model's files and of all that shapes an answer beside the pictures."""
        files = (model_digest(self.folder), tokenizer_digest(self.folder), folder_digest(self.folder, _PROCESSOR_FILES))
        wording = (QUESTION, CAPTION, str(_WORD_TOKENS), str(_CAPTION_TOKENS), str(self.most_pixels))
        return hashlib.sha256("\0".join((*files, *wording)).encode()).hexdigest()

    def propose(
        self, pairs: Sequence[PicturePair], *, limit: int = 24, on_progress: Progress | None = None
    ) -> list[Proposal]:
        """Candidate words for what sets the second pictures apart, most probable first, ties by the alphabet.

        A word's probability is its share among all words of all answers, where a word counts once an answer.

        None where no answer names a usable word: another model of a pool may well have one.

        Raises:
            DataError: a picture cannot be read.
            SettingsError: no pair was given.
            ModelError: the model cannot be read.
        """
        if not pairs:
            raise SettingsError("no pair of pictures was given: give at least one")
        asked = [(QUESTION, (pair.reference, pair.response)) for pair in pairs]
        answers = self._answers(asked, _WORD_TOKENS, _reporter(on_progress, "proposing", len(pairs)))
        found = shares([words_of(answer if whole else whole_part(answer)) for answer, whole in answers])
        return [Proposal(word, probability) for word, probability in found[:limit]]

    def caption(self, pictures: Sequence[Path], *, on_progress: Progress | None = None) -> list[str]:
        """One short sentence a picture, for pictures that have no captions.

        Raises:
            DataError: a picture cannot be read.
            ModelError: the model cannot be read.
        """
        asked = [(CAPTION, (picture,)) for picture in pictures]
        answers = self._answers(asked, _CAPTION_TOKENS, _reporter(on_progress, "captioning", len(pictures)))
        return [plain_caption(answer) for answer, _ in answers]

    def close(self) -> None:
        """Free the weights; asking again reads them again."""
        self._opened = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _answers(
        self, asked: Sequence[tuple[str, tuple[Path, ...]]], most_tokens: int, report: Callable[[int], None]
    ) -> list[tuple[str, bool]]:
        """Greedy answers, each with whether it came to its own end."""
        if self._opened is None and asked:
            self._opened = _open(self.folder, self.device, self.dtype)
        answers: list[tuple[str, bool]] = []
        for start in range(0, len(asked), self.batch_size):
            answers += self._ask(asked[start : start + self.batch_size], most_tokens)
            report(len(answers))
        return answers

    def _ask(self, asked: Sequence[tuple[str, tuple[Path, ...]]], most_tokens: int) -> list[tuple[str, bool]]:
        assert self._opened is not None
        model, processor = self._opened
        chats = [_chat(question, [read_picture(f, self.most_pixels) for f in files]) for question, files in asked]
        # The questions of a batch are the same; only the pictures differ.
        rendered = rendered_question(processor, asked[0][0], len(asked[0][1]))
        try:
            inputs = processor.apply_chat_template(
                chats,
                chat_template=LITERAL,
                xpert_rendered=rendered,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        except ValueError as error:
            names = ", ".join(str(file) for _, files in asked for file in files)
            raise DataError(f"{self.reference} cannot be shown {names} ({error}): leave out what is odd") from error
        with torch.inference_mode():
            out = model.generate(**inputs.to(model.device, model.dtype), generation_config=_greedy(model, most_tokens))
        new = out[:, inputs["input_ids"].shape[1] :]
        texts = processor.batch_decode(new, skip_special_tokens=True)
        ends = _ends(model, processor)
        return [
            (str(text), len(row) < most_tokens or row[-1] in ends)
            for text, row in zip(texts, new.tolist(), strict=True)
        ]


def read_picture(file: Path, most_pixels: int) -> Any:
    """A picture as RGB, upright, on white where it is transparent, scaled down to at most `most_pixels`.

    Raises:
        DataError: no picture can be read from the file.
    """
    from PIL import Image

    from xpert.data.decoding import read_picture_file

    picture = read_picture_file(file)
    width, height = picture.size
    if width * height <= most_pixels:
        return picture
    scale = math.sqrt(most_pixels / (width * height))
    return picture.resize((max(1, int(width * scale)), max(1, int(height * scale))), Image.Resampling.LANCZOS)


def _chat(question: str, pictures: Sequence[Any]) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]


def _reporter(on_progress: Progress | None, stage: str, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(stage, done, total) if on_progress is not None else None


def _greedy(model: Any, most_tokens: int) -> Any:
    """Every setting of an answer; the model's own say only which tokens are special."""
    from transformers import GenerationConfig

    own, make = model.generation_config, GenerationConfig
    chosen: Any = {"max_new_tokens": most_tokens, "do_sample": False, "num_beams": 1, "use_cache": True}
    configured: Any = make(**chosen, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id)  # type: ignore[no-untyped-call]
    return configured


def _ends(model: Any, processor: Any) -> frozenset[int]:
    """The tokens that end an answer, and the padding behind it."""
    ends = model.generation_config.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset((*listed, processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id))


def _check_kind(folder: Path) -> Any:
    """The configuration of a model folder, refused where it does not turn pictures and text into text."""
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    kind = strict_json((folder / "config.json").read_bytes(), str(folder / "config.json")).get("model_type")
    refuse_code(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a type that transformers does not know, code of its own, values of a wrong kind
        raise DamagedModelError(f"model folder {folder} of type {kind!r} cannot be used ({error})") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise DamagedModelError(
            f"{folder} is a model of type {kind!r}, which does not answer about pictures: give an image-text-to-text "
            f"model such as {VISION_MODEL}"
        )
    return config


def _open(folder: Path, device: str, dtype: torch.dtype | None) -> tuple[Any, Any]:
    """Model and processor of a folder, ready to answer."""
    from transformers import AutoModelForImageTextToText

    config, chosen = _check_kind(folder), choose_device(device)
    repair_config(config)
    try:
        check_base_files(folder)
        processor = _read_processor(folder, config)
        read: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
            generation_config=fresh_generation_config(folder, config),
            dtype=choose_dtype(chosen, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except DamagedModelError:
        raise
    except (OSError, MissingModelError) as error:
        raise MissingModelError(f"model folder {folder} is not complete: {error}") from error
    except ImportError as error:
        raise ModelError(f"the processor of {folder} needs a library that is not here ({error})") from error
    except Exception as error:  # damage shows as many things: SafetensorError, RuntimeError on shapes, JSON errors
        raise DamagedModelError(f"model folder {folder} cannot be read ({error}): download it again") from error
    if not (processor.chat_template or processor.tokenizer.chat_template):
        raise DamagedModelError(f"{folder} has no chat template, so it cannot be asked: give an instruct model")
    model, report = read
    check_weights(model, report["missing_keys"], folder)
    check_loaded(model, report, folder)
    size = model.get_input_embeddings().weight.shape[0]
    fit_tokenizer(processor.tokenizer, size, model.generation_config, folder)
    # Answers of one batch must end at one place for the model to go on from there.
    processor.tokenizer.padding_side = "left"
    return model.to(chosen).eval().requires_grad_(False), processor


def _read_processor(folder: Path, config: Any) -> Any:
    """The processor of a model folder; without torchvision one that reads pictures only, where videos would need it."""
    from transformers import PROCESSOR_MAPPING, AutoProcessor

    read: Any = AutoProcessor
    try:
        whole = read.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if hasattr(whole, "image_processor"):  # else it found nothing but the tokenizer
            return whole
    except ImportError:
        pass
    kind: Any = PROCESSOR_MAPPING[type(config)]
    parts = [part for part in kind.get_attributes() if part != "video_processor"]
    pictures_only: Any = type(kind.__name__, (kind,), {"get_attributes": classmethod(lambda _: parts)})
    return pictures_only.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
