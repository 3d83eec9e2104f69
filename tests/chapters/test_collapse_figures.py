"""Each figure of the chapter, drawn from small made-up results: name, caption, and what its text says of them."""

import re

import pytest
import torch

from diffnotes import Exact, GaussianMixture, Linear
from diffnotes.chapters import collapse_figures as figures_of
from diffnotes.chapters.collapse import Crowding, Transport
from diffnotes.measure.flow import FlowMap
from diffnotes.show import explore

F64 = torch.float64


def row(*values):
    return torch.tensor(values, dtype=F64)


def normal_map(*scales):
    z = torch.special.ndtri((torch.arange(400, dtype=F64) + 0.5) / 400)
    return FlowMap(z, torch.stack([scale * z for scale in scales])) if scales else FlowMap(z, z)


def test_the_answer_tells_ratio_and_unevenness_of_each_kind(shown, told):
    law = GaussianMixture(row(0.0), 1.0)
    figures_of.answer(law, normal_map(), {"ODE": normal_map(0.5, 0.5), "SDE": normal_map(1.0, 1.0)}, 0.05)
    alt = told("answer")
    # Half as wide, a normal law has twice as many near pairs, and int (q - p)^2/int p^2 = 3 - 4/sqrt(5/2).
    ratios = re.search(r"Mean ANSD ratio: ODE ([\d.]+); SDE ([\d.]+)\.", alt)
    assert [float(ratios[1]), float(ratios[2])] == pytest.approx([2, 1], abs=0.02)
    uneven = float(re.search(r"Mean unevenness: ODE ([\d.]+)", alt)[1])
    assert uneven == pytest.approx(3 - 4 / 2.5**0.5, abs=0.03)
    assert "the density by ODE has peaks" in alt and len(shown["axes"][0].lines) == 3


def test_planes_tell_what_is_empty_and_how_dense(shown, told):
    kinds = ("ODE", "SDE", "averaged ODE", "exact ODE")
    clouds = {name: {kind: torch.randn(2, 60, 2) for kind in kinds} for name in ("board", "ring")}
    clouds["board"]["SDE"][0] = 0.5 + 0.01 * torch.randn(60, 2)
    data = {"board": torch.randn(200, 2), "ring": 3 * torch.randn(200, 2)}
    empty = {"board": (0.1, 0.2, 0.3, 0.4), "ring": (0.5, 0.6, 0.7, 0.8)}
    found = {name: {kind: Crowding(row(0, 0), row(0, 0), row(e - 0.05, e + 0.05), row(1 + e, 1 + e))
                    for kind, e in zip(kinds, empty[name])} for name in clouds}  # fmt: skip
    figures_of.planes(clouds, data, found)
    alt = told("planes")
    assert "board ODE 10 % and 1.1, SDE 20 % and 1.2, averaged ODE 30 % and 1.3, exact ODE 40 % and 1.4; ring" in alt
    drawn = [[len(points.get_offsets()) for points in axis.collections] for axis in shown["axes"]]
    assert all(sum(pair) == 60 for pair in drawn) and drawn[2] == [0, 60]  # the SDE's all lie in one place
    assert drawn[0][1] <= 1 and shown["axes"][0].get_title() == "data"


def test_radii_tell_the_course_of_each_curve(shown, told):
    curves = {"ODE": torch.stack([row(3.0, 2.0, 1.0), row(5.0, 2.0, 1.0)]), "exact ODE": row(1.0, 1.0, 1.0)[None]}
    figures_of.radii([0.01, 0.1, 0.3], {"board": curves, "ring": curves})
    alt = told("radii")
    assert "board, ODE: falls from 4 to 1; board, exact ODE: stays near 1; ring, ODE" in alt
    assert list(shown["axes"][0].lines[0].get_xdata()) == [1, 10, 30]


