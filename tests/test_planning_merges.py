"""What a planned merge refuses before anything is loaded."""

from types import SimpleNamespace
from typing import Any

import pytest

from xpert.device.merging import plan_merge, write_merge
from xpert.errors import SettingsError
from xpert.records import Digests, Explanation

PERSON = Explanation(
    words=(), residual=0.0, pairs=1, noise=0.1, coordinates=(1.0,), interval=0.95,
    digests=Digests(base="b", summarizer="s", prompts="p", space="z"),
)  # fmt: skip
EMPTY: Any = SimpleNamespace(list=tuple)


@pytest.mark.parametrize("wished", [False, True])
def test_no_models_at_most_is_refused(wished: bool) -> None:
    with pytest.raises(SettingsError, match="at most 0 models cannot be merged: give 1 or more"):
        plan_merge(PERSON, EMPTY, most=0, wished=wished)


def test_a_merge_of_nothing_is_refused(tmp_path: Any) -> None:
    explainer: Any = None
    with pytest.raises(SettingsError, match="no models to merge: give at least one"):
        write_merge({}, EMPTY, explainer, tmp_path / "out")
