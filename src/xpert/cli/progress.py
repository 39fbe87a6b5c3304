"""Progress on stderr: live bars in a terminal, sparse lines elsewhere, nothing where it is not wanted.

Knows stages, counts and losses; nothing of what is being done.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from xpert.printing import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_LINES = 4


class Step(Protocol):
    """News of a tuning run."""

    @property
    def step(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def train_loss(self) -> float | None: ...
    @property
    def validation_loss(self) -> float | None: ...


class Progress:
    """Give `stage` to library code as `on_progress`, and `step` as `on_step`; use as a context manager."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._bars: Bars | None = None
        self._tasks: dict[str, tuple[TaskID, int]] = {}
        self._waiting: TaskID | None = None
        self._best: dict[str, float] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> Progress:
        if not self._silent and sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            from xpert.cli.consoles import HarmlessConsole

            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[news]}", style="dim", markup=False),
                console=HarmlessConsole(stderr=True),
                transient=True,
            )
            self._bars.start()
            self._waiting = self._bars.add_task("loading", total=None, news="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def stage(self, name: str, done: int, total: int) -> None:
        """A stage has done so many of so many; one that starts again begins a new round of its bar."""
        self._update(name, done, total, "")
        if done >= total:
            self._line(name, total, f"{name}: {done} of {total}")

    def step(self, step: Step) -> None:
        """A step of the only tuning run."""
        self.named_step("tuning", step)

    def named_step(self, name: str, step: Step) -> None:
        """A step of one of several tuning runs."""
        news = ""
        if step.validation_loss is not None:
            self._best[name] = min(step.validation_loss, self._best.get(name, step.validation_loss))
            self._line(name, None, f"{name}: step {step.step}, validation loss {step.validation_loss:.3f}")
        if name in self._best:
            news = f"loss {self._best[name]:.3f}"
        self._update(name, step.step, step.max_steps, news)

    def _update(self, name: str, done: int, total: int, news: str) -> None:
        if self._bars is None:
            return
        if self._waiting is not None:
            self._bars.remove_task(self._waiting)
            self._waiting = None
        if name not in self._tasks:
            self._tasks[name] = (self._bars.add_task(name, total=total, news=news), 0)
        task, before = self._tasks[name]
        if done < before:
            self._bars.reset(task, total=total)
        self._tasks[name] = (task, done)
        self._bars.update(task, completed=done, total=total, news=news)

    def _line(self, name: str, total: int | None, text: str) -> None:
        """A line where no bar can be drawn; a stage that comes back many times is shown a few times only."""
        if self._silent or self._bars is not None:
            return
        self._said[name] = self._said.get(name, 0) + 1
        if total is None or self._said[name] <= _LINES:
            print(printable(text), file=sys.stderr, flush=True)
