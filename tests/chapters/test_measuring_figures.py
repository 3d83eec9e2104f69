"""Figures of the chapter on measuring, drawn from made-up results: their words must be those of the data."""

from __future__ import annotations

import pytest
import torch

from diffnotes.chapters import measuring_figures as figures_of
from diffnotes.core.law import two_modes
from diffnotes.measure.flow import FlowMap
from diffnotes.measure.interval import Interval
from diffnotes.show import figures

DOUBLE = torch.float64
LAW = two_modes(1.0, 0.2)


@pytest.fixture
def shown(monkeypatch):
    """What the figures hand to the page: name -> (figure, caption, alt)."""
    found = {}

    def show(fig, *, name, caption, alt):
        fig.canvas.draw()
        assert name.startswith("fig-measuring-") and len(caption) > 40 and len(alt) > 40 and alt != caption
        found[name.removeprefix("fig-measuring-")] = (fig, caption, alt)
        figures.plt.close(fig)

    monkeypatch.setattr(figures, "show", show)
    return found


def flow_map(scales):
    z = torch.special.ndtri((torch.arange(200, dtype=DOUBLE) + 0.5) / 200)
    return FlowMap(z, torch.stack([scale * LAW.quantile(torch.special.ndtr(z)) for scale in scales]))


@pytest.mark.parametrize("stds, words", [((0.1, 0.2), "one above that of the other"),
                                         ((0.2, 0.1), "other above that of the one")])
def test_integral_says_which_law_is_above_and_how_far_the_limit_holds(shown, stds, words):
    laws = {name: two_modes(1.0, std) for name, std in zip(("one", "other"), stds)}
    figures_of.integral(laws, {name: law.sample(30, 0) for name, law in laws.items()})
    fig, caption, alt = shown["integral"]
    assert words in alt and "one set of 30 samples" in caption
    radius = {0.1: "0.045", 0.2: "0.089"}  # C(eps) of one mode is erf(eps/(2 s)): 2 % at 0.49 s, on a grid
    assert f"one {radius[stds[0]]}, other {radius[stds[1]]}" in alt
    assert len(fig.axes[0].lines) == 6


@pytest.mark.parametrize("factor, words", [(1.1, "within 10 per cent"), (1.5, "within 50 per cent")])
def test_error_says_how_far_off_the_theorem_is(shown, factor, words):
    predicted = torch.tensor([[0.8, 0.4], [0.1, 0.2]], dtype=DOUBLE)
    measured = Interval(factor * predicted, predicted, 2 * predicted)
    figures_of.error([50, 500], (0.005, 0.05), measured, predicted, 33)
    _, caption, alt = shown["error"]
    assert words in alt and "over 33 sets" in caption
    assert "at the radius 0.005 it falls from 0.8 to 0.1; at the radius 0.05 it falls from 0.4 to 0.2" in alt


def test_maps_say_how_widely_the_density_ratio_spreads(shown):
    whole = flow_map([1.0])
    rough, exact = flow_map([1.0, 0.8]), flow_map([1.0, 1.0])
    figures_of.maps(FlowMap(whole.z, whole.x[0]), {"rough one": rough, "exact one": exact}, LAW, 0.05)
    fig, _, alt = shown["map"]
    assert "between 1 and 1 with the exact one" in alt and "between 1 and 1 with the rough one" not in alt
    drawn = torch.as_tensor(fig.axes[0].lines[0].get_ydata())
    assert torch.equal(drawn, rough.x[1])  # the second member is the one that crowds


@pytest.mark.parametrize("lift, words", [(0.0, "above zero in every setting, at least 0.2"),
                                         (-0.5, "not above zero everywhere, as low as -0.3")])
def test_split_counts_negative_shifts(shown, lift, words):
    shift = torch.tensor([[-0.3, -0.5], [0.5, 0.1], [-0.1, -0.2]], dtype=DOUBLE)
    uneven = torch.tensor([[0.2, 0.21], [0.3, 0.31], [0.4, 0.41]], dtype=DOUBLE) + lift
    keys = [("eps", "cosine", 500), ("v", "cosine", 500), ("x0", "tanh", 30)]
    figures_of.split(dict(zip(keys, zip(shift, uneven))), 0.05)
    fig, caption, alt = shown["split"]
    assert words in alt and "negative on average in 2 of 3 settings, and its intervals are wider" in alt
    assert "3 settings at the radius 0.05" in caption and "over 2 seeds" in caption
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()][2] == "x0, tanh, 30"


def test_sensitivity_says_how_each_curve_goes(shown):
    radii = torch.tensor([0.01, 0.1, 1.0], dtype=DOUBLE)
    falling, flat = (torch.tensor([row] * 2) for row in ([2.0, 1.5, 1.0], [1.0, 1.0, 1.01]))
    curves = {"constant rate": falling, "decayed rate": flat}
    figures_of.sensitivity(radii, curves, [1e-3, 1e-2], {"data": [1.0, 0.5], "noised data": [1.0, 1.2]}, 0.05)
    fig, _, alt = shown["sensitivity"]
    assert "the ratio falls from 2 to 1 with a constant rate, and stays near 1 with a decayed rate" in alt
    assert "against the data it falls from 1 to 0.5, against the noised data it rises from 1 to 1.2" in alt
    assert "constant rate" in fig.axes[1].get_ylabel()


