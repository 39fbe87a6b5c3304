"""The public surface: exactly these names, and no model library before one is used."""

import json
import subprocess
import sys

import pytest

import xpert

PUBLIC = [
    "Explanation",
    "ModelReference",
    "Sample",
    "Selection",
    "TuningSettings",
    "XpertError",
    "__version__",
    "explain",
    "load_model",
    "open_explainer",
    "open_pool",
    "personalize",
    "read_samples",
    "select",
    "split_samples",
    "tune",
]
HEAVY = ("torch", "transformers", "peft", "sqlalchemy", "scipy", "numpy", "pydantic")


def test_the_public_names_are_pinned() -> None:
    assert sorted(xpert.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(xpert))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(xpert, name) is getattr(xpert, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = xpert.nothing_like_this


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, json, xpert; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(json.loads(done.stdout))
