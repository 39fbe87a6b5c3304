"""A base folder holds one model, whole, as its configuration says; special tokens stand in its table."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from xpert.errors import DamagedModelError, MissingModelError, ModelError
from xpert.models.generation import generate
from xpert.models.loading import LoadedModel, adapted, load_model
from xpert.models.reference import ModelReference
from xpert.records import Sample
from xpert.testing.tiny import tiny_adapter, tiny_base, tiny_tokenizer
from xpert.tuning.batches import encode

HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("plain"), seed=9)


@pytest.fixture
def base(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "base"))


def opened(folder: Path) -> LoadedModel:
    return load_model(ModelReference(str(folder)), device="cpu")


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def stated(folder: Path, name: str = "config.json", **values: object) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("files", ["whole", "config", "weights", "pickle"])
def test_adapter_files_beside_a_base_are_refused(files: str, base: Path, tmp_path: Path) -> None:
    tiny_adapter(base, tmp_path / "adapter", scale=5)
    names = {"whole": ["adapter_config.json", "adapter_model.safetensors"], "config": ["adapter_config.json"],
             "weights": ["adapter_model.safetensors"], "pickle": []}[files]  # fmt: skip
    for name in names:
        shutil.copy(tmp_path / "adapter" / name, base)
    if files == "pickle":
        (base / "adapter_model.bin").write_bytes(b"PK")
    with pytest.raises(DamagedModelError, match=r"holds a base and an adapter \(adapter_.*folder of their own"):
        opened(base)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.q_proj.bias", "model.layers.7.mlp.up_proj.weight", "stranger", "visual.patch.weight"],
)
def test_tensors_without_a_place_are_refused(name: str, base: Path) -> None:
    changed(base, lambda tensors: tensors.update({name: torch.ones(3)}))
    with pytest.raises(DamagedModelError, match=rf"1 tensors that LlamaForCausalLM has no place for.*'{name}'"):
        opened(base)


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq", "model.position_ids"]
)
def test_what_models_once_saved_does_no_harm(name: str, base: Path) -> None:
    changed(base, lambda tensors: tensors.update({name: torch.ones(4)}))
    assert opened(base).tokenizer.pad_token_id == 0


def test_a_head_that_is_the_table_may_stand_there_twice_and_no_other(base: Path) -> None:
    changed(base, lambda tensors: tensors.update({HEAD: tensors[TABLE].clone()}))
    model = opened(base).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    changed(base, lambda tensors: tensors[HEAD][0, :1].add_(0.25))
    with pytest.raises(DamagedModelError, match=rf"'{HEAD}' and '{TABLE}' are one .*two that differ"):
        opened(base)
    stated(base, tie_word_embeddings=False)
    assert opened(base).model.get_output_embeddings() is not None


def test_two_sets_of_weights_are_refused(base: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    for file in (tmp_path / "shards").glob("model*"):
        shutil.copy(file, base)
    with pytest.raises(DamagedModelError, match=r"holds model\.safetensors and the shards of .*two models: remove"):
        opened(base)
    (base / "model.safetensors").unlink()
    assert opened(base).digest


@pytest.mark.parametrize("where", ["../other.safetensors", "/etc/passwd", "deep/model.safetensors", ".."])
def test_an_index_names_nothing_elsewhere(where: str, base: Path, tmp_path: Path) -> None:
    shutil.copy(base / "model.safetensors", tmp_path / "other.safetensors")
    (base / "model.safetensors").rename(base / "model-00001-of-00001.safetensors")
    weights = dict.fromkeys(load_file(base / "model-00001-of-00001.safetensors"), where)
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    with pytest.raises((DamagedModelError, MissingModelError), match="files beside it|which its index names"):
        opened(base)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8])
def test_weights_in_eight_bits_are_refused(kind: torch.dtype, base: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    changed(base, lambda tensors: tensors.update({name: tensors[name].to(kind)}))
    with pytest.raises(DamagedModelError, match=rf"holds '{name}' as [FIU]8.*quantised.*float32"):
        opened(base)


@pytest.mark.parametrize("how", ["x", {}, 5, ["bitsandbytes"], {"quant_method": "no-such-way"}])
def test_quantised_models_that_nothing_reads_are_refused(how: object, base: Path) -> None:
    stated(base, quantization_config=how)
    with pytest.raises(ModelError, match="is quantised in a way .* bf16 or fp32"):
        opened(base)


@pytest.mark.parametrize(
    "ids",
    [{"pad_token_id": 5000}, {"pad_token_id": -1}, {"eos_token_id": 5000, "bos_token_id": 10**12},
     {"eos_token_id": [2, 9999]}, {"pad_token_id": None}],
)  # fmt: skip
def test_special_tokens_outside_the_table_are_replaced(ids: dict[str, object], base: Path, tmp_path: Path) -> None:
    adapter = tiny_adapter(base, tmp_path / "adapter")
    wanted = generate(opened(base), ["Hi", "What is bread?"], max_new_tokens=8, temperature=0)
    stated(base, **ids)
    stated(base, "generation_config.json", **ids)
    loaded = opened(base)
    size = loaded.model.config.vocab_size
    assert 0 <= loaded.tokenizer.pad_token_id < size and loaded.tokenizer.eos_token_id == 2
    assert generate(loaded, ["Hi", "What is bread?"], max_new_tokens=8, temperature=0) == wanted
    with adapted(loaded, adapter) as personal:
        assert generate(personal, ["Hi"], max_new_tokens=2)


def test_added_tokens_beyond_the_table_are_plain_text(base: Path) -> None:
    tokenizer = tiny_tokenizer(extra=("<image>", "<|more|>"))
    tokenizer.pad_token = "<|more|>"
    tokenizer.save_pretrained(base)
    loaded = opened(base)
    size = loaded.model.config.vocab_size
    assert 0 <= loaded.tokenizer.pad_token_id < size
    ids = loaded.tokenizer("see <image> <|more|>", add_special_tokens=False)["input_ids"]
    assert max(ids) < size and loaded.tokenizer.decode(ids) == "see <image> <|more|>"
    assert generate(loaded, ["see <image>", "and <|more|> of it"], max_new_tokens=4)
    assert all(max(s.tokens) < size for s in encode(loaded.tokenizer, [Sample("<image>", "<|more|>")], 99))


def test_words_beyond_the_table_are_refused(base: Path) -> None:
    small = tiny_base(base.parent / "small")
    file = small / "tokenizer.json"
    words = json.loads(file.read_text())
    words["model"]["vocab"]["zz"] = 700
    file.write_text(json.dumps(words))
    with pytest.raises(DamagedModelError, match=r"1 tokens of the tokenizer, up to 700, are beyond the \d+ rows"):
        opened(small)


def test_an_unknown_token_beyond_the_table_is_forgotten_too(base: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    rows = load_file(base / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    tokenizer.add_tokens([f"<more{number}>" for number in range(rows - len(tokenizer) + 1)])
    tokenizer.add_special_tokens({"unk_token": "<|beyond|>"})
    assert tokenizer.unk_token_id >= rows
    tokenizer.save_pretrained(base)
    loaded = opened(base)
    assert loaded.tokenizer.unk_token is None
    assert max(loaded.tokenizer.all_special_ids) < rows
