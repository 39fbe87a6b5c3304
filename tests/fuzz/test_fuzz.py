"""Inputs of strangers by the thousand: adapters, data, pictures and model folders, each with something wrong.

    pytest -m fuzz                                           2,000 cases, some minutes of one CPU, part of `make test`
    pytest -m fuzz --fuzz-cases 50000 --fuzz-seed 7          more, and others
    pytest -m fuzz --fuzz-seed 0 --fuzz-only tables:103      one case, as a failure names it; its input is kept

Laws:
- Whatever is read ends in an `XpertError` or is accepted; any other error, a crash, a hang (`worker.CPU_S`) or memory
  beyond `worker.GROWTH_BYTES` is a fault.
- What is accepted is sound: an adapter loads with plain peft, gives finite logits and merges into the same; samples are
  texts that can be written; pictures are RGB and bounded; all of it is the same when it is read again. Where authors
  are known, nobody else's words are the person's, and none of the person's get lost.
- Nothing but the source is opened, nothing is connected to, started, imported or changed, no copy of personal text is
  left: `guard.py` has three witnesses, which `test_guard.py` tests with readers that break the laws on purpose.
- No error and no output of a library quotes personal text: every text of the generators starts with a canary.

A module of this folder makes and reads one kind: `make(rng, folder, shared, bait)` writes the input of a case,
`read(case, shared)` reads it as a user does and checks what was accepted. A case is drawn from seed, kind and
index alone. All run in one process beside this one (`worker.py`), so that a crash or a hang names its case.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Worker

pytestmark = pytest.mark.fuzz

SHARES = {
    "adapters": 24,
    "tables": 18,
    "pictures": 16,
    "exports": 13,
    "chats": 9,
    "folders": 8,
    "albums": 7,
    "models": 5,
}
"""Of 100 cases, so many of each kind."""

_MOST_LOST = 6
_LEAK_BYTES, _LEAK_FILES, _WARM = 400 * 2**20, 20, 60


@pytest.mark.parametrize("kind", SHARES)
def test_strangers_files_break_no_law(kind: str, worker: Worker, request: pytest.FixtureRequest) -> None:
    seed, only = request.config.getoption("--fuzz-seed"), request.config.getoption("--fuzz-only")
    if only is not None:
        chosen, _, index = only.partition(":")
        if chosen != kind:
            pytest.skip(f"only {only} was asked for")
        told = worker.run(kind, seed, int(index))
        assert told["outcome"] != "fault", _report([told], seed)
        return
    count = max(1, request.config.getoption("--fuzz-cases") * SHARES[kind] // 100)
    outcomes: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    first_process, lost = None, 0
    for index in range(count):
        told = worker.run(kind, seed, index)
        first_process = first_process or worker.started
        outcomes[told["outcome"]] += 1
        if told["outcome"] == "fault":
            faults.append(told)
            lost += told["law"] in ("takes too long", "takes too much memory", "ends the process")
            assert lost < _MOST_LOST, "stopped, too many cases hang or crash\n" + _report(faults, seed)
        elif worker.started == first_process:
            figures.append(told)
    assert not faults, _report(faults, seed)
    if count >= 60:  # a generator that makes only sound input, or only nonsense, proves nothing
        assert outcomes["accepted"] >= 0.05 * count and outcomes["refused"] >= 0.05 * count, dict(outcomes)
    if len(figures) > 2 * _WARM:
        grown, opened = (figures[-1][key] - figures[_WARM][key] for key in ("rss", "files"))
        assert grown < _LEAK_BYTES, f"{count} cases of {kind} leave {grown / 2**20:.0f} MiB of memory in use"
        assert opened < _LEAK_FILES, f"{count} cases of {kind} leave {opened} files open"


def _report(faults: list[dict[str, Any]], seed: int) -> str:
    """Every fault once, the frequent ones first, with the command that repeats it."""
    most = 400 if len(faults) > 1 else 4000
    kinds = Counter(fault["signature"] for fault in faults)
    lines = [f"{len(faults)} cases break a law, in {len(kinds)} ways"]
    for signature, times in kinds.most_common():
        fault = min((f for f in faults if f["signature"] == signature), key=lambda f: f["index"])
        lines += [
            f"\n{times} x {signature}",
            f"  {fault['how']}: {fault.get('detail', '')[:most]}",
            f"  input: {fault.get('folder')}",
            f"  again: pytest -m fuzz --fuzz-seed {seed} --fuzz-only {fault['kind']}:{fault['index']}",
        ]
        if len(faults) == 1 and fault.get("trace"):
            lines.append(fault["trace"])
    return "\n".join(lines)
