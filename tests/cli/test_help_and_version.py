"""Help is fast because it loads nothing, and true because it is compared with the settings."""

import json
import subprocess
import sys
from typing import Any, get_args

import pytest
import typer

from xpert.cli import options
from xpert.tuning import TuningSettings

COMMANDS = (
    ("demo",),
    ("doctor",),
    ("explain",),
    ("select",),
    ("merge",),
    ("personalize",),
    ("tune",),
    ("chat",),
    *(("pool", name) for name in ("create", "add", "list", "show", "remove", "reindex")),
)
HEAVY = {"torch", "transformers", "peft", "sqlalchemy", "scipy", "numpy", "pydantic", "huggingface_hub"}


def loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys, json; from xpert.cli.app import main\n"
        f"code = main({list(arguments)!r})\n"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    code_, names = json.loads(done.stderr)
    assert code_ == 0
    return set(names)


@pytest.mark.parametrize("arguments", [("--help",), ("tune", "--help"), ("--version",)])
def test_help_and_version_load_no_heavy_library(arguments: tuple[str, ...]) -> None:
    # Typer itself takes pydantic where a command has numbers.
    own = {"pydantic"} if arguments[0] == "tune" else set()
    assert not (HEAVY - own) & loaded_by(*arguments)


def test_help_lists_every_command_and_the_exit_codes(run: Any) -> None:
    done = run("--help")
    assert done.code == 0
    for command in ("demo", "doctor", "explain", "select", "merge", "personalize", "tune", "chat", "pool"):
        assert command in done.out
    said = " ".join(done.out.split())
    assert "0 done, 1 unexpected or failed check, 2 usage or settings, 3 data, 4 model, 5 space, 6 pool" in said
    assert "7 disk or database, 130 interrupted" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_json(command: tuple[str, ...], run: Any) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    assert "--json" in done.out


@pytest.mark.parametrize("arguments", [(), ("pool",)])
def test_a_group_alone_shows_its_help(arguments: tuple[str, ...], run: Any) -> None:
    done = run(*arguments)
    assert done.code == 0
    assert "Usage:" in done.out


def test_the_version_is_that_of_the_package(run: Any) -> None:
    import xpert

    assert run("--version").out == f"xpert {xpert.__version__}\n"


def test_tuning_options_are_settings_and_tell_their_true_defaults() -> None:
    for name, (annotation, default) in options.TUNING.items():
        assert default is None
        info = get_args(annotation)[1]
        assert isinstance(info, typer.models.OptionInfo)
        real = TuningSettings.model_fields[name].default
        if name != "gradient_checkpointing":
            shown = "none" if real is None else f"{real:g}" if isinstance(real, int | float) else real
            assert info.help is not None
            assert info.help.endswith(f"Default {shown}.")


def test_the_module_is_the_command() -> None:
    for arguments, code in ((["--version"], 0), (["pool", "show", "nobody", "--nonsense"], 2)):
        done = subprocess.run([sys.executable, "-m", "xpert", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert (done.stdout if code == 0 else done.stderr).strip()
