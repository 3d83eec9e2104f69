"""The report of a diagnosis: for a terminal, for machines, and as one page of HTML that needs nothing else.

What is found is in :mod:`diffnotes.measure.diagnosis`; here it is put into words. :func:`record` is the form for
machines, :func:`text` and :func:`page` are made from it, so the three say the same.
"""

from __future__ import annotations

import base64
import html
import io
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..measure.diagnosis import Diagnosis, Share, symptoms
from ..measure.interval import Interval

__all__ = ["READINGS", "Reading", "page", "record", "text"]

FORMAT = "diffnotes-diagnosis-1"
WIDTH = 100


class Reading(NamedTuple):
    """What a symptom means, where the book treats it, and what it found to help."""

    title: str
    meaning: str
    where: str
    cure: str


GUESS = "No run of the book decides what helps. Worth a try: "
READINGS = {
    "memorised": Reading(
        "The samples repeat the training data",
        "More samples lie on, or nearly on, reference rows than other data do. A network that has learnt the score of "
        "its training set generates that set, by every sampler, and this alone raises the crowding ratio.",
        "\"Measuring collapse\", section \"Memorisation raises it, for every sampler\"",
        "Train on more data, and judge by held-out data (--held-out) before you blame the sampler.",
    ),
    "duplicated": Reading(
        "The samples repeat one another",
        "More samples than data have another one very near: equal, or at most half as far as the closest hundredth of "
        "the data have theirs. Collapse onto single points looks like this, and so do tight clumps.",
        "\"Collapse errors of the deterministic sampler\", section \"In the plane, and on images\"",
        GUESS + "look whether one start or one seed was used twice. If not, treat it as clumping.",
    ),
    "narrow": Reading(
        "The samples are washed out: they spread less than the data",
        "The total variance is too small. An ancestral sampler of few steps with the variance beta-tilde shrinks its "
        "samples even with a perfect network, and a network that blurs does the same. Narrow samples crowd, too.",
        "\"The estimation gap and the sequence-aware loss\", section \"Why a wrong predictor gives better samples\"",
        "Take more steps and see whether it goes. If it does, the optimal variance repairs it at few steps, on "
        "Gaussian data exactly (diffnotes.model.sample.optimal_variance). If it stays, the network blurs: train on.",
    ),
    "wide": Reading(
        "The samples spread more than the data",
        "The total variance is too large: noise is left behind, or a bias of the loss widens the law, as that of the "
        "sequence-aware loss with independent noises does at many steps.",
        "\"The estimation gap and the sequence-aware loss\", section \"The bias\"; \"Recursive training\", section "
        "\"Drift without an error\"",
        "Where the loss is biased, one noise path takes the bias away. Else end the sampler nearer to t = 0.",
    ),
    "clumped": Reading(
        "The samples clump",
        "They crowd locally, more than a shift of mass or a smaller spread explains: their density is uneven. The "
        "deterministic sampler keeps the random error of the weights; with the exact score it does not crowd.",
        "\"Collapse errors of the deterministic sampler\", sections \"How much of it is the optimiser?\" and \"Cures\"",
        "Sample by the SDE with the same network. Or average the weights, or let the learning rate decay: on this "
        "book's toy data most of the unevenness goes, on images that is open. A skip connection (v, EDM) and two "
        "networks help, too.",
    ),
    "thin": Reading(
        "The samples fill small neighbourhoods less than the data",
        "Few pairs are very close. Fine detail is drowned in noise that is left over, or mass leaks between modes.",
        "\"Measuring collapse\", section \"When the ratio misleads\"; \"Lipschitz singularities and shared "
        "time steps\"",
        GUESS + "end the sampler nearer to t = 0, with more steps there, and train more at small t.",
    ),
    "shifted": Reading(
        "The samples lie beside the data",
        "The mean is off. Mass has moved from some places to others: weights of modes, or one direction.",
        "\"Measuring collapse\", section \"What an excess is made of\"",
        GUESS + "compare the scaling of samples and data, and start where alpha is small enough: noise that should "
        "still hold signal starts at a wrong mean.",
    ),
    "different": Reading(
        "The samples differ from the data in another way",
        "At every split they are farther from the data than data are, and none of the other measures says how.",
        "\"Measuring collapse\", section \"When the ratio misleads\"",
        GUESS + "look at the pair ratios by radius, and at the samples themselves.",
    ),
}  # fmt: skip
NOTHING = Reading(
    "Nothing is seen",
    "By none of these measures do the samples differ from the data by more than chance and by enough to matter. What "
    "these numbers of samples, in this dimension, cannot show may still be there.",
    "\"Measuring collapse\", section \"Its error bars\"", "More samples make smaller differences visible.",
)  # fmt: skip


