"""One place turns failures into text and exit codes."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

import xpert.cli.sources
from xpert import errors
from xpert.errors import XpertError


def every(kind: type[XpertError]) -> list[type[XpertError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every(child))]


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


CODES = {
    errors.SettingsError: 2,
    errors.DataError: 3,
    errors.ModelError: 4,
    errors.SpaceError: 5,
    errors.PoolError: 6,
    errors.StorageError: 7,
}


@pytest.mark.parametrize("kind", every(XpertError))
def test_every_error_ends_with_its_code_and_one_line(
    kind: type[XpertError], run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xpert.cli.sources, "reading", raising(kind("the value breaks\n the rule: do that")))
    expected = next((code for root, code in CODES.items() if issubclass(kind, root)), 1)
    done = run("pool", "list")
    assert done.code == expected
    assert done.out == ""
    assert done.err == "error: the value breaks the rule: do that\n"
    done = run("pool", "list", "--json")
    assert done.code == expected
    assert done.document == {"error": {"kind": kind.__name__, "message": "the value breaks the rule: do that"}}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("explain",), 2, "Missing argument 'TARGET'"),
        (("explain", "--nothing", "x"), 2, "No such option"),
        (("pool", "nothing"), 2, "No such command"),
        (("select", "@nobody"), 2, "choose from @mia"),
        (("demo", "nobody", "--no-report"), 2, "nobody"),
        (("tune", "@mia", "--out", "x", "--rank", "0"), 2, "rank"),
        (("tune", "@mia", "--out", "x", "--similarity", "0.5"), 2, "give both, or neither"),
        (("tune", "@mia", "--out", "x", "--from", "a", "--from-pool", "b"), 2, "give one of them"),
        (("tune", "no-such-file.jsonl", "--out", "x"), 3, "no-such-file.jsonl"),
        (("tune", "@mia", "--out", "x", "--base", "./no-such-model"), 4, "no-such-model"),
        (("chat", "-p", "hello"), 2, "--adapter FOLDER or --from-pool NAME"),
        (("chat", "--adapter", ".", "-p", "hello"), 2, "adapter_config.json"),
        (("select", "@mia", "--html", "no-such-folder/page.html"), 2, "folder that exists"),
        (("pool", "list", "--pool", "no-such-pool"), 6, "no pool in no-such-pool"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: tuple[str, ...], code: int, said: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "demo" and not xpert.cli.sources.EMBEDDED_POOL.is_dir():
        pytest.skip("the embedded pool is not built")
    done = run(*arguments)
    assert done.code == code
    assert said in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_unexpected_is_told_without_a_traceback_unless_asked_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpert.cli.sources, "reading", raising(ZeroDivisionError("oh")))
    done = run("pool", "list")
    assert done.code == 1
    assert done.err == "error: unexpected ZeroDivisionError: oh (XPERT_DEBUG=1 shows where it came from)\n"
    monkeypatch.setenv("XPERT_DEBUG", "1")
    assert "Traceback" in run("pool", "list").err


def test_ctrl_c_ends_with_130(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpert.cli.sources, "reading", raising(KeyboardInterrupt()))
    done = run("pool", "list")
    assert done.code == 130
    assert done.err.startswith("interrupted: ")
    assert run("pool", "list", "--json").document["error"]["kind"] == "Interrupted"


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "text"), ("peft", "text"), ("datasets", "data"), ("sentence_transformers", "encoder")],
)
def test_a_missing_library_names_its_extra(module: str, extra: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    def importing(*_: object) -> None:
        __import__(f"{module}.deep")

    monkeypatch.setattr(xpert.cli.sources, "reading", importing)
    done = run("pool", "list")
    assert done.code == 1
    way_out = f"it comes with the extra '{extra}': `pip install -e '.[{extra}]'` in XPerT's source folder"
    assert done.err == f"error: {module} is not installed; {way_out}\n"


def test_a_library_that_is_no_extra_is_unexpected(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpert.cli.sources, "reading", raising(ModuleNotFoundError("No module named 'x'", name="x")))
    assert "unexpected ModuleNotFoundError" in run("pool", "list").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("tune", "@mia"),
        ("personalize", "@mia"),
        ("phone", "train", "e", "@mia"),
        ("phone", "adopt", "e", "f"),
        ("export",),
    ],
)
def test_where_to_write_is_read_alike_by_all_commands(
    arguments: tuple[str, ...], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, "-o", ".")
    assert done.code == 2 and "is the folder that this runs in" in done.err
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    done = run(*arguments, "--out=~/taken")
    assert done.code == 2 and "taken exists already and is not empty" in done.err


def test_an_error_neither_fills_nor_steers_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpert.cli.sources, "reading", raising(errors.DataError("\x1b[2J" + "x" * 100_000)))
    done = run("pool", "list")
    assert "\x1b" not in done.err and len(done.err) < 5000


def test_memory_that_ran_out_names_no_option_that_is_not_there(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpert.cli.sources, "reading", raising(MemoryError()))
    assert "a command that lists --batch-size" in run("pool", "list").err


@pytest.mark.parametrize("file", ["pytorch_lora_weights.safetensors", "unet/diffusion_pytorch_model.safetensors"])
def test_an_image_adapter_is_explained_elsewhere(file: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "mine" / file).parent.mkdir(parents=True)
    (tmp_path / "mine" / file).write_bytes(b"")
    done = run("explain", tmp_path / "mine")
    assert done.code == 2 and f"use `xpert image explain {tmp_path / 'mine'}`" in done.err
