"""Settings are checked at once, and a fault says its way out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xpert.errors import SettingsError
from xpert.tuning import TuningSettings


def test_all_faults_are_named_in_one_error() -> None:
    with pytest.raises(SettingsError) as caught:
        TuningSettings(rank=0, learning_rate=-1.0, dropout=1.0, epochs=3)
    text = str(caught.value)
    assert "rank: Input should be greater than or equal to 1, not 0" in text
    assert "learning_rate" in text and "dropout" in text
    assert "epochs: no such setting; known are rank, alpha" in text


@pytest.mark.parametrize("wrong", ["q_proj", (), ("q_proj", "")])
def test_layers_are_named_in_a_list(wrong: object) -> None:
    with pytest.raises(SettingsError, match='"all-linear"'):
        TuningSettings(target_modules=wrong)


def test_a_target_needs_evaluations() -> None:
    with pytest.raises(SettingsError, match="target_validation_loss is seen by evaluations only"):
        TuningSettings(target_validation_loss=2.0, evaluate_every=None)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TuningSettings().rank = 3  # type: ignore[misc]


def test_the_rate_warms_up_and_follows_its_schedule() -> None:
    values = {"learning_rate": 1.0, "warmup_steps": 4, "max_steps": 12}
    rates = {
        name: [TuningSettings(schedule=name, **values).learning_rate_at(step) for step in range(12)]
        for name in ("constant", "cosine", "linear")
    }
    assert rates["constant"] == [0.25, 0.5, 0.75] + [1.0] * 9
    assert rates["linear"][4:] == pytest.approx([1 - n / 8 for n in range(8)])
    assert rates["cosine"][4] == 1.0 and rates["cosine"][8] == pytest.approx(0.5)
    assert all(rate > 0 for curve in rates.values() for rate in curve)


def test_the_digest_leaves_out_how_often_is_saved() -> None:
    assert TuningSettings(save_every=5).digest() == TuningSettings().digest()
    assert TuningSettings(seed=1).digest() != TuningSettings().digest()


def test_reading_settings_loads_no_torch() -> None:
    script = "import sys, xpert.tuning as t; t.TuningSettings(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "False"