def record(found: Diagnosis, seed: int = 0) -> dict[str, Any]:
    """The diagnosis as a table of plain numbers, lists and texts; its keys are stable, and ``format`` names them.

    An interval is {"value", "low", "high"}. ``crowding`` has one entry a radius; ``stretched`` is the same for samples
    stretched to the reference's variance, and empty unless theirs is clearly smaller. ``symptoms`` are names of
    :data:`READINGS`, none where nothing is seen.
    """

    def share(one: Share) -> dict[str, Any]:
        return {"samples": _ends(one.samples), "data": one.data}

    def crowds(many: tuple) -> list[dict[str, Any]]:
        return [{"share": one.share, "radius": one.radius, "ratio": _ends(one.ratio), "shift": _ends(one.shift),
                 "unevenness": _ends(one.unevenness)} for one in many]  # fmt: skip

    gap, memory = found.distance, found.memory
    return {
        "format": FORMAT, "diffnotes": sys.modules["diffnotes"].__version__,
        "seed": seed, "dim": found.dim, "rows": found.rows,
        "used": found.used, "crowding": crowds(found.crowding), "stretched": crowds(found.stretched),
        "curve": {"radius": found.radii, **found.curve},
        "variance_ratio": _ends(found.spread), "mean_shift": _ends(found.mean),
        "distance": {"samples": _ends(gap.samples), "floor": _ends(gap.floor), "excess": gap.excess,
                     "deviation": gap.scale},
        "equal": share(found.equal), "near": share(found.near),
        "memory": {"closer": _ends(memory.closer), "median": memory.medians[0], "median_of_data": memory.medians[1],
                   "copied": share(memory.copied), "exact": share(memory.exact)},
        "symptoms": symptoms(found), "warnings": list(found.warnings),
    }  # fmt: skip


def _ends(one: Interval) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), map(float, one)))


# --- words ------------------------------------------------------------------------------------------------------------


