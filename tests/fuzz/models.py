"""Model folders: the small JSON beside the weights, and chat templates, as strangers write them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from fuzz.cases import BrokenLawError, Case
from fuzz.guard import Bait
from fuzz.mutations import NUMBERS, PLANTED_MODULE, dumps, hostile, misspell, mutate_json
from fuzz.tensors import mutate_tensors

_PROMPT, _SYSTEM = "Why does zebra seven rain?", "Answer like a lighthouse."
_TEMPLATES = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}", "{{ messages }}", "", "{", "{% for %}", "{{ 1 / 0 }}",
    "{{ x.y.z }}",
    "{% for a in range(10**9) %}{% endfor %}", "{{ 'a' * 10**10 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{% include '/etc/hostname' %}",
    "{% import 'os' as os %}", "{{ self.__init__.__globals__ }}",
    "{{ strftime_now('%Y-%m-%d') }}{{ messages[-1].content }}", "{{ raise_exception('no') }}",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}",
    "{{ messages[0].content[:3] }}",
    "{{ messages[-1].content | upper }}", "{{ messages[0].content }}", "{% set x = namespace(a=1) %}{{ x.a }}",
    "{{ messages[-1]['content'][0]['text'] }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ messages[-1].content }}\x1b[31m", "{{ '%s' % messages }}",
    "{{ range(10**8) | list | length }}",
    "{% if enable_thinking is defined and not enable_thinking %}n{% endif %}{{ messages[-1].content }}",
    "{{ (2 ** 99999999) | string | length }}",
    "{{ ('(a+)+$' ~ 'a' * 40) }}{{ messages[-1].content }}", "{{ messages | tojson }}",
    "{{ messages[-1].content.format(0) }}", "{{ lipsum(9999999) }}",
    "{{ '{:>999999999}'.format(1) }}", "{{ [1] * 10**10 }}", "{% set ns.x = 1 %}",
    "{{ messages.append(messages) }}{{ messages }}",
)  # fmt: skip


def prepare(room: Path) -> Any:
    """A base that was loaded once."""
    from xpert.testing.tiny import tiny_base

    base = tiny_base(room / "base", layers=1)
    read(Case(shutil.copytree(base, room / "first"), "first"), None)
    return base


def make(rng: random.Random, folder: Path, shared: Any, _bait: Bait) -> Case:
    """A copy of the base with one of its small files changed."""
    source = folder / "model"
    shutil.copytree(shared, source)
    way = rng.choices((_config, _generation, _tokenizer, _template, _weights, _others), (30, 12, 18, 28, 8, 4))[0]
    return Case(source, way(rng, source))


def _changed(rng: random.Random, file: Path, keys: dict[str, tuple[Any, ...]]) -> str:
    stated: Any = json.loads(file.read_text()) if file.is_file() else {}
    what = "a value"
    if rng.random() < 0.65:
        key = rng.choice(list(keys))
        stated[key] = rng.choice(keys[key]) if keys[key] and rng.random() < 0.8 else hostile(rng)
        what = key
    else:
        stated, what = mutate_json(rng, stated), "structure"
    text = dumps(stated)
    file.write_bytes(misspell(rng, text) if rng.random() < 0.1 else text.encode("utf-8", "surrogatepass"))
    return f"{file.name}: {what}"


def _config(rng: random.Random, source: Path) -> str:
    small = (0, -1, 1, 3, 2.5, "4", None, True, 10**6, 2**31, 2**63, 10**30)
    keys: dict[str, tuple[Any, ...]] = {
        "num_hidden_layers": (*small, 0, 2, 1_000_000), "hidden_size": small, "vocab_size": small,
        "num_attention_heads": small, "intermediate_size": small,
        "num_key_value_heads": small, "head_dim": small, "max_position_embeddings": small, "rms_norm_eps": (0, -1,
        1e38, None, "x"),
        "model_type": ("gpt2", "mamba", "bert", "nobody", "../x", None, 7, "clip", "t5", "qwen3"),
        "architectures": ([], ["X"], None, "x", [PLANTED_MODULE]),
        "auto_map": ({"AutoConfig": f"{PLANTED_MODULE}.Config", "AutoModelForCausalLM": f"{PLANTED_MODULE}.Model"}, {},
        7, []),
        "rope_theta": (0, -1, None, "x", 1e308), "rope_scaling": ({}, {"type": "x"}, {"rope_type": "dynamic",
        "factor": 0}, 7, []),
        "rope_parameters": ({}, {"rope_type": "yarn", "factor": -1}, {"rope_type": "llama3"}, None, 7),
        "tie_word_embeddings": (False, None, "x", 0),
        "pad_token_id": (-1, 10**6, 2**63, None, "x", [1], 0.5), "eos_token_id": (-1, 10**6, [], [1, "x"], None),
        "bos_token_id": (-1, 10**9, "x"),
        "quantization_config": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {"quant_method": "gptq",
        "bits": 4}, {}, {"quant_method": "x"}, 7),
        "torch_dtype": ("float16", "float64", "int8", "x", 7, "torch.os"), "dtype": ("float16", "bfloat16", "x", 7,
        []), "attn_implementation": ("x", "flash_attention_2"),
        "_attn_implementation": ("eager", "kernels-community/x", "somebody/kernel:f"), "hidden_act": ("x", None,
        "gelu", 7), "_name_or_path": ("/etc/hostname", 7),
        "attention_dropout": (7, -1, "x"), "use_cache": ("x", False), "is_encoder_decoder": (True,),
        "initializer_range": (-1, "x"), "mlp_bias": (True, "x"),
        "attention_bias": (True, "x"), "pretraining_tp": (0, 2, -1), "return_dict": (False,),
        "output_attentions": (True, "x"), "id2label": ({}, 7, {"x": 1}),
        "num_labels": (10**9, -1, "x"), "layer_types": (["x"], ["sliding_attention"], 7), "sub_configs": (7,),
        "_commit_hash": ("x", 7), "transformers_version": ("x", 7),
    }  # fmt: skip
    return _changed(rng, source / "config.json", keys)


def _generation(rng: random.Random, source: Path) -> str:
    keys: dict[str, tuple[Any, ...]] = {
        "repetition_penalty": (0, -1, 1e38, "x"), "num_beams": (0, 4, 10**6, "x"), "min_p": (7, "x", -1),
        "no_repeat_ngram_size": (2, -1, 10**9), "eos_token_id": (-1, 10**9, "x", []),
        "forced_eos_token_id": (10**9, 5), "forced_bos_token_id": (10**9, -1), "suppress_tokens": ([10**9], "x",
        list(range(300))), "bad_words_ids": ([[10**9]], [[]], 7, [[5]]),
        "max_length": (0, -1, 1, 10**9), "min_length": (10**9,), "max_time": (0, -1), "cache_implementation": ("x",
        "static", "offloaded"), "stop_strings": (["x"], 7),
        "custom_generate": (PLANTED_MODULE, "."), "assistant_model": ("x",), "watermarking_config": ({}, 7),
        "temperature": (0, "x", NUMBERS[-1]), "top_k": (-1, "x"), "do_sample": ("x",),
        "pad_token_id": (10**9, -1, "x"), "num_return_sequences": (3, 0), "penalty_alpha": (7,),
        "return_dict_in_generate": (True,), "sequence_bias": ({"x": 1}, [[[5], 9.0]]),
        "guidance_scale": (3.0,), "encoder_no_repeat_ngram_size": (3,), "prompt_lookup_num_tokens": (3,),
        "use_cache": (False, "x"), "diversity_penalty": (1.0,), "begin_suppress_tokens": ([5], 7),
    }  # fmt: skip
    return _changed(rng, source / "generation_config.json", keys)


def _tokenizer(rng: random.Random, source: Path) -> str:
    file = source / rng.choice(
        ("tokenizer_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json")
    )
    keys: dict[str, tuple[Any, ...]] = {
        "tokenizer_class": ("LlamaTokenizer", "nobody", PLANTED_MODULE, None, 7, "BertTokenizer"),
        "auto_map": ({"AutoTokenizer": [f"{PLANTED_MODULE}.T", None]}, {}, 7),
        "pad_token": (None, "", "nobody", 7, {"__type": "AddedToken", "content": "x"}), "eos_token": (None, "",
        "nobody", 7), "bos_token": (None, 7, "x" * 1000), "unk_token": (7,),
        "model_max_length": (0, -1, 1, "x", 10**40), "padding_side": ("x", "right", 7), "truncation_side": ("x", 7),
        "added_tokens_decoder": ({"0": {}}, {"x": 7}, 7, {str(10**9): {"content": "x"}}),
        "chat_template": (*_TEMPLATES[:6], [], [{"name": "default", "template": "{{ messages[-1].content }}"}], 7,
        {"default": "x"}), "extra_special_tokens": (7, {"x": 7}, ["x"], {"pad_token": "x"}),
        "additional_special_tokens": (7, [7], ["x"] * 9), "model": (7, {}, {"type": "X"}, {"type": "BPE", "vocab": {},
        "merges": []}), "added_tokens": (7, [{}], [{"id": 10**9, "content": "x"}]),
        "pre_tokenizer": (7, {"type": "X"}, {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated",
        "invert": False}), "normalizer": (7, {"type": "X"}, None),
    }  # fmt: skip
    return _changed(rng, file, keys)


def _template(rng: random.Random, source: Path) -> str:
    text = rng.choice(_TEMPLATES)
    (source / "chat_template.jinja").write_text(text)
    return "chat template"


def _weights(rng: random.Random, source: Path) -> str:
    return mutate_tensors(rng, source / "model.safetensors")


def _others(rng: random.Random, source: Path) -> str:
    name = rng.choice(
        (
            "adapter_config.json",
            "model.safetensors.index.json",
            "preprocessor_config.json",
            "added_tokens.json",
            "vocab.json",
            "chat_template.json",
        )
    )
    (source / name).write_text(dumps(hostile(rng)), "utf-8", "surrogatepass")
    (source / f"{PLANTED_MODULE}.py").write_text("raise SystemExit(7)\n")
    return f"{name} beside the model"


def read(case: Case, _shared: Any) -> None:
    """Load a model, put a prompt to it, and let it answer."""
    import torch

    from xpert.models.chats import render_chat
    from xpert.models.generation import generate
    from xpert.models.loading import load_model
    from xpert.models.reference import ModelReference

    loaded = load_model(ModelReference(str(case.source)), device="cpu")
    for system in (None, _SYSTEM):
        text = render_chat(loaded.tokenizer, _PROMPT, system)
        if not isinstance(text, str) or _PROMPT not in text or (system or "") not in text:
            raise BrokenLawError("accepts a chat template that drops the prompt or the system turn", case.how)
    words = torch.tensor([[1, 20, 30, 40]])
    if not bool(torch.isfinite(loaded.model(words).logits).all()):
        raise BrokenLawError("accepts a model that gives numbers that are not finite", case.how)
    first, second = (generate(loaded, [_PROMPT, "x"], max_new_tokens=5, seed=1) for _ in range(2))
    if len(first) != 2 or first != second or not all(isinstance(answer, str) for answer in first):
        raise BrokenLawError("accepts a model that answers otherwise the second time", case.how)
