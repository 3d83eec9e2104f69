"""Time variants of one task in rotation, so that slow drifts of the machine hit all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def rotate(variants: dict[str, Callable[[], object]], rounds: int, repeat: int = 1) -> dict[str, list[float]]:
    """Seconds of each call, ``rounds`` a variant, after one call of each that does not count."""
    for run in variants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            began = time.perf_counter()
            for _ in range(repeat):
                run()
            seconds[name].append((time.perf_counter() - began) / repeat)
    return seconds


def table(title: str, seconds: dict[str, list[float]], unit: str, scale: float, reference: str) -> str:
    """A Markdown table: median, range, and the ratio of medians to ``reference``."""
    base = statistics.median(seconds[reference])
    lines = [f"### {title}", "", f"| variant | {unit}, median | range | ratio to {reference} |", "|---|---|---|---|"]
    for name, values in seconds.items():
        low, middle, high = (scale * v for v in (min(values), statistics.median(values), max(values)))
        lines.append(f"| {name} | {middle:.3g} | {low:.3g} - {high:.3g} | {middle / scale / base:.2f} |")
    return "\n".join(lines) + "\n"
