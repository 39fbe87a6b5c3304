"""Whatever configuration is accepted, peft loads it, answers are finite, and what is merged is what peft computes."""

from __future__ import annotations

import copy
import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from xpert.errors import DamagedModelError, ModelError
from xpert.merging.adapters import read_lora
from xpert.merging.lora import dense
from xpert.models.adapters import CONFIG, WEIGHTS, base_layers, check_fit, inspect_adapter
from xpert.models.attaching import attach
from xpert.models.loading import adapted, load_model
from xpert.models.reference import ModelReference
from xpert.testing.tiny import tiny_adapter, tiny_base

Q0 = "model.layers.0.self_attn.q_proj"
JUNK: list[Any] = [
    None, True, False, 0, 1, -1, 7.5, 1e30, 10**400, "x", "", [1], [], {}, {"a": 1}, ["q_proj"], "q_proj", [[0]],
    {"q_proj": 2.5}, "eva", "corda", "loftq", "olora", "pissa", "pissa_niter_4", "mica", "lora_ga", "SEQ_CLS",
    "FEATURE_EXTRACTION", "all-linear", ".*", "(a+)+$", [None], {"": 1}, 0.1, 1.0, [-1], 2**40, "true", "8",
]  # fmt: skip
FITTING: dict[str, list[Any]] = {
    "lora_alpha": [0, 1, 16, 4.5, -3.0, 64],
    "lora_dropout": [0, 0.0, 0.1, 0.99],
    "use_rslora": [True, False],
    "rank_pattern": [{}, {"q_proj": 4}, {Q0: 4}, {f"^{Q0}": 4}, {"layers.0.self_attn.q_proj": 4}, {"none": 9}],
    "alpha_pattern": [{}, {"q_proj": 3}, {Q0: 2.5, "v_proj": 7}, {f"^{Q0}": 40}, {"self_attn.v_proj": 0.5}, {"q": 9}],
    "init_lora_weights": [True, False, "gaussian", "orthogonal"],
    "layers_to_transform": [None, [], [0, 1], [0, 1, -1, 7], [0], 0],
    "layers_pattern": [None, "", [], "layers", ["layers"], "h", ["h", "layers"]],
    "exclude_modules": [None, [], ["k_proj"], ["lm_head", "gate_proj"]],
    "fan_in_fan_out": [True, False],
    "ensure_weight_tying": [True, False],
    "task_type": ["CAUSAL_LM", None],
    "inference_mode": [True, False],
    "megatron_core": ["megatron.core", None],
    "qalora_group_size": [16, 1],
    "modules_to_save": [None, []],
    "layer_replication": [None, []],
    "loftq_config": [{}, None],
    "peft_version": ["0.10.0", None],
    "base_model_name_or_path": [None, "", "some/base", "/nowhere"],
    "revision": [None, "main"],
    "newer_setting": [None, False, 16, "text", {}],
    "runtime_config": [{"ephemeral_gpu_offload": True}, None],
    "target_modules": [["q_proj", "v_proj"], ["v_proj", "q_proj", "q_proj"], ["self_attn.q_proj", "v_proj"]],
}
REFUSED = [("layers_to_transform", [0]), ("layers_to_transform", 0)]
REFUSED += [("layers_pattern", names) for names in ("layers", ["layers"], "h", ["h", "layers"])]
"""What fits beside other settings only: the adapter has both blocks, and says nothing of blocks."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agrees")


@pytest.fixture(scope="module")
def base(room: Path) -> Path:
    return tiny_base(room / "base")


@pytest.fixture(scope="module")
def plain(base: Path) -> Any:
    read: Any = AutoModelForCausalLM.from_pretrained
    return read(base).eval()


@pytest.fixture(scope="module")
def adapters(base: Path, room: Path) -> list[Path]:
    first, second = (("q_proj", "v_proj"), 4), (("q_proj", "down_proj"), 3)
    kinds = [first, second, (("embed_tokens", "o_proj"), 2), ((Q0, "k_proj"), 4)]
    made = [tiny_adapter(base, room / f"a{n}", targets=to, rank=rank) for n, (to, rank) in enumerate(kinds)]
    tensors = {name: t for name, t in load_file(made[2] / WEIGHTS).items() if "base_layer" not in name}
    save_file(tensors, made[2] / WEIGHTS, {"format": "pt"})
    return made


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([[5, 9, 30, 41, 7]]), use_cache=False).logits
    return logits


def merged(plain: Any, base: Path, folder: Path) -> Any:
    """The base with s B A added by hand; a head that shares the table's weight keeps it, as in peft."""
    model, layers, lora = copy.deepcopy(plain), base_layers(base), read_lora(inspect_adapter(folder))
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    modules = dict(model.named_modules())
    for name in lora.layers:
        change = dense(lora, name)
        modules[name].weight.data += change.T if layers[name].transposed else change
    return model


def agree(plain: Any, base: Path, folder: Path) -> None:
    own = answers(merged(plain, base, folder))
    by_peft = answers(PeftModel.from_pretrained(copy.deepcopy(plain), folder))
    assert torch.isfinite(by_peft).all()
    assert float((own - by_peft).abs().max()) <= 1e-5 * (1 + float(by_peft.abs().max()))


