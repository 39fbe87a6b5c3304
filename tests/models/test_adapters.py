"""What of an adapter folder is read, what is refused, and why; uploads are hostile."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models import lora_settings
from xpert.models.adapters import ADAPTER_FILES, CONFIG, WEIGHTS, check_fit, inspect_adapter
from xpert.models.cards import CARD, merged_parents
from xpert.models.headers import HEADER_CAP_BYTES, read_header
from xpert.models.reference import folder_digest, model_digest, tokenizer_digest
from xpert.testing.tiny import tiny_adapter, tiny_base

Q0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def original(base: Path) -> Path:
    return tiny_adapter(base, base.parent / "adapter")


@pytest.fixture
def adapter(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "adapter"))


def configure(adapter: Path, **changes: Any) -> None:
    file = adapter / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def write_card(adapter: Path, text: str) -> None:
    (adapter / CARD).write_bytes(text.encode())


def raw_file(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[Any], offsets: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def change_tensors(adapter: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load((adapter / WEIGHTS).read_bytes())
    change(tensors)
    save_file(tensors, adapter / WEIGHTS, metadata={"format": "pt"})


class TestFacts:
    def test_of_a_real_adapter(self, base: Path, adapter: Path) -> None:
        facts = inspect_adapter(adapter)
        assert (facts.rank, facts.alpha, facts.target_modules) == (4, 8.0, ("q_proj", "v_proj"))
        assert facts.base_name == str(base)
        assert facts.shapes == {name: tuple(t.shape) for name, t in load((adapter / WEIGHTS).read_bytes()).items()}
        assert facts.size_bytes == sum((adapter / name).stat().st_size for name in (*ADAPTER_FILES, CARD))
        assert facts.digest == folder_digest(adapter, ADAPTER_FILES)
        assert facts.base_digest is None
        assert facts.tokenizer_digest is None

    def test_digest_is_of_configuration_and_weights_alone(self, adapter: Path) -> None:
        before = inspect_adapter(adapter).digest
        write_card(adapter, "another card")
        (adapter / "training_args.bin").write_bytes(b"\x80\x04.")
        assert inspect_adapter(adapter).digest == before
        change_tensors(adapter, lambda tensors: tensors[Q0].mul_(2))
        changed = inspect_adapter(adapter).digest
        configure(adapter, lora_alpha=9)
        assert len({before, changed, inspect_adapter(adapter).digest}) == 3

    def test_card_gives_the_digests_of_base_and_tokenizer(self, adapter: Path) -> None:
        write_card(adapter, f"---\nxpert:\n  base_sha256: {'AB' * 32}\n  tokenizer_sha256: {'c' * 64}\n---\n# Hello\n")
        facts = inspect_adapter(adapter)
        assert facts.base_digest == "ab" * 32
        assert facts.tokenizer_digest == "c" * 64

    @pytest.mark.parametrize(
        "card",
        [
            "",
            "# no front matter",
            "---\nxpert: [1, 2\n---\n",
            "---\n- a list\n---\n",
            "---\nxpert: words\n---\n",
            "---\nxpert: {base_sha256: 12, tokenizer_sha256: ../../etc/passwd}\n---\n",
            "---\nxpert: {base_sha256: !!python/object/apply:os.system [exit]}\n---\n",
            "---\nxpert: 2025-99-99\n---\n",
            "---\nxpert: " + "[" * 1000 + "\n---\n",
            "---\nxpert: {? {a: b} : c}\n---\n",
            "---\na0: &a0 {k: 1}\n"
            + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
            + f"xpert: {{base_sha256: {'a' * 64}}}\n---\n",
            "---\nxpert: {base_sha256: " + "a" * 64 + "}\nfill: " + "x" * 2**20 + "\n---\n",
        ],
    )
    def test_broken_card_says_nothing(self, adapter: Path, card: str) -> None:
        write_card(adapter, card)
        assert inspect_adapter(adapter).base_digest is None

    def test_card_with_windows_line_ends_and_a_long_body(self, adapter: Path) -> None:
        write_card(adapter, f"---\r\nxpert:\r\n  base_sha256: {'a' * 64}\r\n---\r\n" + "<<SYS>> é" * 20_000)
        assert inspect_adapter(adapter).base_digest == "a" * 64

    def test_card_that_is_no_text_says_nothing(self, adapter: Path) -> None:
        (adapter / CARD).write_bytes(b"---\nxpert: \xff\xfe\n---\n")
        assert inspect_adapter(adapter).base_digest is None
        (adapter / CARD).unlink()
        assert inspect_adapter(adapter).base_digest is None


class TestMissing:
    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingModelError, match=r"no adapter folder .*nowhere"):
            inspect_adapter(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ADAPTER_FILES)
    def test_file(self, adapter: Path, name: str) -> None:
        (adapter / name).unlink()
        with pytest.raises(MissingModelError, match=f"holds no {name}"):
            inspect_adapter(adapter)

    def test_pickled_weights_alone(self, adapter: Path) -> None:
        (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
        with pytest.raises(MissingModelError, match=r"adapter_model\.bin.*refused.*safe_serialization"):
            inspect_adapter(adapter)


class TestPickles:
    def test_pickle_by_another_name_is_refused_and_not_run(self, adapter: Path, tmp_path: Path) -> None:
        class Harm:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "harm",))

        for protocol in (2, 4, 5):
            (adapter / WEIGHTS).write_bytes(pickle.dumps({"w": [Harm(), "x" * 300]}, protocol=protocol))
            with pytest.raises(DamagedModelError, match="pickle"):
                inspect_adapter(adapter)
        assert not (tmp_path / "harm").exists()

    def test_torch_save(self, adapter: Path) -> None:
        torch.save(load((adapter / WEIGHTS).read_bytes()), adapter / WEIGHTS)
        assert zipfile.is_zipfile(adapter / WEIGHTS)
        with pytest.raises(DamagedModelError, match="zip archive"):
            inspect_adapter(adapter)

    def test_header_length_that_looks_like_a_pickle_is_read(self, adapter: Path) -> None:
        raw = (adapter / WEIGHTS).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        padded = raw[8 : 8 + length].rstrip().ljust(0x0480 if length < 0x0480 else 0x010480)  # 80 04 ...
        (adapter / WEIGHTS).write_bytes(raw_file(padded, raw[8 + length :]))
        assert (adapter / WEIGHTS).read_bytes().startswith(b"\x80\x04")
        assert inspect_adapter(adapter).rank == 4


class TestHeader:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "truncated"),
            (b"\x02\0\0", "truncated"),
            (raw_file({}, length=2**63), "announces a header"),
            (raw_file({}, length=HEADER_CAP_BYTES + 1), "announces a header"),
            (raw_file({}, length=1), "announces a header"),
            (raw_file(b"[]"), "does not start"),
            (raw_file(b' {"a":1}'), "does not start"),
            (raw_file(b"{" * 60_000), "not plain JSON"),
            (raw_file(b'{"a": NaN}'), "NaN is no JSON"),
            (raw_file(b'{"\\ud800": 1}'), "not plain JSON"),
            (raw_file(b'{"a\xff": 1}'), "not plain JSON"),
            (raw_file(b'{"a": {"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}'), "not plain JSON"),
            (raw_file({"__metadata__": {"a": 1}}), "__metadata__"),
            (raw_file({"a": 1}), "needs exactly"),
            (raw_file({"a": {**tensor([1], [0, 4]), "more": 1}}, bytes(4)), "needs exactly"),
            (raw_file({"a": tensor([1], [0, 8], "I64")}, bytes(8)), "has dtype 'I64'"),
            (raw_file({"a": tensor([1], [0, 1], "F8_E4M3")}, bytes(1)), "dtype"),
            (raw_file({"a": {**tensor([1], [0, 4]), "dtype": []}}, bytes(4)), "dtype"),
            (raw_file({"a": tensor([True], [0, 4])}, bytes(4)), "whole numbers"),
            (raw_file({"a": tensor([1.0], [0, 4])}, bytes(4)), "whole numbers"),
            (raw_file({"a": tensor([-1], [4, 0])}, bytes(4)), "whole numbers"),
            (raw_file({"a": tensor([1], [0, 4, 8])}, bytes(4)), "whole numbers"),
            (raw_file({"a": tensor([1], [4, 0])}, bytes(4)), "needs 4 bytes"),
            (raw_file({"a": tensor([2], [0, 4])}, bytes(4)), "needs 8 bytes"),
            (raw_file({"a": tensor([2**62, 2**62], [0, 4])}, bytes(4)), "needs 8507"),
            (raw_file({"a": tensor([1], [0, 4])}, bytes(3)), "has 7?"),
            (raw_file({"a": tensor([1], [0, 4])}, bytes(5)), "carries something else"),
            (raw_file({"a": tensor([1], [4, 8])}, bytes(8)), "gap or overlap"),
            (raw_file({"a": tensor([1], [0, 4]), "b": tensor([1], [0, 4])}, bytes(8)), "gap or overlap"),
            (raw_file({"a" * 513: tensor([1], [0, 4])}, bytes(4)), "513 characters"),
            (
                raw_file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":1}', bytes(4)),
                "a key stands twice",
            ),
            (
                raw_file(b'{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,4]}}', bytes(4)),
                "a key stands twice",
            ),
            (raw_file({}), "holds no tensors"),
        ],
    )
    def test_lie_is_found(self, adapter: Path, content: bytes, reason: str) -> None:
        (adapter / WEIGHTS).write_bytes(content)
        with pytest.raises(DamagedModelError, match=reason):
            inspect_adapter(adapter)

    def test_truncated_anywhere(self, adapter: Path) -> None:
        whole = (adapter / WEIGHTS).read_bytes()
        for length in [*range(0, len(whole), 61), len(whole) - 1]:
            (adapter / WEIGHTS).write_bytes(whole[:length])
            with pytest.raises(DamagedModelError):
                inspect_adapter(adapter)

    def test_order_in_the_header_does_not_matter(self, tmp_path: Path) -> None:
        file = tmp_path / "two.safetensors"
        file.write_bytes(
            raw_file({"b": tensor([1], [4, 8]), "none": tensor([0], [4, 4]), "a": tensor([], [0, 4])}, bytes(8))
        )
        assert [(e.name, e.shape) for e in read_header(file)] == [("a", ()), ("none", (0,)), ("b", (1,))]


class TestNumbers:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_not_finite(self, adapter: Path, dtype: torch.dtype, value: float) -> None:
        def spoil(tensors: dict[str, torch.Tensor]) -> None:
            for name in tensors:
                tensors[name] = tensors[name].to(dtype)
            tensors[Q0][-1, -1] = value

        change_tensors(adapter, spoil)
        with pytest.raises(DamagedModelError, match=r"layers\.0.*q_proj.*NaN or infinite.*learning rate"):
            inspect_adapter(adapter)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_large_and_small_ones_of_real_adapters_are_read(self, adapter: Path, dtype: torch.dtype) -> None:
        def stretch(tensors: dict[str, torch.Tensor]) -> None:
            for name in tensors:
                tensors[name] = tensors[name].to(dtype)
            tensors[Q0][0, :3] = torch.tensor([100, -100, -0.0], dtype=dtype)
            tensors[Q0][1, 0] = torch.finfo(dtype).tiny

        change_tensors(adapter, stretch)
        assert inspect_adapter(adapter).rank == 4

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_largest_of_a_format_is_absurd(self, adapter: Path, dtype: torch.dtype) -> None:
        def stretch(tensors: dict[str, torch.Tensor]) -> None:
            for name in tensors:
                tensors[name] = tensors[name].to(dtype)
            tensors[Q0][0, 0] = torch.finfo(dtype).max

        change_tensors(adapter, stretch)
        with pytest.raises(DamagedModelError, match=r"holds a number of size \S+, at most 10000 is read"):
            inspect_adapter(adapter)

    @pytest.mark.parametrize("value", [1e30, -1e30, 20_000.0])
    def test_finite_and_absurd(self, adapter: Path, value: float) -> None:
        change_tensors(adapter, lambda tensors: tensors[Q0].view(-1)[5:6].fill_(value))
        with pytest.raises(DamagedModelError, match=rf"layers\.0.*q_proj.*size {abs(value):.3g}".replace("+", r"\+")):
            inspect_adapter(adapter)

    def test_a_product_that_no_model_survives(self, adapter: Path) -> None:
        change_tensors(adapter, lambda tensors: [tensor.fill_(30) for tensor in tensors.values()])
        with pytest.raises(DamagedModelError, match=r"would change by up to \S+ .*at most 10000 is read"):
            inspect_adapter(adapter)

    def test_an_alpha_that_no_model_survives(self, adapter: Path) -> None:
        configure(adapter, lora_alpha=2**30)
        with pytest.raises(DamagedModelError, match=r"s = 2\.68435e\+08"):
            inspect_adapter(adapter)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
            ({"auto_mapping": {"base_model_class": "X", "parent_library": "evil.module"}}, "Python code"),
            ({"auto_mapping": "evil"}, "Python code"),
            ({"auto_map": {}}, "Python code"),
            ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron_config"),
            ({"bias": "all"}, "bias is 'all'"),
            ({"use_dora": True}, "use_dora"),
            ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
            ({"init_lora_weights": "pissa"}, "init_lora_weights"),
            ({"r": 0}, "r is 0"),
            ({"r": True}, "r is True"),
            ({"r": "4"}, "r is '4'"),
            ({"r": None}, "r is None"),
            ({"lora_alpha": "8"}, "lora_alpha"),
            ({"lora_alpha": 10**400}, "lora_alpha"),
            ({"target_modules": "(a+)+$"}, "no pattern"),
            ({"target_modules": ["(a+)+$"]}, "no pattern"),
            ({"target_modules": []}, "at least one"),
            ({"target_modules": None}, "at least one"),
            ({"exclude_modules": "(a+)+$"}, "no pattern"),
            ({"rank_pattern": {"(a+)+$": 4}}, "rank_pattern"),
            ({"alpha_pattern": {"(a+)+$": 4}}, "alpha_pattern"),
            ({"alpha_pattern": {"q_proj": "4"}}, "alpha_pattern"),
            ({"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
            ({"rank_pattern": [4]}, "rank_pattern"),
            ({"rank_pattern": dict.fromkeys(map(str, range(5000)), 4)}, "rank_pattern has 5000 entries, at most 4096"),
            ({"target_modules": list(map(str, range(5000)))}, "target_modules has 5000 entries"),
            ({"layers_to_transform": list(range(5000))}, "layers_to_transform has 5000 entries"),
            ({"layers_to_transform": ["0"]}, "layers_to_transform"),
        ],
    )
    def test_refused(self, adapter: Path, changes: dict[str, Any], reason: str) -> None:
        configure(adapter, **changes)
        with pytest.raises(DamagedModelError, match=reason):
            inspect_adapter(adapter)

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{", '{"r": 1, "r": 2}', '{"lora_alpha": Infinity}', "[" * 9999, '"\\ud800"', " " * 2**20 + "{}"],
    )
    def test_no_plain_json_object(self, adapter: Path, text: str) -> None:
        (adapter / CONFIG).write_text(text)
        with pytest.raises(DamagedModelError, match=CONFIG):
            inspect_adapter(adapter)

    def test_tensors_beside_a_and_b(self, adapter: Path) -> None:
        change_tensors(adapter, lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(262, 32)}))
        with pytest.raises(DamagedModelError, match=r"lm_head\.weight.*neither A nor B"):
            inspect_adapter(adapter)

    def test_a_without_b(self, adapter: Path) -> None:
        change_tensors(adapter, lambda t: t.pop(Q0))
        with pytest.raises(DamagedModelError, match=r"layers\.0\.self_attn\.q_proj.*one A and one B"):
            inspect_adapter(adapter)


class TestFuzz:
    """Whatever the bytes are: facts or one of two errors; and what passes opens with safetensors too."""

    @staticmethod
    def survives(adapter: Path) -> None:
        try:
            facts = inspect_adapter(adapter)
        except (DamagedModelError, MissingModelError):
            return
        with safe_open(adapter / WEIGHTS, framework="pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        assert shapes == facts.shapes

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(st.integers(0, 1500), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4))
    def test_changed_bytes(self, original: Path, adapter: Path, changes: list[tuple[int, bytes]]) -> None:
        raw = bytearray((original / WEIGHTS).read_bytes())
        for place, piece in changes:
            raw[place : place + len(piece)] = piece
        (adapter / WEIGHTS).write_bytes(bytes(raw))
        self.survives(adapter)

    names = st.sampled_from([Q0, Q0.replace("_A", "_B"), "__metadata__", "a", "", "\ud800", "\0"])
    numbers = st.one_of(st.integers(-1, 9), st.integers(), st.sampled_from([0, 4, 8, 2**63, 2**64]), st.booleans())
    entries = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "F64", "I8", "f32", ""]),
            "shape": st.lists(numbers, max_size=3),
            "data_offsets": st.lists(numbers, min_size=1, max_size=3),
        }
    )
    json_values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=8,
    )

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.dictionaries(names, st.one_of(entries, json_values), max_size=4), st.binary(max_size=24))
    def test_invented_headers(self, adapter: Path, header: dict[str, Any], data: bytes) -> None:
        (adapter / WEIGHTS).write_bytes(raw_file(header, data))
        self.survives(adapter)

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_invented_configurations(self, original: Path, adapter: Path, data: st.DataObject) -> None:
        config = json.loads((original / CONFIG).read_text())
        keys = data.draw(st.lists(st.sampled_from(sorted(config)), max_size=4))
        (adapter / CONFIG).write_text(json.dumps({**config, **{key: data.draw(self.json_values) for key in keys}}))
        self.survives(adapter)

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.text(alphabet="xpert:base_sha256 -[]{}&*!|>\n\t'\"#?%@`0\ud800é", max_size=60))
    def test_invented_cards(self, adapter: Path, text: str) -> None:
        (adapter / CARD).write_bytes(f"---\nxpert: {text}\n---\n".encode("utf-8", "surrogatepass"))
        assert inspect_adapter(adapter).base_digest is None


class TestFit:
    def test_own_base(self, base: Path, adapter: Path) -> None:
        write_card(
            adapter,
            f"---\nxpert: {{base_sha256: {model_digest(base)}, tokenizer_sha256: {tokenizer_digest(base)}}}\n---\n",
        )
        facts = inspect_adapter(adapter)
        check_fit(facts, base)
        assert facts.base_digest == model_digest(base)

    def test_other_weights_of_the_same_shape(self, adapter: Path, tmp_path: Path) -> None:
        other = tiny_base(tmp_path / "other", seed=1)
        check_fit(inspect_adapter(adapter), other)  # without a card nothing tells them apart
        write_card(adapter, f"---\nxpert: {{base_sha256: {'a' * 64}}}\n---\n")
        with pytest.raises(MismatchError, match=r"tuned on base a{12}….*but .*other"):
            check_fit(inspect_adapter(adapter), other)

    def test_other_tokenizer(self, base: Path, adapter: Path, tmp_path: Path) -> None:
        other = tiny_base(tmp_path / "other", extra=("poem",))
        write_card(adapter, f"---\nxpert: {{tokenizer_sha256: {tokenizer_digest(base)}}}\n---\n")
        with pytest.raises(MismatchError, match="tuned with tokenizer"):
            check_fit(inspect_adapter(adapter), other)

    def test_wider_base(self, adapter: Path, tmp_path: Path) -> None:
        other = tiny_base(tmp_path / "other", width=64)
        with pytest.raises(MismatchError, match=r"A of 'model\.layers\.0.*\(4, 32\).*need \(4, 64\).*and \d+ more"):
            check_fit(inspect_adapter(adapter), other)

    @pytest.mark.parametrize(("layers", "reason"), [(1, "no such layer"), (3, "lacks the tensors of 'model.layers.2")])
    def test_base_of_another_depth(self, adapter: Path, tmp_path: Path, layers: int, reason: str) -> None:
        other = tiny_base(tmp_path / "other", layers=layers)
        with pytest.raises(MismatchError, match=reason):
            check_fit(inspect_adapter(adapter), other)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"r": 8}, r"\(4, 32\).*configured rank 8"),
            ({"rank_pattern": {"layers.1.self_attn.q_proj": 2}}, r"layers\.1.*configured rank 2"),
            ({"target_modules": ["q_proj", "v_proj", "w_proj"]}, "targets 'w_proj'"),
            ({"target_modules": ["q_proj", "v_proj", "k_proj"]}, "lacks the tensors of .*k_proj"),
            ({"target_modules": ["q_proj"]}, "v_proj.*do not name"),
            ({"exclude_modules": ["v_proj"]}, "v_proj.*do not name"),
            ({"layers_to_transform": [0]}, r"layers\.1.*do not name"),
        ],
    )
    def test_configuration_that_its_tensors_contradict(
        self, base: Path, adapter: Path, changes: dict[str, Any], reason: str
    ) -> None:
        configure(adapter, **changes)
        with pytest.raises(MismatchError, match=reason):
            check_fit(inspect_adapter(adapter), base)

    def test_tensors_of_a_layer_that_is_not_there(self, base: Path, adapter: Path) -> None:
        extra = Q0.replace("layers.0", "layers.7")
        change_tensors(
            adapter,
            lambda t: t.update({extra: torch.zeros(4, 32), extra.replace("_A", "_B"): torch.zeros(32, 4)}),
        )
        with pytest.raises(MismatchError, match=r"layers\.7.*no such layer"):
            check_fit(inspect_adapter(adapter), base)

    @pytest.mark.parametrize(
        "changes",
        [
            {"rank_pattern": {"q_proj": 2, "^model.layers.1.self_attn.v_proj": 3}},
            {"layers_to_transform": [1]},
            {"layers_to_transform": 0},
            {"exclude_modules": ["layers.0.self_attn.v_proj"]},
            {"target_modules": ["model.layers.1.mlp.down_proj", "lm_head"]},
            {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
            {"target_modules": ["embed_tokens", "q_proj"]},
            {"use_rslora": True, "alpha_pattern": {"q_proj": 32}, "lora_dropout": 0.1},
            {"task_type": None},
        ],
    )
    def test_whatever_peft_writes_as_plain_lora_fits(self, base: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
        given_settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **changes}
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**given_settings))
        model.save_pretrained(tmp_path / "made", save_embedding_layers=False)
        facts = inspect_adapter(tmp_path / "made")
        check_fit(facts, base)
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "made")
        assert len(facts.shapes) == sum("lora_" in name for name, _ in loaded.named_parameters())

    def test_transposed_layers_of_gpt2(self, tmp_path: Path) -> None:
        config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=32)
        GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2")
        lora = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
        get_peft_model(model, lora).save_pretrained(tmp_path / "made")
        facts = inspect_adapter(tmp_path / "made")
        check_fit(facts, tmp_path / "gpt2")
        assert sorted(facts.shapes.values()) == [(2, 16), (48, 2)]

    def test_base_that_cannot_be_built(self, base: Path, adapter: Path, tmp_path: Path) -> None:
        other = Path(shutil.copytree(base, tmp_path / "other"))
        (other / "config.json").write_text('{"model_type": "nothing-known"}')
        with pytest.raises(DamagedModelError, match="no language model can be built"):
            check_fit(inspect_adapter(adapter), other)

    def test_base_without_weights(self, adapter: Path, tmp_path: Path) -> None:
        with pytest.raises(MissingModelError):
            check_fit(inspect_adapter(adapter), tmp_path)


@pytest.mark.parametrize(("weight", "sound"), [("0.5", True), ("-1", True), ("1" + "0" * 400, False), (".nan", False),
                                               (".inf", False), ("true", False), ("heavy", False)])  # fmt: skip
def test_a_parent_has_a_weight_that_a_merge_can_have(weight: str, sound: bool, adapter: Path) -> None:
    write_card(adapter, f"---\nxpert:\n  parents: [{'a' * 64}]\n  weights: [{weight}]\n---\n")
    assert merged_parents(adapter) == ((("a" * 64, float(weight)),) if sound else ())


def test_a_long_name_of_a_base_neither_fills_nor_steers_the_terminal(adapter: Path, tmp_path: Path) -> None:
    write_card(adapter, f"---\nxpert:\n  base_sha256: {'a' * 64}\n---\n")
    configure(adapter, base_model_name_or_path="\x1b[31m" + "x" * 100_000)
    with pytest.raises(MismatchError) as told:
        check_fit(inspect_adapter(adapter), tiny_base(tmp_path / "other", seed=9))
    assert "\x1b" not in str(told.value) and len(str(told.value)) < 1000


def test_a_long_table_of_ranks_is_compiled_once_and_not_for_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = {f"layer_{n}": 4 for n in range(2000)}  # more than the 512 that `re` remembers
    settings = lora_settings.LoraSettings("b", 8, 8.0, ("q",), rank_pattern=patterns)
    compiled: list[str] = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda pattern, *flags: compiled.append(pattern) or real(pattern, *flags))
    monkeypatch.setattr(re, "match", lambda pattern, *_: pytest.fail(f"{pattern} is compiled for a layer"))
    for n in range(3):
        assert settings.rank_of(f"model.{n}.other") == 8
    assert settings.rank_of("model.layer_1999") == 4
    assert len(compiled) == 2000
