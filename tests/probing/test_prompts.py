"""The probe prompts are fifty different questions, known by a digest with how they are answered."""

from dataclasses import replace

import pytest

from xpert.probing.prompts import default_prompts
from xpert.probing.text import ProbeSettings


def test_there_are_fifty_different_prompts() -> None:
    prompts = default_prompts()
    assert len(prompts) == len({prompt.casefold() for prompt in prompts}) == 50
    for prompt in prompts:
        assert prompt == prompt.strip()
        assert 3 <= len(prompt.split()) <= 20
        assert prompt[-1] in ".?"
    assert default_prompts() == prompts


def test_the_digest_is_that_of_prompts_and_settings() -> None:
    settings, prompts = ProbeSettings(), default_prompts()
    digest = settings.digest(prompts)
    assert len(digest) == 64
    assert ProbeSettings().digest(list(prompts)) == digest
    assert settings.digest(prompts[:-1]) != digest
    assert settings.digest(prompts[::-1]) != digest


@pytest.mark.parametrize(
    "change", [{"max_new_tokens": 191}, {"temperature": 0.7}, {"top_p": 0.9}, {"seed": 1}, {"draws": 2}]
)
def test_any_other_setting_is_another_digest(change: dict[str, float]) -> None:
    prompts = default_prompts()
    assert replace(ProbeSettings(), **change).digest(prompts) != ProbeSettings().digest(prompts)