def _shown(one: dict[str, float], digits: int = 3, percent: bool = False) -> str:
    value, low, high = (f"{100 * one[key]:.{digits - 2}f} %" if percent else f"{one[key]:.{digits}g}"
                        for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


HEAD = ("the radius holds", "radius", "pair ratio", "shift", "unevenness")


def _crowds(many: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of a table below ``HEAD``."""
    return [(f"{100 * one['share']:g} % of the pairs", f"{one['radius']:.3g}",
             *(_shown(one[key]) for key in ("ratio", "shift", "unevenness"))) for one in many]


def _rows(table: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(measure, value, what it is for like samples) of everything but crowding."""
    memory, gap = table["memory"], table["distance"]
    against = "held-out data" if "held_out" in table["rows"] else "reference rows and the others"
    return [
        ("variance ratio", _shown(table["variance_ratio"]), "1"),
        ("shift of the mean, in deviations", _shown(table["mean_shift"]), "0"),
        ("sliced Wasserstein distance *", _shown(gap["samples"]), _shown(gap["floor"])),
        ("  of it beyond the floor", f"{gap['excess']:.3g}", f"0 (a deviation is {gap['deviation']:.3g})"),
        ("samples equal to another", _shown(table["equal"]["samples"], percent=True),
         f"{100 * table['equal']['data']:.1f} %"),
        ("samples nearly equal to another", _shown(table["near"]["samples"], percent=True),
         f"{100 * table['near']['data']:.1f} %"),
        ("samples equal to a reference row", _shown(memory["exact"]["samples"], percent=True),
         f"{100 * memory['exact']['data']:.1f} %"),
        ("samples nearly equal to a reference row", _shown(memory["copied"]["samples"], percent=True),
         f"{100 * memory['copied']['data']:.1f} %"),
        ("median distance to the nearest reference row", f"{memory['median']:.3g}",
         f"{memory['median_of_data']:.3g} ({against})"),
        ("chance to be nearer than data are", _shown(memory["closer"]), "0.5"),
    ]  # fmt: skip


def _subset(table: dict[str, Any]) -> list[str]:
    """Which measures have seen random rows only."""
    rows, used = table["rows"], table["used"]
    whole = {"pairs of samples": rows["samples"], "pairs of reference": rows["reference"],
             "near duplicates": min(rows["samples"], rows["reference"]), "nearest reference rows": rows["samples"],
             }  # fmt: skip
    part = [f"{name}: {used[name]:,} random rows of {of:,}" for name, of in whole.items() if used[name] < of]
    return [*part, f"distance: {used['distance']:,} random rows of each set, in ten splits"]


def _readings(table: dict[str, Any]) -> list[Reading]:
    return [READINGS[name] for name in table["symptoms"]] or [NOTHING]


def text(table: dict[str, Any]) -> str:
    """The report for a terminal, from a :func:`record`."""
    rows = ", ".join(f"{n:,} {name.replace('_', '-')}" for name, n in table["rows"].items())
    lines = [f"Rows: {rows}; dimension {table['dim']:,}; seed {table['seed']}", ""]
    lines += [f"warning: {one}" for one in table["warnings"]] + [""] * bool(table["warnings"])
    for name, title in (("crowding", "Crowding"), ("stretched", "Crowding of samples stretched to the variance of the "
                                                                "reference")):  # fmt: skip
        if table[name]:
            lines += [f"{title} (samples like data: ratio 1, shift 0, unevenness 0)",
                      *_aligned([HEAD, *_crowds(table[name])]), ""]
    lines += _aligned([("measure", "samples", "data in their place"), *_rows(table)])
    lines += ["* mean over ten random splits, with the smallest and the largest; the other brackets are intervals of "
              "95 %", ""]
    lines += [*_subset(table), ""]
    for reading in _readings(table):
        lines.append(reading.title.upper() if table["symptoms"] else reading.title)
        for label, words in (("", reading.meaning), ("What to do: ", reading.cure), ("In the book: ", reading.where)):
            lines += textwrap.wrap(f"{label}{words}.".replace("..", "."), WIDTH, initial_indent="  ",
                                   subsequent_indent="  ")
        lines.append("")
    return "\n".join(lines)


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]


# --- page -------------------------------------------------------------------------------------------------------------

SIZE = {"width": 4.4, "height": 3.0}
"""Of a figure, in inches: on a phone, 328 pixels wide, its smallest letters are then some 9 pixels high."""

LOOK = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #ccc; --soft: #f3f3f0 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c; --line: #444; --soft: #22252b } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 52rem; overflow-wrap: break-word; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
tbody th { font-weight: normal } tbody th.part { padding-left: 1.5rem }
figure { margin: 1.5rem 0 } figure img { background: #fff; max-width: 100%; height: auto }
figcaption, .small { font-size: .9rem }
section.reading { background: var(--soft); border-left: 4px solid #0072B2; margin: 1rem 0; padding: .5rem 1rem }
section.reading h2 { margin: .2rem 0 }
@media screen and (max-width: 40rem) {
  thead { clip-path: inset(50%); height: 1px; overflow: hidden; position: absolute; width: 1px }
  table, tbody, tr, tbody th, td { display: block } tr { border-bottom: 1px solid var(--line); padding: .4rem 0 }
  tbody th, td { border: 0; padding: 0 } tbody th { font-weight: 600 } td, tbody th.part { padding-left: 1rem }
  th.part ~ td { padding-left: 2rem }
  td::before { content: attr(data-head) ": " }
}
@media print { body { font-size: 11pt; margin: 0 auto } h2 { break-after: avoid }
  figure, section.reading, tr { break-inside: avoid } figure img { max-width: 24rem } }
"""


def page(table: dict[str, Any]) -> str:
    """The report as one HTML page with its figures inside, from a :func:`record`; it loads nothing."""
    e = html.escape
    rows = ", ".join(f"{n:,} {name.replace('_', '-')}" for name, n in table["rows"].items())
    parts = ["<h1>Diagnosis of samples</h1>",
             f"<p>Rows: {e(rows)}; dimension {table['dim']:,}; seed {table['seed']}.</p>"]
    parts += [f"<p role=\"note\"><strong>Warning:</strong> {e(one)}.</p>" for one in table["warnings"]]
    for reading in _readings(table):
        parts.append(f"<section class=\"reading\"><h2>{e(reading.title)}</h2><p>{e(reading.meaning)}</p>"
                     f"<p><strong>What to do:</strong> {e(reading.cure)}</p>"
                     f"<p class=\"small\">In the book: {e(reading.where)}.</p></section>")
    for name, title in (("crowding", "Crowding"), ("stretched", "Crowding of stretched samples")):
        if table[name]:
            parts += [f"<h2>{title}</h2>", _table(HEAD, _crowds(table[name]))]
    parts += ["<h2>Everything else</h2>", _table(("measure", "samples", "data in their place"), _rows(table)),
              "<p class=\"small\">* mean over ten random splits, with the smallest and the largest; the other brackets "
              "are intervals of 95 %. The last column is what data show in place of the samples.</p>",
              *_figures(table), "<h2>What was looked at</h2>", "<ul>",
              *(f"<li>{e(one)}</li>" for one in _subset(table)), "</ul>",
              f"<p class=\"small\">Made by diffnotes {e(table['diffnotes'])}.</p>"]  # fmt: skip
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
            f"<title>Diagnosis of samples</title><style>{LOOK}</style></head>\n<body><main>\n"
            + "\n".join(parts) + "\n</main></body></html>\n")


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    """A table, whose rows become blocks on a narrow screen. A row that begins with blanks is a part of the one above.

    Roles are said because a table that is shown as blocks is none for every screen reader.
    """
    def cell(text: str, tag: str, role: str, more: str = "") -> str:
        whole = re.sub(r"\[[^]]*\]", lambda ends: ends[0].replace(" ", "\N{NO-BREAK SPACE}"), text.strip())
        return f"<{tag} role=\"{role}\"{more}>{html.escape(whole.replace(' %', chr(160) + '%'))}</{tag}>"

    def row(cells: Iterable[str]) -> str:
        return f"<tr role=\"row\">{''.join(cells)}</tr>"

    heads = [f" data-head=\"{html.escape(name)}\"" for name in head[1:]]
    rows = [row([cell(first, "th", "rowheader", " scope=\"row\"" + " class=\"part\"" * first.startswith(" ")),
                 *(cell(text, "td", "cell", more) for text, more in zip(rest, heads))]) for first, *rest in body]
    names = row(cell(name, "th", "columnheader", " scope=\"col\"") for name in head)
    return (f"<table role=\"table\"><thead role=\"rowgroup\">{names}</thead>"
            f"<tbody role=\"rowgroup\">{''.join(rows)}</tbody></table>")


def _figures(table: dict[str, Any]) -> list[str]:
    """The ANSD curves, and the ratio by radius with its parts."""
    from .figures import COLOURS, panels, trend

    curve, made = table["curve"], []
    fig, (axis,) = panels(**SIZE)
    for name, colour, mark in (("reference", "black", "o"), ("samples", "orange", "s")):
        axis.semilogy(curve["radius"], [value or float("nan") for value in curve[name]], color=COLOURS[colour],
                      marker=mark, linestyle="-" if mark == "o" else "--", label=name)
    wide = curve["radius"][-1] > 10 * curve["radius"][0]  # as radii are in few dimensions; in many they are much alike
    axis.set(xlabel="radius", ylabel="others within it (ANSD)", xscale="log" if wide else "linear")
    axis.legend()
    n, m = table["rows"]["samples"], table["rows"]["reference"]
    made.append(_figure(fig, f"Average number of other rows within a radius, of {n:,} samples and of {m:,} reference "
                             "rows. The pair ratio in the table is freed of these numbers.",
                        f"Two curves over the radius, {'both axes' if wide else 'the upright axis'} logarithmic: the "
                        f"reference {trend(curve['reference'])}, the samples' {trend(curve['samples'])}."))  # fmt: skip
    if table["crowding"]:
        fig, (axis,) = panels(**SIZE)
        keys = (("ratio", "blue", "o", 1), ("shift", "green", "^", 0), ("unevenness", "pink", "D", 0))
        for i, (key, colour, mark, less) in enumerate(keys):
            ends = [one[key] for one in table["crowding"]]
            value = [one["value"] - less for one in ends]
            errors = [[one["value"] - one["low"] for one in ends], [one["high"] - one["value"] for one in ends]]
            axis.errorbar([k + 0.15 * (i - 1) for k in range(len(ends))], value, errors, color=COLOURS[colour],
                          marker=mark, linestyle="none", capsize=3, label="ratio - 1" if less else key)
        axis.axhline(0, color=COLOURS["grey"], linewidth=1)
        axis.set_xticks(range(len(table["crowding"])), [f"{100 * one['share']:g} %" for one in table["crowding"]])
        axis.set_xlabel("radius, by the share of the data's pairs within it")
        axis.legend()
        said = "; ".join(f"at {100 * one['share']:g} % the ratio less one is {one['ratio']['value'] - 1:.2g}, its "
                         f"shift {one['shift']['value']:.2g} and its unevenness {one['unevenness']['value']:.2g}"
                         for one in table["crowding"])  # fmt: skip
        made.append(_figure(fig, "The pair ratio less one, and the two parts that it is the sum of, by radius, with "
                                 "intervals of 95 %. Samples like data have 0 everywhere.",
                            f"Three markers with error bars at each radius: {said}."))  # fmt: skip
    return made


def _figure(fig: Any, caption: str, alt: str) -> str:
    import matplotlib.pyplot as plt

    raw = io.BytesIO()
    fig.savefig(raw, format="png", dpi=240)
    width, height = (int(120 * inches) for inches in fig.get_size_inches())
    plt.close(fig)
    data = base64.b64encode(raw.getvalue()).decode()
    return (f"<figure><img alt=\"{html.escape(alt)}\" width=\"{width}\" height=\"{height}\" "
            f"src=\"data:image/png;base64,{data}\">"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")
