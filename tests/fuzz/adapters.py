"""LoRA adapters of a language model: configuration, tensors, files and cards, each wrong in many ways.

What is accepted must load with plain peft on the base, give finite logits, and merge.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from fuzz.cases import BrokenLawError, Case
from fuzz.guard import Bait
from fuzz.mutations import PLANTED_MODULE, TEXTS, Literal, dumps, hostile, misspell, mutate_bytes, mutate_json
from fuzz.tensors import mutate_tensors

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"

_PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA", "lora", "IA3", "LOHA", "LOKR", "PREFIX_TUNING", "ADALORA", "VERA", "X", ["LORA"], None),
    "task_type": ("CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION", "X", [1],
    {}, None),
    "auto_mapping": (
        None,
        {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"},
        {"base_model_class": "Thing", "parent_library": PLANTED_MODULE},
        {"base_model_class": "Thing", "parent_library": f"transformers.{PLANTED_MODULE}"},
        {"base_model_class": 7, "parent_library": "transformers."},
        {"parent_library": None}, [], "transformers.x",
    ),
    "base_model_name_or_path": (None, "", "somebody/else", "/dev/zero", "http://127.0.0.1/x", 7, ["a"], "\x1b[31m",
    "../base"),
    "revision": (None, "main", "refs/pr/1", "../..", 7, {}),
    "r": (1, 2, 8, 0, -4, 4.0, "4", True, None, 2**31, 10**30, [4]),
    "lora_alpha": (0, 1, 1e-30, 1e30, 1e38, -8, "8", True, None, [8], 10**30),
    "lora_dropout": (0, 0.0, 0.1, 1, 1.0, 0.999999, 7.5, -0.1, "0.1", None, True, [0.1], 1e-320),
    "target_modules": (
        ["q_proj", "v_proj"], ["q_proj"], "q_proj", "all-linear", ".*", "(a+)+$", [], [""], ["q_proj", "q_proj"], ["."],
        ["nobody"], {"q_proj": 1}, [7], None, ["lm_head"], ["embed_tokens"], ["model.layers.0.self_attn.q_proj"],
        ["proj"],
    ),
    "exclude_modules": (None, [], ["q_proj"], ["v_proj"], "v_proj", ".*", [7], ["layers.1"],
    ["model.layers.1.self_attn.q_proj"]),
    "fan_in_fan_out": (True, False, None, "no", 1, [], {}),
    "bias": ("none", "all", "lora_only", None, False, "None", [], {}),
    "use_rslora": (True, False, None, "true", 1, []),
    "use_dora": (True, False, None, "", 0, []),
    "init_lora_weights": (
        True, False, None, "gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora", "loftq", "eva", "corda", "mica",
        "lora_ga", "x", 1, 0, [], {}, "pissa_niter_99999999999",
    ),
    "layers_to_transform": (None, [], [0], [1], 0, [0, 1], [99], [-1], ["0"], [0.0], True, "0", {}, [True]),
    "layers_pattern": (None, "layers", ["layers"], [], "", "(a+)+$", 7, {}),
    "rank_pattern": (
        {}, {"q_proj": 2}, {"q_proj": 4}, {"^q_proj": 4}, {"(a+)+$": 4}, {"q_proj": "4"}, {"q_proj": None},
        {"q_proj": 0}, None, [],
        {"": 3}, {"v_proj": 4.0}, {"nobody": 9}, "q_proj", {"^model.layers.0.self_attn.q_proj": 4}, [["q_proj", 4]],
    ),
    "alpha_pattern": (
        {}, {"q_proj": 2}, {"^q_proj": 2.5}, {"q_proj": "2"}, {"q_proj": None}, {"q_proj": True}, None, [], {"": 3},
        {"q_proj": 1e38},
        {"q_proj": {}}, "x", {"(x": 1}, {"v_proj": -3}, {"q_proj": 0},
    ),
    "modules_to_save": (None, [], ["lm_head"], "lm_head", {}, 0, ""),
    "ensure_weight_tying": (True, False, None, "x", 1),
    "inference_mode": (True, False, None, "x", 3),
    "peft_version": ("0.21.0", "99.0.0", "0.0", None, 7, "x", [], {}),
    "runtime_config": (None, {}, {"ephemeral_gpu_offload": True}, {"x": 1}, "x", []),
}  # fmt: skip
_OBJECTS = ("loftq_config", "eva_config", "corda_config", "lora_ga_config", "arrow_config", "kasa_config",
"velora_config",
            "monteclora_config", "megatron_config")  # fmt: skip
_OTHERS = ("megatron_core", "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "qalora_group_size",
           "layer_replication", "lora_bias", "target_parameters", "use_bdlora", "auto_map", "custom_modules", "nested",
           "_custom_modules", "inference", "__class__", "is_prompt_learning", "peft_is_new")  # fmt: skip


_LAUGHS = (
    "a: &a [x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghij"))
    + "xpert: *j"
)


class _Runs:
    """What a pickle can do while it is read."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


