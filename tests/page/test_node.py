"""The core of the page under Node.js does what the Python runtime does: tokens, order, losses, answers, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from xpert.data import read_samples, split_samples
from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference, file_digest
from xpert.runtime import OnnxRuntime, adopt, read_manifest
from xpert.runtime.batches import Plan, evaluation_batches
from xpert.runtime.interface import Answering
from xpert.runtime.tokens import Tokens
from xpert.sealing import is_whole


def test_forty_steps_killed_in_the_middle_are_those_of_pytorch(
    node: Any, reference: Callable[[str], Any], family: str, tmp_path: Path
) -> None:
    known = reference(family)
    assert known.onnx == pytest.approx(known.torch, abs=1e-5)
    words = ("train", known.export, known.data, tmp_path / "mine", json.dumps(known.settings))
    killed = node.run(*words, 17)
    assert killed.returncode < 0 and (tmp_path / "mine" / "state.safetensors").is_file()
    whole = node.told(*words)
    validation = [loss for _, loss in whole["validation_losses"]]
    assert [*whole["train_losses"], *validation] == pytest.approx(known.torch, abs=1e-5)
    assert (whole["step"], whole["stopped"]) == (40, "max_steps") and whole["golden_difference"] <= 1e-5
    mine = adopt(known.export, tmp_path / "mine" / "state.safetensors", tmp_path / "adopted")
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (mine, known.onnx_adapter))
    assert ours.keys() == theirs.keys()
    assert max(float(abs(ours[name] - theirs[name]).max()) for name in ours) <= 1e-4


def test_computing_activations_again_takes_the_same_steps(
    node: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    known = reference("llama")
    settings = json.dumps({**known.settings, "gradient_checkpointing": True})
    whole = node.told("train", known.export, known.data, tmp_path / "mine", settings)
    validation = [loss for _, loss in whole["validation_losses"]]
    assert [*whole["train_losses"], *validation] == pytest.approx(known.torch, abs=1e-5)


def test_a_flipped_byte_of_a_state_is_refused_and_python_reads_it_whole(
    node: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    known = reference("llama")
    words = ("train", known.export, known.data, tmp_path / "mine", json.dumps(known.settings))
    assert node.run(*words, 2).returncode < 0
    file = tmp_path / "mine" / "state.safetensors"
    raw = file.read_bytes()
    assert is_whole(file) and b'"seal"' in raw
    for place in (3, 60, raw.index(b'"seal"') + 2, raw.index(b'"seal"') + 20, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        refused = node.run("answer", known.export, "Hello", file)
        assert refused.returncode == 1 and "was changed since it was saved: start again" in refused.stderr, place
    file.write_bytes(raw)
    assert node.run("answer", known.export, "Hello", file).returncode == 0


def test_a_run_with_other_settings_is_refused(node: Any, reference: Callable[[str], Any], tmp_path: Path) -> None:
    known = reference("llama")
    words = ("train", known.export, known.data, tmp_path / "mine")
    assert node.run(*words, json.dumps(known.settings), 2).returncode < 0
    other = node.run(*words, json.dumps({**known.settings, "seed": 4}))
    assert other.returncode == 1
    assert "the unfinished run has other settings and data: give the same to finish it, or start over" in other.stderr
    wrong = node.run(*words, json.dumps({"learning_rate": -1, "colour": 3}))
    assert "learning_rate: it must be above 0, not -1; colour: no such setting" in wrong.stderr


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base, whose tokenizer has merges."""
    folder = tmp_path_factory.mktemp("real") / "export"
    export(ModelReference("xpert/base"), folder, ExportSettings(rank=2, max_length_tokens=128))
    return folder


