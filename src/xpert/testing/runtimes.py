"""The law of `Runtime` as a suite: subclass, give `folder` and `open`, run under pytest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpert.errors import MismatchError, ModelError, SettingsError
from xpert.runtime.golden import check_golden, read_golden
from xpert.runtime.interface import Answering, Batch, Runtime, StepSettings, TrainingState

RATE = StepSettings(1e-2, weight_decay=0.01)
NONE = np.array([], np.int64)


def batch() -> Batch:
    """Two rows, learned from other places on."""
    ids = np.arange(6, 26).reshape(2, 10)
    rows = np.array([3, 4, 5, 6, 7, 12, 13, 14])
    return Batch(ids, rows, ids.reshape(-1)[rows + 1])


class RuntimeContract:
    """Tests that every runtime must pass.

    Attributes:
        folder: an exported folder, of a base without NaN and with at least 32 tokens.
    """

    folder: Path

    def open(self) -> Runtime:
        """A fresh one on `folder`."""
        raise NotImplementedError

    def test_it_starts_with_the_adapter_of_the_folder_and_no_moments(self) -> None:
        state = self.open().state()
        assert state.step == 0 and np.abs(state.adapter).sum() > 0
        assert not state.first_moment.any() and not state.second_moment.any()

    def test_steps_lower_the_loss_and_are_repeated_exactly(self) -> None:
        one, other = self.open(), self.open()
        losses = [one.step([batch()], RATE).loss for _ in range(6)]
        assert losses[-1] < losses[0] and one.state().step == 6
        assert [other.step([batch()], RATE).loss for _ in range(6)] == losses
        assert np.array_equal(one.state().adapter, other.state().adapter)

    def test_computing_again_changes_nothing_but_the_memory(self) -> None:
        one, other = self.open(), self.open()
        again = replace(RATE, recompute=True)
        losses = [one.step([batch(), batch()], RATE).loss for _ in range(3)]
        assert [other.step([batch(), batch()], again).loss for _ in range(3)] == pytest.approx(losses, abs=1e-6)
        assert np.abs(one.state().adapter - other.state().adapter).max() <= 1e-5

    def test_a_state_goes_on_elsewhere_and_is_a_copy(self) -> None:
        one, other = self.open(), self.open()
        one.step([batch()], RATE)
        state = one.state()
        kept = state.adapter.copy()
        losses = [one.step([batch()], RATE).loss for _ in range(3)]
        assert np.array_equal(state.adapter, kept)
        other.restore(state)
        assert [other.step([batch()], RATE).loss for _ in range(3)] == losses

    def test_evaluating_and_generating_change_nothing(self) -> None:
        runtime = self.open()
        runtime.step([batch()], RATE)
        before = runtime.state()
        loss, answer = runtime.evaluate([batch(), batch()]), runtime.generate([6, 7, 8], Answering(5, 0.9, seed=4))
        after = runtime.state()
        assert np.array_equal(before.adapter, after.adapter) and before.step == after.step
        assert runtime.evaluate([batch()]) == pytest.approx(loss, abs=1e-6)
        assert runtime.generate([6, 7, 8], Answering(5, 0.9, seed=4)) == answer

    def test_a_step_that_is_not_finite_leaves_the_state_alone(self) -> None:
        runtime = self.open()
        broken = runtime.state().adapter
        broken[:] = np.nan
        runtime.write_adapter(broken)
        with pytest.raises(ModelError, match=r"step 1: the loss is nan .* lower learning_rate than 0.01"):
            runtime.step([batch()], RATE)
        state = runtime.state()
        assert state.step == 0 and not state.first_moment.any()

    def test_a_state_of_another_adapter_is_refused(self) -> None:
        short = np.zeros(3, np.float32)
        with pytest.raises(MismatchError, match=r"adapter has shape \(3,\), the export's adapter has \(\d+,\)"):
            self.open().restore(TrainingState(0, short, short, short))

    def test_a_batch_without_labels_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="no labelled token"):
            self.open().step([Batch(batch().input_ids, NONE, NONE)], RATE)

    def test_an_answer_ends_where_the_length_ends(self) -> None:
        runtime = self.open()
        limit = runtime.manifest.length_tokens
        assert len(runtime.generate([6] * (limit - 3), Answering(50))) == 3
        with pytest.raises(SettingsError, match=f"{limit} tokens are given"):
            runtime.generate([6] * limit, Answering(50))

    def test_both_take_the_golden_steps(self) -> None:
        runtime, golden = self.open(), read_golden(self.folder)
        assert check_golden(runtime, golden, "this") <= 1e-5
        assert runtime.state().step == 0
        wrong = golden.model_copy(update={"evaluation_loss": golden.evaluation_loss + 0.01})
        with pytest.raises(ModelError, match=r"this 1\.2 computes another loss .* evaluation gave .* another version"):
            check_golden(runtime, wrong, "this 1.2")