def prepare(room: Path) -> Any:
    """A base, its model in memory and three adapters of it."""
    from transformers import AutoModelForCausalLM

    from xpert.testing.tiny import tiny_base
    from xpert.testing.tiny_family import tiny_lora

    base = tiny_base(room / "base")
    seeds = (
        tiny_lora(base, room / "plain", 1, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
        tiny_lora(base, room / "rs", 2, r=2, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "up_proj"],
                  rank_pattern={"up_proj": 3}, alpha_pattern={"q_proj": 9}),
        tiny_lora(base, room / "table", 3, r=3, target_modules=["embed_tokens", "model.layers.1.self_attn.o_proj"]),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(base).eval().requires_grad_(False)
    shared = {"base": base, "seeds": seeds, "model": model, "words": torch.tensor([[1, 20, 30, 40]])}
    for number, seed in enumerate(seeds):  # the first of each opens what is imported late
        shutil.copytree(seed, room / f"first-{number}")
        read(Case(room / f"first-{number}", "first", {"out": room / f"merged-{number}"}), shared)
    return shared


def make(rng: random.Random, folder: Path, shared: Any, bait: Bait) -> Case:
    """A copy of an adapter with one thing wrong, sometimes two, seldom none."""
    source = folder / "adapter"
    shutil.copytree(rng.choice(shared["seeds"]), source)
    how = []
    for _ in range(rng.choice((1, 1, 1, 1, 2))):
        kind = rng.choices(
            (_config_value, _config_structure, _config_text, _tensors, _files, _card, _nothing),
            (40, 12, 10, 24, 8, 8, 1),
        )[0]
        how.append(kind(rng, source, bait))
    return Case(source, ": ".join(how), {"out": folder / "merged"})


def _config_value(rng: random.Random, source: Path, _bait: Bait) -> str:
    config = _stated(source)
    key = rng.choice((*_PLAUSIBLE, *_PLAUSIBLE, *_OBJECTS, *_OTHERS))
    if key in _PLAUSIBLE and rng.random() < 0.85:
        config[key] = copy.deepcopy(rng.choice(_PLAUSIBLE[key]))
    elif key in _OBJECTS:
        config[key] = rng.choice(({}, {"x": 1}, "x", [], [1], 7, True, None, {"rho": 1, "tau": "x"}, {"loftq_bits": 3}))
    else:
        config[key] = hostile(rng)
    (source / CONFIG).write_text(dumps(config), "utf-8", "surrogatepass")
    return f"{key} in the configuration"


def _config_structure(rng: random.Random, source: Path, _bait: Bait) -> str:
    config: Any = mutate_json(rng, _stated(source))
    if rng.random() < 0.2:
        config = rng.choice(
            ([config], hostile(rng), {"default": config}, {**_stated(source), **dict.fromkeys(TEXTS, 1)})
        )
    (source / CONFIG).write_text(dumps(config), "utf-8", "surrogatepass")
    return "structure of the configuration"


def _config_text(rng: random.Random, source: Path, _bait: Bait) -> str:
    text = (source / CONFIG).read_text("utf-8", "replace")
    if rng.random() < 0.3:
        config = _stated(source)
        key = rng.choice(list(config) or ["r"])
        config[key] = Literal(f"{dumps(config.get(key))}, {json.dumps(key)}: {dumps(hostile(rng))}")  # the key twice
        text = dumps(config)
    (source / CONFIG).write_bytes(misspell(rng, text))
    return "spelling of the configuration"


def _tensors(rng: random.Random, source: Path, _bait: Bait) -> str:
    return mutate_tensors(rng, source / WEIGHTS) if (source / WEIGHTS).is_file() else "no tensors"


def _files(rng: random.Random, source: Path, bait: Bait) -> str:
    name = rng.choice((CONFIG, WEIGHTS, CARD))
    file = source / name
    pickled = pickle.dumps({"x": _Runs()})
    way = rng.randrange(9)
    if way == 0:
        file.unlink(missing_ok=True)
    elif way == 1:
        file.unlink(missing_ok=True)
        file.mkdir()
    elif way == 2:
        file.write_bytes(b"")
    elif way == 3:
        file.write_bytes(pickled)
    elif way == 4:
        (
            source / rng.choice(("adapter_model.bin", "pytorch_model.bin", "training_args.bin", "optimizer.pt"))
        ).write_bytes(pickled)
        if rng.random() < 0.5:
            (source / WEIGHTS).unlink(missing_ok=True)
    elif way == 5:
        file.unlink(missing_ok=True)
        file.symlink_to(
            rng.choice((bait.folder / "pipe", bait.folder / "secret.txt", Path("/dev/zero"), source, Path("nobody")))
        )
    elif way == 6:
        (source / f"{PLANTED_MODULE}.py").write_text("raise SystemExit(7)\n")
        (source / "__init__.py").write_text(f"import {PLANTED_MODULE}\n")
    elif way == 7:
        file.unlink(missing_ok=True)
        os.mkfifo(file)
    else:
        for other in (
            "config.json",
            "tokenizer_config.json",
            "adapter_model.safetensors.index.json",
            "chat_template.jinja",
        ):
            (source / other).write_text(dumps(hostile(rng)), "utf-8", "surrogatepass")
    return f"files of the adapter ({way})"


def _card(rng: random.Random, source: Path, _bait: Bait) -> str:
    fronts = (
        _LAUGHS,
        f"xpert: !!python/object/apply:os.system ['true']\nb: !!python/name:{PLANTED_MODULE}.x",
        "xpert: &x\n  <<: *x\n  base_sha256: 1", "xpert: &x {a: *x}",
        "xpert: {base_sha256: 7, tokenizer_sha256: [x], parents: {}}",
        "xpert:\n  parents: [" + "a" * 64 + "]\n  weights: [.nan]",
        "xpert:\n  parents: [" + "a" * 64 + "]\n  weights: [1" + "0" * 400 + "]",
        "xpert:\n  base_sha256: " + "0" * 64, "xpert: " + "[" * 3000, "{" * 50, "? ? ? :", "xpert: 2001-99-99",
        "xpert: !!binary =", "- x",
        "xpert: !!timestamp 2001-01-01T99:99:99Z", "xpert:\n  base_sha256: !!int x", "base_model: &b *b",
        "%YAML 9.9\n--- x", "x: 1:2:3:" + "9" * 500,
        "xpert: {base_sha256: &d " + "F" * 64 + ", tokenizer_sha256: *d}", "\t", "xpert: \x00",
        "xpert: 0x" + "f" * 9000, "xpert:\n" + " a:\n" * 500,
    )  # fmt: skip
    text = f"---\n{rng.choice(fronts)}\n---\n# Card\n"
    raw = text.encode("utf-8", "surrogatepass")
    (source / CARD).unlink(missing_ok=True) if not (source / CARD).is_dir() else shutil.rmtree(source / CARD)
    (source / CARD).write_bytes(mutate_bytes(rng, raw) if rng.random() < 0.3 else raw)
    return "card"


def _nothing(_rng: random.Random, _source: Path, _bait: Bait) -> str:
    return "as it was"


def _stated(source: Path) -> dict[str, Any]:
    try:
        found = json.loads((source / CONFIG).read_text("utf-8", "replace"))
    except (ValueError, OSError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read(case: Case, shared: Any) -> None:
    """Inspect an adapter, put it on the base and merge it."""
    from xpert.merging.adapters import merge_adapters
    from xpert.models.adapters import check_fit, inspect_adapter
    from xpert.models.cards import merged_parents

    facts = inspect_adapter(case.source)
    check_fit(facts, shared["base"])
    merged_parents(case.source)
    check_attached(case.source, shared)
    out = Path(os.environ["TMPDIR"]) / "merged"
    shutil.rmtree(out, ignore_errors=True)
    merge_adapters({"it": (case.source, 1.0)}, shared["base"], out)
    try:
        check_fit(inspect_adapter(out), shared["base"])
        merged = check_attached(out, shared)
        own = check_attached(case.source, shared)
    finally:
        shutil.rmtree(out)
    if not torch.allclose(own, merged, rtol=1e-3, atol=1e-3):
        raise BrokenLawError("merges into another adapter", f"logits differ by up to {(own - merged).abs().max():.3g}")


def check_attached(folder: Path, shared: Any) -> torch.Tensor:
    """The logits of the base with an adapter on, as plain peft loads it."""
    from peft import PeftModel

    try:
        with torch.no_grad():
            model = PeftModel.from_pretrained(copy.deepcopy(shared["model"]), str(folder)).eval()
            logits = model(shared["words"]).logits
            whole = model.merge_and_unload()(shared["words"]).logits
    except Exception as error:
        raise BrokenLawError(
            f"accepts an adapter that peft refuses with {type(error).__name__}", str(error)[:500]
        ) from error
    if not bool(torch.isfinite(logits).all()) or not bool(torch.isfinite(whole).all()):
        raise BrokenLawError("accepts an adapter that gives numbers that are not finite", "logits")
    return logits