FILES = {
    "me.jsonl": '{"Prompt": " One? ", "response": "It’s  fine.\\n\\tYes – 42 €"}\n'
    '{"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "Well?"}, '
    '{"role": "user", "content": [{"type": "text", "text": "naïve 🙂🙂"}, {"type": "image"}]}, '
    '{"role": "user", "content": "don\'t"}]}\n\n'
    '{"instruction": "Say", "input": "<no input>", "output": "日本語 text"}\n{"text": "  only\\u00a0mine  "}\n',
    "me.json": '[{"question": "Q", "context": "C", "answer": "A" }, {"prompt": null, "response": "B"}, '
    '{"Context": "x", "Input": "y", "Response": "z"}]',
    "me.csv": '\ufeffprompt;response\r\n"a ""b""; c";"two\nlines"\r\n\r\nplain;answer\r\nthree;3\r\n',
    "me.tsv": "question\tanswer\nhow, why\tso\nwhen\tthen",
    "me.txt": "first paragraph\nof two lines\n\n \nsecond  one\r\n\r\nthird",
    "lines.txt": "one\ntwo\nthree",
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_split_and_ordered_as_python_does(name: str, node: Any, real: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(FILES[name], "utf-8", newline="")
    samples = read_samples(file)
    for limit, size, accumulated, seed in ((128, 2, 1, 0), (12, 1, 2, 7)):
        given = {"max_length_tokens": limit, "batch_size": size, "accumulation_steps": accumulated, "seed": seed}
        found = node.told("encode", real, file, json.dumps({**given, "validation": 0.34}))
        prompt = read_manifest(real, verify=False).prompt
        tokens = Tokens(real, prompt)
        train, held = (tokens.encode(part, limit) for part in split_samples(samples, validation=0.34, seed=seed))
        assert [(s["tokens"], s["start"]) for s in found["learned"]] == [(list(s.tokens), s.start) for s in train]
        assert [(s["tokens"], s["start"]) for s in found["held"]] == [(list(s.tokens), s.start) for s in held]
        plan = Plan(train, batch_size=size, accumulation_steps=accumulated, seed=seed, pad=prompt.pad)
        assert len(found["steps"]) == 3 * plan.steps_per_epoch
        wanted = [plan.step(step) for step in range(3 * plan.steps_per_epoch)]
        for one, other in zip([*found["steps"], found["evaluation"]],
                              [*wanted, evaluation_batches(held, 2 * size, prompt.pad)], strict=True):  # fmt: skip
            assert [batch["input_ids"] for batch in one] == [batch.input_ids.tolist() for batch in other]
            assert [batch["rows"] for batch in one] == [batch.rows.tolist() for batch in other]
            assert [batch["targets"] for batch in one] == [batch.targets.tolist() for batch in other]


def test_the_people_of_the_package_have_the_same_tokens_and_order(node: Any, real: Path) -> None:
    from xpert.embedded import PEOPLE

    tokens = Tokens(real, read_manifest(real, verify=False).prompt)
    for person in ("mia", "noor", "wen"):
        file = PEOPLE / f"{person}.jsonl"
        found = node.told("encode", real, file, "{}")
        train, held = (tokens.encode(part, 256) for part in split_samples(read_samples(file), validation=0.2, seed=0))
        assert [s["tokens"] for s in [*found["learned"], *found["held"]]] == [list(s.tokens) for s in [*train, *held]]


def test_answers_are_those_of_python(node: Any, real: Path) -> None:
    manifest = read_manifest(real, verify=False)
    tokens, runtime = Tokens(real, manifest.prompt), OnnxRuntime(real, manifest=manifest, threads=1)
    for prompt in ("How do I boil an egg?", ""):
        how = Answering(64, stops=frozenset(manifest.prompt.stops))
        made = runtime.generate(tokens.ask(prompt), how)
        assert node.told("answer", real, prompt) == {"tokens": made, "answer": tokens.decode(made)}


@pytest.mark.parametrize(
    "said", ["<think>hm</think> Hi", "Hi <b>you</b>", "[THINK]a", "a</think>Hi", "<|channel|>analysis<|message|>a", ""]
)
def test_thoughts_are_cut_off_as_python_does(said: str, node: Any, real: Path) -> None:
    tokens = Tokens(real, read_manifest(real, verify=False).prompt)
    ids = list(tokens._tokenizer.encode(said, add_special_tokens=False).ids)
    assert node.told("decode", real, json.dumps(ids)) == tokens.decode(ids)


def test_a_wrong_graph_is_named(node: Any, reference: Callable[[str], Any], tmp_path: Path) -> None:
    folder = shutil.copytree(reference("llama").export, tmp_path / "export")
    golden = json.loads((folder / "golden.json").read_text())
    golden["steps"][1]["loss"] += 0.01
    (folder / "golden.json").write_text(json.dumps(golden))
    refused = node.run("check", folder)
    assert refused.returncode == 1 and "golden.json has" in refused.stderr and "export or download it" in refused.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["seal"]
    facts = {"size_bytes": (folder / "golden.json").stat().st_size, "sha256": file_digest(folder / "golden.json")}
    manifest["files"]["golden.json"] = facts
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused = node.run("check", folder)
    assert "computes another loss than the reference on the golden batch: training step 2 gave" in refused.stderr
    assert "onnxruntime-web" in refused.stderr
    manifest["format"] = 9
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "the folder has format 9" in node.run("check", folder).stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "x"}\n', "a.jsonl, row 1: found columns 'prompt'; understood are"),
        ("a.jsonl", '{"text": ""}\n{', "a.jsonl, row 2: broken JSON"),
        ("a.csv", 'prompt,response\n"a,b\n', "a.csv, record 2: a quote is not closed"),
        ("a.csv", "prompt,response\na,b,c\n", "a.csv, row 1: 3 fields, the header has 2"),
        ("a.json", "[3]", "a.json, row 1: no JSON object"),
        ("a.txt", "one", "leaves one side empty: give more samples"),
        ("a.txt", " \n", "a.txt is empty"),
    ],
)
def test_faults_name_file_row_and_way_out(
    name: str, text: str, said: str, node: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    refused = node.run("encode", reference("llama").export, tmp_path / name, "{}")
    assert refused.returncode == 1 and said in refused.stderr
