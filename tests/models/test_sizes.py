"""A configuration whose sizes cannot be true of the tensors beside it ends at once, in an error that names the size."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import MissingModelError, ModelError
from xpert.models import quantized
from xpert.models.adapters import base_layers
from xpert.models.loading import load_model
from xpert.models.pipelines import check_pipeline
from xpert.models.reference import ModelReference
from xpert.models.sizes import check_sizes
from xpert.models.whole_models import check_whole_fit, inspect_whole_model
from xpert.testing.tiny import tiny_base, tiny_tokenizer
from xpert.testing.tiny_pictures import tiny_pipeline

ENTRIES: list[Callable[[Path], Any]] = [
    lambda folder: load_model(ModelReference(str(folder))),
    base_layers,
    lambda folder: check_whole_fit(inspect_whole_model(folder), folder),
]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sizes")


def spoiled(folder: Path, **changes: Any) -> Path:
    tiny_base(folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


@pytest.mark.parametrize("enter", ENTRIES, ids=["load", "layers", "whole"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 1_000_000),
        ("num_hidden_layers", 10**30),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", "3"),
        ("num_hidden_layers", 2.0),
        ("num_hidden_layers", True),
        ("hidden_size", 10**9),
        ("hidden_size", -32),
        ("vocab_size", 10**12),
        ("num_attention_heads", 10**9),
        ("head_dim", 10**10),
        ("max_position_embeddings", 10**13),
        ("text_config", {"num_hidden_layers": 1_000_000}),
        ("vision_config", {"hidden_size": "wide"}),
        ("num_labels", 10**9),
        ("text_config", {"num_labels": 10**8}),
    ],
)
def test_a_size_that_cannot_be_is_named(tmp_path: Path, enter: Callable[[Path], Any], key: str, value: Any) -> None:
    folder, name = spoiled(tmp_path / "base", **{key: value}), next(iter(value)) if isinstance(value, dict) else key
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=rf"config\.json.*{name}"):
        enter(folder)
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 0},
        {"num_key_value_heads": {}},
        {"hidden_size": 33},
        {"model_type": [1]},
        {"hidden_act": "no-such"},
        {"rope_scaling": "x"},
        {"architectures": 5},
        {"intermediate_size": 100_000},
        {"vocab_size": 150_000},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_no_model_can_be_built_of_is_an_error_and_no_traceback(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = spoiled(tmp_path / "base", **changes)
    for enter in ENTRIES[:2]:
        try:
            enter(folder)
        except ModelError:
            continue


def test_sizes_of_models_that_are_published_can_be(tmp_path: Path) -> None:
    """Switches and factors whose names look like sizes; experts that share one tensor."""
    stated = {
        "block_auto_adjust_ff_dim": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mscale_all_dim": 1.0, "mscale": 0.7},
        "num_local_experts": 128,
        "n_routed_experts": 2048,
    }
    check_sizes(spoiled(tmp_path / "base", **stated))
    with pytest.raises(ModelError, match="n_routed_experts"):
        check_sizes(spoiled(tmp_path / "other", n_routed_experts=10**6))


@pytest.mark.parametrize("kind", ["lfm2", "ministral3", "deepseek_v3", "doge", "gpt_oss", "llama4_text"])
def test_no_configuration_of_transformers_itself_is_refused(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(AutoConfig.for_model(kind).to_json_string(use_diff=False))
    check_sizes(tmp_path)


def test_tables_of_positions_that_the_files_do_not_hold(tmp_path: Path) -> None:
    from transformers import CodeGenConfig, CodeGenForCausalLM

    config = CodeGenConfig(vocab_size=300, n_embd=32, n_layer=1, n_head=4, rotary_dim=4, n_positions=64)
    CodeGenForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    load_model(ModelReference(str(tmp_path)))
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "n_positions": 2**31}))
    with pytest.raises(ModelError, match=r"config\.json describes tables of \d+ numbers"):
        load_model(ModelReference(str(tmp_path)))


def test_more_numbers_than_the_files_hold(tmp_path: Path) -> None:
    folder = spoiled(tmp_path / "base", hidden_size=20_000, intermediate_size=60_000)
    with pytest.raises(ModelError, match=r"describes a model of \d+ numbers, its files hold \d+"):
        load_model(ModelReference(str(folder)))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("unet", "layers_per_block", 10**6),
        ("unet", "block_out_channels", [10**10, 32]),
        ("vae", "layers_per_block", -1),
        ("text_encoder", "num_hidden_layers", 10**6),
        ("text_encoder", "hidden_size", "x"),
    ],
)
def test_parts_of_a_pipeline(tmp_path: Path, part: str, key: str, value: Any) -> None:
    folder = tiny_pipeline(tmp_path / "pipeline")
    file = folder / part / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(ModelError, match=rf"{part}/config\.json: {key} is"):
        check_pipeline(folder)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "pip install bitsandbytes"),
        ({"load_in_8bit": True}, "pip install bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "pip install optimum gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "pip install gptqmodel"),
        ({"quant_method": "AQLM"}, "pip install aqlm"),
        ({"quant_method": "compressed-tensors"}, "pip install compressed-tensors"),
        ({"quant_method": "hqq"}, "pip install hqq"),
        ({"quant_method": "quanto"}, "pip install optimum-quanto"),
    ],
)
def test_what_a_quantized_base_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], named: str
) -> None:
    monkeypatch.setattr(quantized, "_installed", lambda package: False)
    folder = spoiled(tmp_path / "base", quantization_config=config)
    with pytest.raises(MissingModelError, match=named) as caught:
        load_model(ModelReference(str(folder)))
    assert "download" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantization": {"group_size": 64, "bits": 4}}, "format of mlx"),
        ({"quantization_config": {"quant_method": "\x1b[31mnew"}}, r"\?\[31mnew\) that is not known"),
        ({"quantization_config": {"a": 1}}, "not known"),
    ],
)
def test_other_ways_of_quantizing(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load_model(ModelReference(str(spoiled(tmp_path / "base", **changes))))