@pytest.mark.parametrize("factor, meet, off", [(1.02, "2 of 2", "2.0"), (3.0, "0 of 2", "200.0")])
def test_memory_says_whether_the_samplers_differ(shown, factor, meet, off):
    formula = torch.tensor([[2.0, 1.2], [2.1, 1.1], [1.9, 1.3]], dtype=DOUBLE)
    figures_of.memory([20, 60], {"ODE": formula, "SDE": factor * formula, "formula": formula}, 0.05, 0.05)
    fig, caption, alt = shown["memory"]
    assert f"overlap at {meet} sizes" in alt and f"off it by 0.0 per cent for the ODE and {off} for the SDE" in alt
    assert "the ODE falls from 2 to 1.2" in alt and "over 3 training sets" in caption
    line = fig.axes[0].lines[0]  # the proposition
    n, y = (torch.as_tensor(part) for part in line.get_data())
    torch.testing.assert_close(y, (n - 1) / n + 20 / n)


def test_tid_says_how_the_bias_goes(shown):
    bias = {0.05: torch.tensor([[0.2, 0.4], [0.1, 0.1]]), 0.2: torch.tensor([[0.1, 0.1], [0.1, 0.1]])}
    figures_of.tid([200, 1000], bias, 0.05)
    _, caption, alt = shown["tid"]
    assert "with k/N = 0.05 the bias falls from 0.3 to 0.1; with k/N = 0.2 the bias stays near 0.1" in alt
    assert "over 2 sets" in caption


def test_fleet_tells_the_rank_correlations(shown):
    keys = [("eps", "cosine", 1), ("v", "cosine", 1), ("x0", "cosine", 1)]
    names = ("total variation", "size of log ratio", "TID")
    values = {name: {key: torch.tensor([0.1, 0.2]) * (i + 1) for i, key in enumerate(keys)} for name in names}

    def table(size, tail):
        return {"size of log ratio": Interval(size, -1, 1), "TID": Interval(tail, -1, 1)}

    figures_of.fleet(values, table(0.9, -0.5), table(0.25, 0.75))
    fig, _, alt = shown["fleet"]
    assert "rank correlation 0.90 with total variation, TID -0.50; without" in alt
    assert "without the x0 settings they are 0.25 and 0.75" in alt
    markers = {line.get_marker() for line in fig.axes[1].lines} - {"."}
    assert len(markers) == 3  # targets are told apart by more than colour


def test_images_say_how_each_ratio_goes(shown):
    rows = {"ODE": torch.tensor([[0.1, 1.5], [0.1, 1.7]]), "SDE": torch.tensor([[1.0, 0.2], [1.0, 0.2]]),
            "held out": torch.ones(2, 2)}  # fmt: skip
    figures_of.images({"digits": rows}, torch.tensor([0.001, 0.5]), 25)
    fig, caption, alt = shown["images"]
    assert "digits, ODE: the ratio rises from 0.1 to 1.6; digits, SDE: the ratio falls from 1 to 0.2" in alt
    assert "digits, held out: the ratio stays near 1" in alt and "25 samples" in caption and "2 splits" in caption
    assert fig.axes[0].get_title() == "digits"


@pytest.mark.parametrize("kind", figures_of.DEFECTS)
def test_defects_change_what_they_say(kind):
    law = two_modes(1.0, 0.2).to(dtype=DOUBLE)
    none, made = figures_of.defect(law, kind, 0.0), figures_of.defect(law, kind, 0.6)
    x = torch.linspace(-2, 2, 41, dtype=DOUBLE)[:, None]
    torch.testing.assert_close(none.log_prob(x), law.log_prob(x), rtol=1e-12, atol=1e-12)
    assert float(made.weights.sum()) == pytest.approx(1)
    if kind == "a lost mode":
        assert made.weights.tolist() == pytest.approx([0.2 / 0.7, 0.5 / 0.7])
    else:
        grown = {"narrow modes": 0.04 * (0.16 - 1), "washed out": 0.04 * 0.6, "clumps": 0.0}[kind]
        assert float(made.mean) == pytest.approx(0, abs=1e-12)
        assert float(made.covariance - law.covariance) == pytest.approx(grown, abs=1e-3)
    for wrong in ({"kind": "other", "strength": 0.5}, {"kind": kind, "strength": 1.0}):
        with pytest.raises(ValueError, match="allowed"):
            figures_of.defect(law, **wrong)


def test_the_explorer_has_the_parts_of_the_ratio(monkeypatch):
    frames = figures_of.split_frames(two_modes(1.0, 0.2).to(dtype=DOUBLE), [0.0, 0.5])
    assert frames("clumps", 0.0, 0.05).numbers == {"ratio": 1.0, "shift": 0.0, "unevenness": 0.0}
    lost = frames("a lost mode", 0.5, 0.02).numbers  # weights 1/3 and 2/3: 2 (1/9 + 4/9), and no mass is shifted
    assert lost == pytest.approx({"ratio": 10 / 9, "shift": 0.0, "unevenness": 1 / 9}, abs=1e-3)
    narrow = frames("narrow modes", 0.5, 0.001).numbers
    assert narrow["ratio"] == pytest.approx(2, rel=1e-3)  # density of pairs at distance 0 goes like 1/width
    assert narrow["ratio"] == pytest.approx(1 + narrow["shift"] + narrow["unevenness"], abs=2e-3)
    near, far = (frames("clumps", 0.5, radius).numbers["unevenness"] for radius in (0.02, 0.2))
    assert near > 4 * far
    curve = frames("a lost mode", 0.5, 0.02).panels[1].curves["unevenness"]
    assert curve[1] == pytest.approx((0.0, 1 / 9), abs=1e-4)
    given = {}
    monkeypatch.setattr(figures_of, "explorer_of", lambda *args, **text: given.update(text, args=args))
    figures_of.explorer(LAW, [0.0, 0.5], [0.02, 0.2])
    assert given["name"] == "fig-measuring-explorer" and list(given["args"][1]) == ["kind", "strength", "radius"]
    assert given["start"] == {"kind": "clumps", "strength": 0.5, "radius": 0.02} and "0.02" in given["alt"]
