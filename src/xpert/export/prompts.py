"""The prompt template of a tokenizer as plain data, so that a device needs no template language.

Knows transformers' tokenizers; never sees a model. A chat template is a program; what it makes of one user turn is
almost always prefix + prompt + suffix, which `xpert.models.chats` finds out: a template that does otherwise is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from xpert.errors import ModelError
from xpert.models.chats import TRIED, chat_frame
from xpert.models.generation import special_tokens
from xpert.records import Sample
from xpert.runtime.manifest import TOKENIZER, Prompt
from xpert.runtime.tokens import Tokens
from xpert.tuning.batches import encode

_LONG = 10_000


def prompt_template(tokenizer: PreTrainedTokenizerBase, generation_config: Any) -> Prompt:
    """Prefix, suffix and special tokens of a tokenizer.

    Raises:
        ModelError: the chat template makes something else of a prompt than prefix + prompt + suffix.
    """
    frame = chat_frame(tokenizer)
    end: Any = tokenizer.eos_token_id
    configured: Any = generation_config.eos_token_id
    stops = configured if isinstance(configured, list) else [configured]
    return Prompt(
        prefix=frame.prefix,
        suffix=frame.suffix,
        strip=frame.strip,
        empty=frame.empty,
        add_special_tokens=special_tokens(tokenizer),
        first=next((i for i in (tokenizer.bos_token_id, end) if i is not None), None),
        begin=tokenizer.bos_token_id,
        end=end,
        stops=tuple(sorted({i for i in [*stops, end] if i is not None})),
        pad=tokenizer.pad_token_id or 0,
    )


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, prompt: Prompt) -> None:
    """Write tokenizer.json and see that it gives the same tokens without transformers.

    Raises:
        ModelError: there is no such form of this tokenizer, or it gives other tokens.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"{type(tokenizer).__name__} has no {TOKENIZER} form: convert the base's tokenizer to a fast one first"
        )
    backend.save(str(folder / TOKENIZER))
    samples = [Sample(asked, f"{asked} {answer}") for asked in ("", *TRIED) for answer in ("yes", *TRIED)]
    own = [(sample.tokens, sample.start) for sample in encode(tokenizer, samples, _LONG)]
    if own != [(sample.tokens, sample.start) for sample in Tokens(folder, prompt).encode(samples, _LONG)]:
        raise ModelError(
            f"{TOKENIZER} gives other tokens than {type(tokenizer).__name__}, which changes texts by itself: save the "
            "base with a plain fast tokenizer"
        )
