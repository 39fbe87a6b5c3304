"""What an exported folder is made of, and what is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from xpert.errors import ModelError, SettingsError
from xpert.export import ExportSettings, export
from xpert.export.architecture import read_architecture
from xpert.export.tape import OPSET
from xpert.models.adapters import WEIGHTS
from xpert.models.reference import ModelReference
from xpert.runtime import OnnxRuntime, TorchRuntime, read_manifest
from xpert.runtime.golden import read_golden
from xpert.runtime.interface import StepSettings
from xpert.testing.tiny import tiny_base, tiny_tokenizer
from xpert.testing.tiny_families import FAMILIES

Bases = Callable[[str], Path]
SHORT = ExportSettings(rank=2, max_length_tokens=64)
# All of them have kernels for the CPU, and so for WebAssembly.
OPERATORS = set(
    "Add Cast Concat ConstantOfShape DequantizeLinear Div Exp Gather Gemm Identity LessOrEqual Log MatMul Min Mul Pow "
    "Range Reciprocal ReduceMax ReduceSum ReduceSumSquare Reshape ScatterND Shape Sigmoid Slice Softmax Split Sqrt "
    "Squeeze Sub Transpose Unsqueeze Where".split()
)


@pytest.fixture(scope="module")
def folders(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    room = tmp_path_factory.mktemp("exported")
    export(ModelReference(str(bases("qwen2"))), room / "float32", SHORT)
    export(ModelReference(str(bases("qwen2"))), room / "int8", ExportSettings(rank=2, max_length_tokens=64, int8=True))
    return {name: room / name for name in ("float32", "int8")}


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_graphs_are_standard_small_and_read_one_file(kind: str, folders: dict[str, Path]) -> None:
    for file in ("train", "evaluate", "generate"):
        path = folders[kind] / f"{file}.onnx"
        model = onnx.load(str(path), load_external_data=False)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        assert {(node.domain, node.op_type) for node in model.graph.node} <= {("", name) for name in OPERATORS}
        assert path.stat().st_size < 300_000
        outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert {e.value for t in outside for e in t.external_data if e.key == "location"} == {"base.safetensors"}
        assert max(np.prod(t.dims) for t in model.graph.initializer if t not in outside) < 500


def test_the_base_is_plain_safetensors_and_the_adapter_file_is_the_vector(
    bases: Bases, folders: dict[str, Path]
) -> None:
    base, model = load_file(folders["float32"] / "base.safetensors"), load_file(bases("qwen2") / "model.safetensors")
    assert all(np.array_equal(base[name], array) for name, array in model.items())
    raw = (folders["float32"] / "adapter" / WEIGHTS).read_bytes()
    header = int.from_bytes(raw[:8], "little")
    runtime = OnnxRuntime(folders["float32"], threads=1)
    assert np.array_equal(np.frombuffer(raw[8 + header :], "<f4"), runtime.state().adapter)


def test_int8_is_small_and_its_error_is_told(folders: dict[str, Path]) -> None:
    manifest, whole = read_manifest(folders["int8"]), read_manifest(folders["float32"])
    assert whole.base.weight_error == whole.base.loss_error == 0
    assert 0 < manifest.base.weight_error < 0.02 and 0 < manifest.base.loss_error < 0.05
    sizes = [m.files["base.safetensors"].size_bytes for m in (manifest, whole)]
    assert sizes[0] < 0.5 * sizes[1]
    runtime, reference = OnnxRuntime(folders["int8"], threads=1), TorchRuntime(folders["int8"])
    batches = [batch.batch() for batch in read_golden(folders["int8"]).evaluation]
    for _ in range(10):
        one, other = (r.step(batches, StepSettings(2e-3)).loss for r in (runtime, reference))
        assert one == pytest.approx(other, abs=1e-5)


def test_the_golden_answer_is_what_onnx_generates(folders: dict[str, Path]) -> None:
    from xpert.runtime.interface import Answering

    for folder in folders.values():
        golden, runtime = read_golden(folder), OnnxRuntime(folder, threads=1)
        for step in golden.steps:
            settings = StepSettings(step.learning_rate, step.weight_decay, step.max_gradient_norm)
            runtime.step([batch.batch() for batch in step.batches], settings)
        assert runtime.generate(golden.prompt, Answering(len(golden.answer))) == golden.answer


def test_exporting_twice_gives_the_same_files(bases: Bases, folders: dict[str, Path], tmp_path: Path) -> None:
    again = export(ModelReference(str(bases("qwen2"))), tmp_path / "again", SHORT)
    assert again == read_manifest(folders["float32"])


def test_an_unsupported_family_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2)).save_pretrained(
        tmp_path / "b"
    )
    tokenizer.save_pretrained(tmp_path / "b")
    with pytest.raises(ModelError, match=r"family 'gpt2' cannot be exported; these can: llama, mistral, qwen2, qwen3"):
        export(ModelReference(str(tmp_path / "b")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("family", "changed", "said"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ("mistral", {"sliding_window": 8}, "a sliding window of 8 tokens"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}, "a sliding window of 8"),
    ],
)
def test_an_unsupported_part_of_a_family_is_refused(family: str, changed: dict[str, Any], said: str) -> None:
    config = FAMILIES[family]()
    rebuilt = type(config)(**{**config.to_dict(), "layer_types": None, **changed})
    with pytest.raises(ModelError, match=said):
        read_architecture(rebuilt)


def test_an_adapter_on_the_output_layer_is_refused(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(target_modules=["embed_tokens"])).save_pretrained(
        str(tmp_path / "adapter"), save_embedding_layers=False
    )
    with pytest.raises(ModelError, match=r"changes 'model\.embed_tokens'; exported graphs have adapters on q_proj"):
        export(ModelReference(str(base), str(tmp_path / "adapter")), tmp_path / "out")


@pytest.mark.parametrize(
    ("template", "right"),
    [
        ("{% for m in messages %}<{{ m['content'] | trim }}>{% endfor %}", True),
        ("{% for m in messages %}<{{ m['content'] | upper }}>{% endfor %}", False),
        (None, True),
    ],
)
def test_templates_are_data_or_refused(template: str | None, right: bool, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", chat=template is not None)
    if template is not None:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(base)
    if not right:
        with pytest.raises(ModelError, match=r"not prefix \+ prompt \+ suffix: of .* give the base a plainer"):
            export(ModelReference(str(base)), tmp_path / "out")
        return
    prompt = export(ModelReference(str(base)), tmp_path / "out").prompt
    wanted = ("<", ">", True, "<>") if template else ("", "\n\n", False, "")
    assert (prompt.prefix, prompt.suffix, prompt.strip, prompt.empty) == wanted


def test_the_shortest_length(bases: Bases, tmp_path: Path) -> None:
    export(ModelReference(str(bases("llama"))), tmp_path / "out", ExportSettings(max_length_tokens=8))
    assert {len(ids) for batch in read_golden(tmp_path / "out").evaluation for ids in batch.input_ids} == {8}


def test_too_short_a_length(bases: Bases, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="max_length_tokens is 4: it must be at least 8"):
        export(ModelReference(str(bases("llama"))), tmp_path / "out", ExportSettings(max_length_tokens=4))
