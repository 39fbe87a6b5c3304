"""What a model that reads pictures is asked, by its chat template: bounded and with one date, as texts are.

Knows processors of transformers; never sees a picture.
"""

from __future__ import annotations

from typing import Any

from xpert.errors import DamagedModelError
from xpert.models.chats import THINKING_OFF, chat_template
from xpert.models.templates import TemplateError, render_template
from xpert.models.thoughts import thinking_off

LITERAL = "{{ xpert_rendered }}"
"""A template that is nothing but a text that was rendered already."""


def rendered_question(processor: Any, question: str, pictures: int) -> str:
    """The text of a question behind so many pictures, up to where the answer starts.

    Raises:
        DamagedModelError: there is no template, or it fails, never ends, or drops the question.
    """
    template = chat_template(processor) or chat_template(processor.tokenizer)
    if template is None:
        raise DamagedModelError("the model has no chat template: give another image-text-to-text model")
    parts: list[dict[str, str]] = [{"type": "image", "image": "picture"} for _ in range(pictures)]
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
    named = {key: text for key, text in processor.tokenizer.special_tokens_map.items() if isinstance(text, str)}
    variables = {**named, **THINKING_OFF, "add_generation_prompt": True, "tools": None, "documents": None}
    try:
        text = render_template(template, [[turn]], variables)[0]
    except TemplateError as error:
        raise DamagedModelError(
            f"the chat template of the model cannot be used ({error}): give another image-text-to-text model"
        ) from error
    if question not in text:
        raise DamagedModelError(
            "the chat template of the model drops what is asked: give another image-text-to-text model"
        )
    return thinking_off(text)
