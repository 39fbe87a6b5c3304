"""What a run does not take over from the adapter that it starts from, in words for people. Knows settings only."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from xpert.models.adapters import inspect_adapter

_OWN = {"rank": "rank", "alpha": "alpha", "target_modules": "layers"}


def start_notes(adapter: Path, dropout: float, given: Collection[str] = ()) -> tuple[str, ...]:
    """What changes for an adapter that a run on this machine starts from.

    Args:
        adapter: its folder.
        dropout: of the run.
        given: names of settings that somebody chose for the run.

    Raises:
        MissingModelError, DamagedModelError: the adapter cannot be read.
    """
    own = inspect_adapter(adapter).settings.dropout
    notes = []
    if own != dropout:
        notes.append(
            f"the start was tuned with LoRA dropout {own:g}, this run has {dropout:g}: give --dropout {own:g} to "
            "keep it"
        )
    ignored = [what for name, what in _OWN.items() if name in given]
    if ignored:
        notes.append(f"an adapter that is continued keeps its own {' and '.join(ignored)}: what was given is not used")
    return tuple(notes)


def device_notes(dropout: float) -> tuple[str, ...]:
    """What changes for an adapter that a device starts from; `dropout` is of the tuning that made it."""
    if not dropout:
        return ()
    return (
        f"the start was tuned with LoRA dropout {dropout:g}; exported graphs have none, so training on a device goes "
        "on without it: answers are not changed by that, more training may fit its samples more closely",
    )