def mutated(source: Path, target: Path, draw: random.Random) -> dict[str, Any]:
    """A copy of an adapter with some settings of another value, mostly ones that may be right."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    config = json.loads((target / CONFIG).read_text())
    changes: dict[str, Any] = {}
    for _ in range(draw.choice([1, 1, 2, 3])):
        key = draw.choice([*FITTING, *sorted(config)])
        changes[key] = draw.choice(FITTING.get(key, JUNK) if draw.random() < 0.75 else JUNK)
    (target / CONFIG).write_text(json.dumps({**config, **changes}))
    if draw.random() < 0.15:
        tensors, factor = load_file(target / WEIGHTS), 10 ** draw.uniform(-3, 8)
        save_file({name: tensor * factor for name, tensor in tensors.items()}, target / WEIGHTS, {"format": "pt"})
    return changes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_what_is_accepted_peft_computes_alike(
    adapters: list[Path], plain: Any, base: Path, tmp_path: Path, seed: int
) -> None:
    draw, accepted = random.Random(seed), 0
    for _ in range(150):
        folder = tmp_path / "mutated"
        changes = mutated(draw.choice(adapters), folder, draw)
        try:
            check_fit(inspect_adapter(folder), base)
        except ModelError:
            continue
        accepted += 1
        try:
            agree(plain, base, folder)
        except Exception as error:
            raise AssertionError(f"accepted, and peft does otherwise: {changes}") from error
    assert accepted >= 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", FITTING)
def test_every_fitting_value_is_accepted_or_says_why(
    adapters: list[Path], plain: Any, base: Path, tmp_path: Path, key: str
) -> None:
    for value in FITTING[key]:
        folder = Path(shutil.copytree(adapters[0], tmp_path / f"{len(list(tmp_path.iterdir()))}"))
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, key: value}))
        if (key, value) in REFUSED:
            with pytest.raises(ModelError, match="layers_pattern is set without|which its target_modules do not name"):
                check_fit(inspect_adapter(folder), base)
            continue
        check_fit(inspect_adapter(folder), base)
        agree(plain, base, folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"corda_config": "x"}, {"task_type": [1]}, {"lora_dropout": 7.5}, {"alpha_pattern": None}, {"r": 8.0},
        {"lora_dropout": None}, {"lora_dropout": True}, {"lora_dropout": 1}, {"lora_alpha": True}, {"eva_config": {}},
        {"init_lora_weights": 1}, {"init_lora_weights": None}, {"init_lora_weights": "Gaussian"}, {"bias": None},
        {"layers_to_transform": True}, {"layers_to_transform": [True]}, {"layers_to_transform": "0"},
        {"layers_pattern": "layers"}, {"layers_pattern": ["(a+)+$"], "layers_to_transform": [0]}, {"use_rslora": 1},
        {"use_rslora": None}, {"fan_in_fan_out": "no"}, {"inference_mode": []}, {"rank_pattern": {"q_proj": True}},
        {"rank_pattern": None}, {"peft_version": 1}, {"revision": []}, {"base_model_name_or_path": {"a": 1}},
        {"auto_mapping": [1]}, {"auto_mapping": {"base_model_class": 1}}, {"trainable_token_indices": [1]},
        {"trainable_token_indices": []}, {"alora_invocation_tokens": []}, {"use_dora": "no"}, {"use_qalora": True},
        {"loftq_config": {"loftq_bits": 4}}, {"loftq_config": "x"}, {"kasa_config": {}}, {"arrow_config": {}},
        {"use_bdlora": False}, {"megatron_config": {"a": 1}}, {"megatron_core": 1}, {"target_parameters": ["x"]},
        {"velora_config": {}}, {"monteclora_config": {}}, {"lora_ga_config": {}}, {"layer_replication": [[0, 1]]},
        {"exclude_modules": [1]}, {"target_modules": {"q_proj": 1}}, {"target_modules": ["q_proj", ""]},
        {"qalora_group_size": "x"}, {"newer_variant": True}, {"newer_variant": {"a": 1}}, {"lora_bias": 1},
        {"ensure_weight_tying": "x"}, {"modules_to_save": "lm_head"}, {"lora_alpha": 1e400}, {"lora_alpha": [8]},
    ],
    ids=lambda changes: "-".join(f"{key}={value}" for key, value in changes.items()),
)  # fmt: skip
def test_wrong_types_are_named(adapters: list[Path], tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = Path(shutil.copytree(adapters[0], tmp_path / "adapter"))
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))
    with pytest.raises(DamagedModelError) as caught:
        inspect_adapter(folder)
    assert any(key in str(caught.value) for key in changes) or "Infinity" in str(caught.value)


def test_odd_ranks_cannot_start_orthogonal(adapters: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapters[1], tmp_path / "adapter"))
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "init_lora_weights": "orthogonal"}))
    with pytest.raises(DamagedModelError, match="needs even ranks, and there is rank 3"):
        inspect_adapter(folder)


def test_tied_layers_are_refused_where_both_would_change(adapters: list[Path], base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapters[2], tmp_path / "adapter"))
    config = json.loads((folder / CONFIG).read_text())
    check_fit(inspect_adapter(folder), base)
    (folder / CONFIG).write_text(json.dumps({**config, "ensure_weight_tying": True}))
    with pytest.raises(ModelError, match=r"adapts 'model\.embed_tokens', whose weight is another layer's"):
        check_fit(inspect_adapter(folder), base)


def test_what_peft_refuses_nevertheless_is_an_error_of_ours(
    adapters: list[Path], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("\x1b[31mwhatever peft dislikes")

    loaded = load_model(ModelReference(str(base)), device="cpu")
    monkeypatch.setattr("peft.PeftModel.from_pretrained", refuse)
    with pytest.raises(DamagedModelError, match=r"cannot be put on LlamaForCausalLM \(RuntimeError: \?\[31mwhatever"):
        attach(loaded.model, adapters[0], trainable=True)
    with pytest.raises(DamagedModelError), adapted(loaded, adapters[0]):
        pass


def test_no_warning_of_peft_is_lost_as_an_error(adapters: list[Path], base: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_model(ModelReference(str(base), str(adapters[0])), device="cpu").model.peft_config
