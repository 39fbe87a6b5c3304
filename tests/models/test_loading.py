"""Models open, or say what is wrong with them; an adapter goes on and off without a trace."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from xpert import embedded
from xpert.errors import DamagedModelError, MismatchError, MissingModelError, SettingsError
from xpert.models.chats import render_chat
from xpert.models.generation import generate
from xpert.models.loading import LoadedModel, adapted, choose_device, choose_dtype, load_model
from xpert.models.reference import ModelReference, resolve_folder
from xpert.testing.tiny import tiny_adapter, tiny_base, tiny_tokenizer

IDS = torch.arange(10, 30)[None]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading")
    tiny_adapter(tiny_base(folder / "base"), folder / "one", seed=1)
    tiny_adapter(folder / "base", folder / "two", seed=2, targets=("gate_proj", "down_proj"), rank=2)
    return folder


@pytest.fixture
def base(room: Path) -> LoadedModel:
    return load_model(ModelReference(str(room / "base")), device="cpu")


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(input_ids=IDS).logits.clone()


def opened(folder: Path) -> LoadedModel:
    return load_model(ModelReference(str(folder)), device="cpu")


def broken(room: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """A copy of the base whose tensors were changed."""
    shutil.copytree(room / "base", to)
    tensors = load_file(to / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    return to


def test_a_model_comes_ready_to_answer(base: LoadedModel, room: Path) -> None:
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert base.tokenizer.padding_side == "left"
    assert (base.folder, base.device.type) == ((room / "base").resolve(), "cpu")
    assert len(base.digest) == len(base.tokenizer_digest) == 64


def test_a_tokenizer_without_padding_pads_with_the_end(tmp_path: Path) -> None:
    tiny_base(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert opened(tmp_path).tokenizer.pad_token == "<|end|>"


def test_an_adapter_named_by_the_reference_is_on(room: Path, base: LoadedModel) -> None:
    loaded = load_model(ModelReference(str(room / "base"), str(room / "one")), device="cpu")
    assert not torch.equal(logits(loaded), logits(base))
    assert loaded.digest == base.digest


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match=r"no model folder .*nowhere.*Hugging Face name"):
        opened(tmp_path / "nowhere")
    with pytest.raises(MissingModelError, match=r"no model folder \.\./nowhere"):
        load_model(ModelReference("../nowhere"))
    with pytest.raises(MissingModelError, match=r"no adapter folder .*nowhere"):
        load_model(ModelReference(str(tiny_base(tmp_path / "base")), str(tmp_path / "nowhere")))


def test_a_missing_part_is_named(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room / "base", tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(MissingModelError, match=r"no \.safetensors file.*pickled weights are refused"):
        opened(tmp_path / "base")
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(MissingModelError, match=r"no config\.json"):
        opened(tmp_path / "base")


@pytest.mark.parametrize("offline", ["1", "0"])
def test_a_hub_name_without_network_fails_at_once(offline: str, tmp_path: Path) -> None:
    script = (
        "from xpert.errors import MissingModelError\n"
        "from xpert.models.reference import resolve_folder\n"
        "try:\n    resolve_folder('nobody/has-this')\n"
        "except MissingModelError as error:\n    print(error)\n"
    )
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline, "HF_HOME": str(tmp_path)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **closed}, capture_output=True, text=True, timeout=60
    )
    assert "'nobody/has-this' is neither a folder here nor in the local Hugging Face cache" in done.stdout, done.stderr
    assert "HF_HUB_OFFLINE" in done.stdout
    assert time.perf_counter() - began < 20


def test_embedded_names_mean_the_packages_own_folders(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded.EMBEDDED_MODELS["xpert/base"] == embedded.ASSETS / "base"
    assert embedded.EMBEDDED_MODELS["xpert/summarizer"] == embedded.ASSETS / "summarizer"
    monkeypatch.setitem(embedded.EMBEDDED_MODELS, "xpert/base", room / "base")
    assert load_model(ModelReference("xpert/base"), device="cpu").folder == (room / "base").resolve()
    monkeypatch.setitem(embedded.EMBEDDED_MODELS, "xpert/base", room / "gone")
    with pytest.raises(MissingModelError, match=r"comes with the package.*install xpert again"):
        resolve_folder("xpert/base")


def test_truncated_weights_are_damage(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room / "base", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    for kept in (weights.stat().st_size - 1, 40, 0):
        weights.write_bytes((room / "base" / "model.safetensors").read_bytes()[:kept])
        with pytest.raises(DamagedModelError, match=r"cut cannot be read.*download it again"):
            opened(tmp_path / "cut")


def test_weights_that_do_not_fill_the_model_are_damage(room: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    lacking = broken(room, tmp_path / "lacking", lambda tensors: tensors.pop(name))
    with pytest.raises(DamagedModelError, match=rf"lacks 1 tensors.*'{name}'"):
        opened(lacking)
    with pytest.raises(DamagedModelError, match=r"does not fit its own config\.json, whose sizes.*download it again"):
        opened(broken(room, tmp_path / "other", lambda tensors: tensors.update({name: torch.zeros(3, 3)})))


def with_tokenizer_class(kind: str, room: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(room / "base", tmp_path / "base"))
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tokenizer_class": kind}))
    return folder


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_a_class_that_adds_an_unknown_token_beyond_the_table_reads_every_text(
    kind: str, room: Path, tmp_path: Path
) -> None:
    tokenizer = opened(with_tokenizer_class(kind, room, tmp_path)).tokenizer
    text = "A line, ünïcödé 语 🙂\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == opened(room / "base").tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", ["BertTokenizer"])
def test_a_tokenizer_that_reads_no_text_is_damage(kind: str, room: Path, tmp_path: Path) -> None:
    """It is built without a word, and fails at the first word."""
    folder = with_tokenizer_class(kind, room, tmp_path)
    with pytest.raises(DamagedModelError, match=r"base reads no text .*tokenizer_config\.json.*download it again"):
        opened(folder)


def test_nan_in_the_weights_is_damage(room: Path, tmp_path: Path) -> None:
    folder = broken(room, tmp_path / "nan", lambda tensors: tensors["model.norm.weight"][:1].fill_(float("nan")))
    with pytest.raises(DamagedModelError, match=r"model\.norm\.weight holds NaN"):
        opened(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_broken_json_is_damage(file: str, room: Path, tmp_path: Path) -> None:
    shutil.copytree(room / "base", tmp_path / "base")
    (tmp_path / "base" / file).write_text("{")
    with pytest.raises(DamagedModelError, match="base"):
        opened(tmp_path / "base")


def test_an_adapter_of_another_base_is_refused_before_it_is_read(room: Path, base: LoadedModel, tmp_path: Path) -> None:
    stranger = tiny_adapter(tiny_base(tmp_path / "wide", width=64), tmp_path / "stranger")
    with pytest.raises(MismatchError, match=r"stranger.*does not fit base.*give the base that it was tuned on"):
        load_model(ModelReference(str(room / "base"), str(stranger)), device="cpu")
    before = logits(base)
    with pytest.raises(MismatchError, match="does not fit"), adapted(base, stranger):
        pass
    assert torch.equal(logits(base), before)


@pytest.mark.parametrize("device", ["nonsense", "cuda:93", "meta"])
def test_an_unknown_device_is_refused(device: str, room: Path) -> None:
    with pytest.raises(SettingsError, match=rf"device '{device}' is not available here: use cpu, cuda, mps or auto"):
        load_model(ModelReference(str(room / "base")), device=device)


def test_numbers_are_narrow_only_on_cuda_unless_asked_for() -> None:
    assert choose_dtype(torch.device("cpu")) == torch.float32
    assert choose_dtype(torch.device("cuda")) == torch.bfloat16
    assert choose_dtype(torch.device("cuda"), torch.float32) == torch.float32
    assert choose_device("cpu") == torch.device("cpu")


def test_an_adapter_goes_on_and_off_without_a_trace(room: Path, base: LoadedModel) -> None:
    before, names = logits(base), [name for name, _ in base.model.named_modules()]
    spoken = generate(base, ["What is rain?"], max_new_tokens=12)
    for adapter in ("one", "two", "one"):
        plain = AutoModelForCausalLM.from_pretrained(room / "base")
        wanted = PeftModel.from_pretrained(plain, str(room / adapter)).eval()
        with adapted(base, room / adapter) as personalized:
            assert torch.equal(logits(personalized), wanted(input_ids=IDS).logits)
            assert not torch.equal(logits(personalized), before)
            assert generate(personalized, ["What is rain?"], max_new_tokens=12) != spoken
            assert personalized.digest == base.digest
        assert torch.equal(logits(base), before)
        assert [name for name, _ in base.model.named_modules()] == names
    assert generate(base, ["What is rain?"], max_new_tokens=12) == spoken


def test_the_adapter_goes_off_when_the_body_raises(room: Path, base: LoadedModel) -> None:
    before = logits(base)
    with pytest.raises(KeyboardInterrupt), adapted(base, room / "one"):
        raise KeyboardInterrupt
    assert torch.equal(logits(base), before)


def test_two_adapters_at_once_are_refused(room: Path, base: LoadedModel) -> None:
    loaded = load_model(ModelReference(str(room / "base"), str(room / "one")), device="cpu")
    before = logits(loaded)
    with (
        pytest.raises(SettingsError, match=r"an adapter is on .* already.*load the base alone"),
        adapted(loaded, room / "two"),
    ):
        pass
    assert torch.equal(logits(loaded), before)
    with adapted(base, room / "one"), pytest.raises(SettingsError, match="already"), adapted(base, room / "two"):
        pass


def test_a_chat_ends_where_the_answer_starts() -> None:
    chat, plain = tiny_tokenizer(), tiny_tokenizer(chat=False)
    assert render_chat(chat, "Hi", "Be kind.") == "<|bos|><|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>"
    assert render_chat(chat, "Hi") == "<|bos|><|user|>Hi<|end|><|assistant|>"
    assert render_chat(plain, "Hi", "Be kind.") == "Be kind.\n\nHi\n\n"
    assert render_chat(plain, "Hi") == "Hi\n\n"


def test_a_template_without_system_turns_gets_it_before_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        + str(tokenizer.chat_template)
    )
    assert render_chat(tokenizer, "Hi", "Be kind.") == "<|bos|><|user|>Be kind.\n\nHi<|end|><|assistant|>"


def marked(folder: Path, name: str = "config.json", **changes: object) -> Path:
    """A folder one of whose files names code, and that code: it leaves a file where it ran."""
    file = folder / name
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.is_file() else {}), **changes}))
    ran = str(folder / "ran")
    (folder / "own.py").write_text(f"open({ran!r}, 'w').close()\nclass Own: ...\n")
    return folder


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"model_type": "strange", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.Own", None]}},
        ),
    ],
)
def test_code_that_comes_with_a_model_is_refused_and_nobody_is_asked(
    file: str, changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked whether to run code"))
    folder = marked(tiny_base(tmp_path / "base"), file, **changes)
    with pytest.raises(DamagedModelError, match=r"names Python code to run \(auto_map\).*is not run: give a model"):
        opened(folder)
    assert not (folder / "ran").exists()


def test_a_model_of_a_known_type_opens_without_the_code_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked whether to run code"))
    code = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    folder = marked(tiny_base(tmp_path / "base"), auto_map=code)
    assert type(opened(folder).model).__name__ == "LlamaForCausalLM"
    assert not (folder / "ran").exists()
