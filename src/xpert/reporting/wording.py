"""Numbers and explanations in plain words, the same in the terminal and on pages. Knows records only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xpert.records import Explanation

NOTHING = "no style stands out from the noise"


def joined(words: Sequence[str]) -> str:
    """A list as a sentence has it: "expert", "expert and neutral", "expert, neutral and detailed"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def summary(explanation: Explanation, count: int = 3) -> str:
    """The strongest words that stand above the noise, largest first, or that none does."""
    return joined([w.word for w in explanation.strongest(count)]) or NOTHING


def sum_of(weights: Mapping[str, float]) -> str:
    """Models with their weights: "0.62 poet + 0.41 brief"."""
    return " + ".join(f"{weight:.2f} {name}" for name, weight in weights.items())


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; what rounds to nothing has none."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text.lstrip("+-")


def typeset(number: str) -> str:
    """A number as pages have it: with a real minus sign."""
    return number.replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """A share as whole per cent."""
    return f"{100 * share:.0f}%"


def size(count: int) -> str:
    """Bytes with a unit that keeps the number short."""
    if count < 1000:
        return f"{count} B"
    for unit, power in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 999.5 * power:
            return f"{count / power:.3g} {unit}"
    return f"{count / 1e9:.0f} GB"


def duration(seconds: float) -> str:
    """Wall time as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def fewer(scratch: int, selected: int) -> str | None:
    """How many times fewer steps, as "5×" or "2.5×"; None where there is nothing to boast of."""
    if selected < 1 or scratch <= selected:
        return None
    ratio = scratch / selected
    return f"{ratio:.0f}×" if ratio >= 9.95 or abs(ratio - round(ratio)) < 0.05 else f"{ratio:.1f}×"
