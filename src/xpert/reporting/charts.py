"""Charts as inline SVG: signed bars, pairs of bars, and loss curves.

The drawings stretch with the page, so shapes are SVG without text, and words and numbers are HTML around
them at their full size. Knows numbers and their names; never sees where they came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xpert.records import Explanation, WordCoefficient
from xpert.reporting.markup import Markup, element, inside
from xpert.reporting.wording import percent, signed, typeset

_WIDTH = 1000.0
_LEAST_REACH = 0.5


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high`, laid over the width of a drawing."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Place of a value, 0 to 1000."""
        return _WIDTH * (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside, `most` + 1 at most."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / most))
        step *= next(m for m in (1, 2, 2.5, 5, 10) if (self.high - self.low) / (step * m) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 10) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_over(explanations: Sequence[Explanation]) -> Scale:
    """One scale for several explanations, so that their bars compare; zero is always on it."""
    words = [word for explanation in explanations for word in explanation.words]
    low = min([0.0, *(min(w.low, w.coefficient, -w.floor) for w in words)])
    high = max([_LEAST_REACH, *(max(w.high, w.coefficient, w.floor) for w in words)])
    room = 0.02 * (high - low)
    return Scale(low - room, high + room)


def explanation_chart(explanation: Explanation, scale: Scale | None = None) -> Markup:
    """Every word as a bar, with the noise floor as a band and the bootstrap interval as a whisker."""
    scale = scale or scale_over([explanation])
    rows = [_row(word, _bar(word, scale, explanation.interval)) for word in explanation.words]
    return element("div", *rows, _axis(scale), class_="bars")


def paired_chart(person: Explanation, other: Explanation, scale: Scale, *, labels: tuple[str, str]) -> Markup:
    """Two explanations in one space, bar under bar."""
    rows = []
    for mine, theirs in zip(person.words, other.words, strict=True):
        drawing = _svg(
            _title(f"{mine.word}: {labels[0]} {_figure(mine.coefficient)}, {labels[1]} {_figure(theirs.coefficient)}"),
            *_grid(scale),
            _extent(mine.coefficient, scale, 3, 9, "person"),
            _extent(theirs.coefficient, scale, 12, 9, "model"),
            _zero(scale),
        )
        both = inside(element("b", _figure(mine.coefficient)), " ", element("span", _figure(theirs.coefficient)))
        rows.append(
            element(
                "div",
                element("span", mine.word, class_="word"),
                drawing,
                element("span", both, class_="num"),
                class_="row pair",
            )
        )
    return element("div", *rows, _axis(scale), class_="bars pairs")


def small_chart(person: Explanation, other: Explanation, scale: Scale) -> Markup:
    """A candidate's bars with a mark where the person stands; one line a word."""
    rows = []
    for mine, theirs in zip(person.words, other.words, strict=True):
        place = scale.at(mine.coefficient)
        drawing = _svg(
            _title(f"{mine.word}: {_figure(theirs.coefficient)}, you {_figure(mine.coefficient)}"),
            _extent(theirs.coefficient, scale, 7, 10, "model"),
            _zero(scale),
            element("line", x1=place, x2=place, y1=3.0, y2=21.0, class_="mark"),
        )
        rows.append(
            element(
                "div",
                element("span", mine.word, class_="word"),
                drawing,
                element("span", _figure(theirs.coefficient), class_="num"),
                class_="row",
            )
        )
    return element("div", *rows, class_="bars small")


def _row(word: WordCoefficient, drawing: Markup) -> Markup:
    return element(
        "div",
        element("span", word.word, class_="word"),
        drawing,
        element("span", _figure(word.coefficient), class_="num"),
        class_="row" if word.above_noise else "row within",
    )


def _bar(word: WordCoefficient, scale: Scale, interval: float) -> Markup:
    said = (
        f"{word.word} {_figure(word.coefficient)}; {percent(interval)} interval {_figure(word.low)} to "
        f"{_figure(word.high)}; noise floor {word.floor:.2f}" + ("" if word.above_noise else "; not above the noise")
    )
    left, right = scale.at(word.low), scale.at(word.high)
    kind = "person" if word.above_noise else "within"
    return _svg(
        _title(said),
        _band(word, scale),
        *_grid(scale),
        _extent(word.coefficient, scale, 5, 14, kind),
        _zero(scale),
        element("path", d=f"M{left:.1f} 12H{right:.1f}M{left:.1f} 9V15M{right:.1f} 9V15", class_="whisker"),
        label=said,
    )


def _band(word: WordCoefficient, scale: Scale) -> Markup:
    left, right = max(0.0, scale.at(-word.floor)), min(_WIDTH, scale.at(word.floor))
    return element("rect", x=left, y=0.0, width=right - left, height=24.0, class_="band")


def _extent(value: float, scale: Scale, y: float, height: float, kind: str) -> Markup:
    left, right = sorted((scale.at(0.0), scale.at(value)))
    return element("rect", x=left, y=float(y), width=right - left, height=float(height), class_=kind)


def _zero(scale: Scale) -> Markup:
    return element("line", x1=scale.at(0.0), x2=scale.at(0.0), y1=0.0, y2=24.0, class_="zero")


def _grid(scale: Scale) -> list[Markup]:
    return [element("line", x1=scale.at(t), x2=scale.at(t), y1=0.0, y2=24.0, class_="grid") for t in scale.ticks() if t]


def _axis(scale: Scale) -> Markup:
    marks = [element("span", typeset(f"{tick:g}"), style=f"left:{scale.at(tick) / 10:.2f}%") for tick in scale.ticks()]
    return element("div", element("span", class_="word"), element("div", *marks, class_="ticks"), class_="row axis")


def _figure(value: float) -> str:
    return typeset(signed(value))


def _title(text: str) -> Markup:
    return element("title", text)


def _svg(*shapes: Markup, label: str | None = None, height: int = 24) -> Markup:
    role = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element("svg", *shapes, viewBox=f"0 0 1000 {height}", preserveAspectRatio="none", **role)


@dataclass(frozen=True, slots=True)
class Curve:
    """A tuning run to be drawn: (step, validation loss) points; `kind` is "scratch" or "warm"."""

    name: str
    kind: str
    points: tuple[tuple[int, float], ...]


def loss_chart(curves: Sequence[Curve], target: float) -> Markup:
    """Validation loss over steps, with the loss that all curves aim at as a dashed line."""
    drawn = [curve for curve in curves if curve.points]
    losses = [target, *(loss for curve in drawn for _, loss in curve.points)]
    room = max(0.08 * (max(losses) - min(losses)), 1e-3)
    across = Scale(0.0, float(max([1, *(step for curve in drawn for step, _ in curve.points)])))
    up = Scale(min(losses) - room, max(losses) + room)
    level = _WIDTH - up.at(target)
    shapes = [_level(up, tick) for tick in up.ticks()]
    shapes.append(element("line", x1=0.0, x2=_WIDTH, y1=level, y2=level, class_="target"))
    for curve in drawn:
        shapes += _curve(curve, across, up)
    notes = [element("span", f"target {target:.3f}", class_="note target", style=_placed(1.0, level))]
    notes += [_ending(curve, across, up) for curve in drawn]
    xs = [element("span", typeset(f"{tick:g}"), style=f"left:{across.at(tick) / 10:.2f}%") for tick in across.ticks(6)]
    ys = [element("span", typeset(f"{tick:g}"), style=f"top:{100 - up.at(tick) / 10:.2f}%") for tick in up.ticks()]
    said = "; ".join(f"{c.name}: {c.points[-1][1]:.3f} after {c.points[-1][0]} steps" for c in drawn)
    area = element(
        "div",
        _svg(*shapes, label=f"Validation loss over steps. {said}; target {target:.3f}", height=1000),
        *notes,
        element("div", *ys, class_="ys"),
        element("div", *xs, class_="xs"),
        class_="area",
    )
    return element("div", area, element("div", "steps", class_="unit"), class_="plot")


def _level(up: Scale, tick: float) -> Markup:
    y = _WIDTH - up.at(tick)
    return element("line", x1=0.0, x2=_WIDTH, y1=y, y2=y, class_="grid")


def _curve(curve: Curve, across: Scale, up: Scale) -> list[Markup]:
    places = [(across.at(step), _WIDTH - up.at(loss)) for step, loss in curve.points]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    shapes = [element("path", d=line, class_=f"curve {curve.kind}")]
    for (x, y), (step, loss) in zip(places, curve.points, strict=True):
        said = _title(f"{curve.name}, step {step}: validation loss {loss:.3f}")
        last = " last" if step == curve.points[-1][0] else ""
        shapes.append(element("path", said, d=f"M{x:.1f} {y:.1f}h0.01", class_=f"dot {curve.kind}{last}"))
    return shapes


def _ending(curve: Curve, across: Scale, up: Scale) -> Markup:
    """The number of steps, beside the last point: under the curve while the target's name is far, else above it."""
    step, loss = curve.points[-1]
    x = across.at(step)
    side = "under" if x < 0.5 * _WIDTH else "end" if x > 0.85 * _WIDTH else "middle"
    text = f"{step} step" if step == 1 else f"{step} steps"
    return element("span", text, class_=f"note {curve.kind} {side}", style=_placed(x / _WIDTH, _WIDTH - up.at(loss)))


def _placed(across: float, down: float) -> str:
    return f"left:{100 * across:.2f}%;top:{down / 10:.2f}%"