def test_filaments_tell_the_share_off_the_cells(shown, told):
    on, off = torch.full((30, 2), 0.5, dtype=F64), torch.tensor([0.5, -0.5], dtype=F64).expand(10, 2)
    figures_of.filaments({"ODE": torch.cat([on, off]), "SDE": on})
    assert "Share of them in per cent: ODE 25; SDE 0." in told("filaments")
    drawn = [[len(points.get_offsets()) for points in axis.collections] for axis in shown["axes"]]
    assert drawn == [[30, 10], [30, 0]]


def test_the_spread_tells_both_correlations(shown, told):
    figures_of.spread(row(0.1, 0.2, 0.3), row(0.1, 0.2, 0.3), row(1, 0, 1), [0.93, -0.1])
    assert "with the spread is 0.93, with the unevenness -0.10." in told("spread")
    assert shown["axes"][1].get_ylabel() == "unevenness"


def test_maps_tell_ratios_and_how_much_is_flat(shown, told):
    z = torch.special.ndtri((torch.arange(40, dtype=F64) + 0.5) / 40)
    law = GaussianMixture(row(0.0), 1.0)
    learned = FlowMap(z, torch.stack([z, torch.where(z.abs() < 0.6745, 0.01 * z, z)]))
    figures_of.maps(FlowMap(z, z), learned, law, {"eps": row(2.0, 4.0), "v": row(1.25, 1.25)})
    alt = told("maps")
    flat = float(re.search(r"on ([\d.]+) % of the mass", alt)[1])
    assert flat == pytest.approx(25, abs=3)  # of one network in two, half of the mass is flat
    assert alt.endswith("mean ratio by setting: eps 3; v 1.25.")
    assert [len(axis.lines) for axis in shown["axes"]] == [3, 3, 1]


def test_early_tells_the_course_and_both_hybrids(shown, told):
    along = {"eps": torch.stack([row(0.1, 0.12), row(0.2, 0.2), row(0.4, 0.5)]), "averaged": torch.full((3, 2), 0.1)}
    tv = {"above": torch.stack([row(0.3, 0.32), row(0.2, 0.2)]), "below": torch.stack([row(0.01, 0.03), row(0.1, 0.1)]),
          "whole": row(0.6, 0.6)[None]}  # fmt: skip
    ratio = {side: 1 + values for side, values in tv.items()}
    figures_of.early([0.8, 0.4, 0.01], along, tv, ratio, [0.8, 0.4])
    alt = told("early")
    assert "the distance with the last weights rises from 0.11 to 0.45." in alt
    assert "with the learned score above the switch: 0.31 at 0.8; 0.2 at 0.4. With" in alt
    assert alt.endswith("With the learned score below: 0.02 at 0.8; 0.1 at 0.4.")
    whole = [axis.lines[-1].get_ydata()[0] for axis in shown["axes"][1:]]
    assert whole == pytest.approx([0.6, 1.6])


@pytest.mark.parametrize("growing, words", [(True, "rises from 2 to 20"), (False, "falls from 20 to 2")])
def test_transport_tells_where_errors_are_made(told, growing, words):
    times = row(1.0, 0.5, 0.0)
    by_time = torch.stack([row(10.0, 10.0), row(1.0, 1.0)]).expand(3, -1, -1)
    by_time = by_time if growing else by_time.flip(1)
    moved = Transport(row(0.1, 0.2).expand(3, -1), row(0.1, 0.3).expand(3, -1), by_time)
    figures_of.transport(row(-1.0, 1.0), times, moved, row(0.8, 0.9, 1.0))
    alt = told("transport")
    assert f"the contribution per unit time {words} from the data end to the noise end" in alt
    assert "rank correlation over networks is 0.90." in alt


def test_factors_tell_the_course_at_time_by_factor_and_weights(shown, told):
    def found(last, averaged):
        kinds = torch.stack([row(last, last + 0.2), row(averaged, averaged)])
        return {"ratio": kinds / 20, "uneven": kinds / 5, "tv": kinds / 10, "at 0.4": kinds}

    columns = {
        "width": {8: found(1.0, 1.5), 16: found(1.4, 1.2), 32: found(1.8, 1.1)},
        "depth": {1: found(1.0, 1.0), 2: found(0.5, 1.0)},
        "steps, 30 points": {1000: found(1.0, 3.0), 5000: found(2.0, 1.0)},
    }
    figures_of.factors(columns)
    alt = told("factors")
    assert "width: the first rises from 1.1 to 1.9, the second falls from 1.5 to 1.1;" in alt
    assert "hidden layers: the first falls from 1.1 to 0.6, the second stays near 1;" in alt
    assert "steps with 30 points: the first rises from 1.1 to 2.1, the second falls from 3 to 1." in alt
    axes = shown["axes"]
    assert [axis.get_xscale() for axis in axes[:3]] == ["log", "linear", "log"]
    assert [text.get_text() for text in axes[11].get_xticklabels()] == ["1,000", "5,000"]
    assert axes[2].get_title() == "30 points" and axes[0].get_ylabel() == "total var., $t=0.4$"


def test_the_seesaw_tells_what_is_traded(shown, told):
    times = row(0.1, 0.3, 0.9)
    errors = {name: (1 + torch.rand(2, 3, dtype=F64)) for name in ("all times", "high noise only", "low noise only")}
    sizes = {"width": {8: {"low noise": row(2.0, 2.0), "high noise": row(1.0, 1.0)},
                       16: {"low noise": row(1.0, 1.0), "high noise": row(2.0, 4.0)}}}  # fmt: skip
    figures_of.seesaw(sizes, times, errors, 0.3, {"seesaw": 2.5, "low": 1.25})
    alt = told("seesaw")
    assert "width, low noise: falls from 1 to 0.5; width, high noise: rises from 1 to 3." in alt
    assert "has 2.5 times the error of the one for high noise at high noise, and 1.2 times the error of the one" in alt
    assert [list(line.get_xdata()) for line in shown["axes"][1].lines[:3]] == [[0.1, 0.3, 0.9], [0.3, 0.9], [0.1, 0.3]]


def test_cures_tell_the_means_in_the_order_of_the_first(shown, told):
    ratio = {"eps, SDE": row(1.0, 1.2), "eps": row(2.0, 2.2), "x0": row(3.0, 3.1)}
    tv = {"eps, SDE": row(0.1, 0.1), "eps": row(0.2, 0.4), "x0": row(0.5, 0.7)}
    figures_of.cures({"ANSD ratio": ratio, "total variation": tv})
    assert told("cures").endswith("total variation: eps, SDE 0.1; eps 0.3; x0 0.6.")
    assert [text.get_text() for text in shown["axes"][0].get_yticklabels()] == ["eps, SDE", "eps", "x0"]
    marks = [container[0].get_marker() for container in shown["axes"][0].containers]
    assert marks == ["s", "o", "o"]


def test_the_explorer_trains_each_network_once_and_tells_its_numbers(monkeypatch):
    made, asked = {}, []
    law = GaussianMixture(row(-1.0, 1.0), 0.3)

    def train(*key):
        asked.append(key)
        return Exact(law, Linear())

    def explorer(compute, controls, **words):
        made.update(words, frames=[compute("cosine", 8, 5, sampler_steps=20, radius=r) for r in controls["radius"]])

    monkeypatch.setattr(figures_of, "explorer", explorer)
    controls = {"learning_rate": ["cosine"], "width": [8], "training_steps": [5], "radius": [0.05, 0.2],
                "sampler_steps": [20]}  # fmt: skip
    figures_of.collapse_explorer({}, law, controls, train=train, start={"radius": 0.2})
    assert asked == [("cosine", 8, 5)] and made["name"] == "fig-collapse-explorer" and made["start"] == {"radius": 0.2}
    assert "Shown first: learning rate cosine, width 8, training steps 5, radius 0.2" in made["caption"]
    assert isinstance(made["frames"][0], explore.Frame)
    assert f"ANSD ratio {made['frames'][1].numbers['ANSD ratio']:g}" in made["alt"]
    assert made["frames"][0].numbers["ANSD ratio"] == pytest.approx(1, abs=0.05)
