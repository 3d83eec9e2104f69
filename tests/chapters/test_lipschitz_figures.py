"""Each figure of the chapter, drawn from small made-up results: name, caption, and what its text says of them."""

import torch

from diffnotes.chapters import lipschitz_figures as figures_of
from diffnotes.chapters.lipschitz import FirstInterval, SharedExact, SharingCost, answers_at
from diffnotes.core.denoiser import Exact
from diffnotes.core.law import two_modes
from diffnotes.core.schedule import Linear
from diffnotes.measure.interval import Interval
from diffnotes.model.condition import Shared

DOUBLE = torch.float64
TIMES = torch.tensor([1e-7, 1e-6, 1e-5, 1e-4], dtype=DOUBLE)


def test_rates_tell_slopes_and_leave_out_what_vanishes(shown, told):
    curves = {("smooth", "eps"): TIMES**-0.5, ("smooth", "x0"): 0 * TIMES + 3, ("points", "eps"): TIMES**-1.25,
              ("points", "x0"): 0 * TIMES}
    figures_of.rates(TIMES, curves)
    alt = told("rates")
    assert "between t = 1e-07 and 1e-05" in alt
    assert "smooth eps -0.50; smooth x0 0.00; points eps -1.25." in alt
    assert "points x0" not in alt and len(shown["axes"][1].lines) == 1


def test_schedules_tell_slopes_above_and_below(shown, told):
    by_schedule = {(kind, name): TIMES**power for kind, power in (("smooth", -0.5), ("points", -1.0))
                   for name in figures_of.SCHEDULES}
    by_schedule["smooth", "edm"] = TIMES**0.25
    by_clock = {(kind, clock): TIMES**-0.75 for kind in ("smooth", "points") for clock in figures_of.CLOCKS}
    figures_of.schedules(TIMES, by_schedule, by_clock)
    top, bottom = told("schedules").split("Bottom:")
    assert "smooth EDM-like 0.25" in top and "points cosine, no offset -1.00" in top and "-0.75" not in top
    assert bottom.count("-0.75") == 6 and "points in sigma -0.75" in bottom
    assert [len(axis.lines) for axis in shown["axes"]] == [8, 8, 3, 3]


def cost(price):
    return SharingCost(torch.ones(1), torch.ones(1), torch.tensor([price]), torch.ones(1))


def test_the_price_tells_its_trends(shown, told):
    first = FirstInterval(TIMES, 2 * TIMES, torch.tensor([2e-7, 1e-6, 1e-5, 5e-5], dtype=DOUBLE))
    by_dim = {(w, d): cost(w + 0.1 * sign * d) for w, sign in ((3.0, 1), (2.0, -1), (0.0, 1)) for d in (1, 5)}
    figures_of.price(first, {1: cost(0.8), 4: cost(0.2)}, 0.9, by_dim, cost(0.03), Shared(3, 70))
    alt = told("price")
    assert "rises from 2e-07 to 0.0002 as the length grows 1000 times" in alt
    assert "it is 1.0 times the predicted one for the shortest and 4.0 times for the longest" in alt
    assert "falls from 0.8 to 0.2 with more sub-intervals" in alt and "left end has 0.9" in alt
    assert "width 3 rises from 3.1 to 3.5; width 2 falls from 1.9 to 1.5; points rises" in alt
    assert "digits lie at 0.03" in alt
    assert "t<70" in shown["caption"] and "n=3" in shown["caption"]


def test_constants_tell_curves_and_jumps(shown, told):
    t = torch.arange(1, 6)
    flat = torch.tensor([[0.2, 0.2, 0.2, 0.2, 0.2], [0.3, 0.3, 0.3, 0.3, 0.3]], dtype=DOUBLE)
    jumps = torch.tensor([0.0, 0.0, 0.7, 0.0, 0.0], dtype=DOUBLE).expand(2, -1)
    ring = {"exact": torch.tensor([9.0, 5.0, 3.0, 2.0, 1.0]), "plain": flat, "slow waves": flat * t, "shared": jumps,
            "plain, long": flat / t, "regularised": flat / 2}
    line = {"exact": torch.tensor([4.0, 1.0, 1.0, 1.0, 1.0]), "best shared": torch.tensor([0.0, 0.0, 5.0, 0.0, 0.0])}
    response = {"plain": flat[:, ::2], "shared": 2 * flat[:, ::2], "exact": torch.full((3,), 0.4)}
    figures_of.constants(t, ring, line, response, 3)
    alt = told("nets")
    assert "Exact constant on the ring: falls from 9 to 1. Plain networks: stays near 0.25" in alt
    assert "trained long: falls from 0.25 to 0.05; with slow waves: rises from 0.25 to 1.2" in alt
    assert "have 0 at most steps and jumps up to 0.700" in alt
    assert "mean of 1.000 against 1.600 and a maximum of 5.000 against 4.000" in alt
    assert "plain 0.25; shared 0.50; exact 0.40" in alt
    assert len(shown["axes"]) == 4


def test_quality_tells_distances_and_ratios(shown, told):
    line = {"exact": {5: 0.5, 10: 0.2, 100: 0.01, 1000: 0.001}, "best shared": {5: 0.4, 10: 0.1, 100: 0.02, 1000: 0.03}}
    ring = {name: {(kind, n): torch.tensor([1.0, 2.0]) / n for kind in figures_of.SAMPLERS for n in (100, 10)}
            for name in ("plain", "shared")}
    exact = {case: torch.tensor([0.01, 0.03]) for case in ring["plain"]}
    figures_of.quality(line, ring, exact, {("ddim", 10): Interval(0.75, 0.7, 0.8)})
    alt = told("quality")
    assert "at 10 steps exact 0.2, best shared 0.1; at 100 steps" in alt and "at 5 steps" not in alt
    assert alt.endswith("ratio of shared to plain: ddim 10 steps 0.75.")
    assert shown["axes"][1].lines[0].get_xdata().tolist() == [10, 100]  # in the order of the steps


RATIOS = {"shared": Interval(1.1, 1.0, 1.2), "v": Interval(0.8, 0.7, 0.9)}


def test_alternatives_tell_ratios(shown, told):
    figures_of.alternatives({"ten steps": RATIOS, "radii": RATIOS | {"v": Interval(0.5, 0.4, 0.6)}})
    assert "ten steps: shared 1.10; v 0.80. radii: shared 1.10; v 0.50." in told("alternatives")
    assert [axis.get_title() for axis in shown["axes"]] == ["ten steps", "radii"]
    assert [label.get_text() for label in shown["axes"][0].get_yticklabels()] == ["shared", "v"]


def test_the_target_tells_its_vertical_start(shown, told):
    t = torch.linspace(1e-4, 1, 200, dtype=DOUBLE)
    exact, stairs = torch.stack([t.sqrt(), -t]), torch.zeros(2, 200, dtype=DOUBLE)
    figures_of.target(t, torch.tensor([0.2, 0.6]), {
        (kind, who): rows for kind in ("smooth", "points") for who, rows in (("exact", exact), ("best shared", stairs))
    })  # fmt: skip
    alt = told("target")
    assert "smooth x = 0.2 rises from 0.01 to 1, its first tenth of the axis covering 30% of its range" in alt
    assert "points x = 0.6 falls from -0.0001 to -1, its first tenth of the axis covering 10% of its range" in alt
    assert "shared stays near 0" in alt and len(shown["axes"][0].lines) == 4


def test_the_budget_tells_what_training_does(shown, told):
    plain = torch.tensor([[0.4, 0.5], [0.1, 0.11]], dtype=DOUBLE)
    off = {"ring": {"plain": plain, "shared": plain * torch.tensor([[0.8], [1.2]])}}
    contrast = {"ring": torch.tensor([[1.0, 1.1], [2.0, 2.1]], dtype=DOUBLE), "ring, exact": torch.tensor(4.0)}
    figures_of.budget([10, 80], off, {"ring": 0.01}, contrast)
    alt = told("budget")
    assert "plain falls from 0.45 to 0.1" in alt and "ratio of shared to plain rises from 0.8 to 1.2" in alt
    assert "near over far, ring: rises from 1.1 to 2, exact 4.0." in alt
    assert [label.get_text() for label in shown["axes"][0].get_xticklabels()] == ["10", "80"]


def test_the_table_has_a_row_for_each_setting(capsys, monkeypatch):
    import IPython.display

    found = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: found.append(data["text/markdown"]))
    two = torch.tensor([1.0, 3.0])
    distances = {name: two * k for k, name in enumerate(("plain", "shared", "v"))}
    constants = {name: torch.tensor([[0.1, 0.3], [0.1, 0.7]]) for name in distances}
    figures_of.table({"DDIM, 10 steps": distances}, RATIOS, constants, dict.fromkeys(distances, two))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()]
    assert rows[0][:3] == ["setting", "DDIM, 10 steps", "its ratio to plain"]
    assert rows[2] == ["plain", "0.000", "1", "0.3000", "0.500", "2.000"]
    assert rows[3] == ["shared", "2.000", "1.10 [1.00, 1.20]", "0.3000", "0.500", "2.000"]
    assert rows[4][:2] == ["v", "4.000"] and len({len(row) for row in rows}) == 1


def test_images_tell_each_set_and_arm(shown, told):
    t = torch.arange(1, 4)
    constants = {name: {arm: torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]) for arm in figures_of.ARMS}
                 for name in ("digits", "mnist")}
    constants["mnist"]["plain"] = torch.ones(2, 3) * 0.5
    cases = [("ddim", 10), ("dpm", 10)]
    ratios = {name: {"short": dict.fromkeys(cases, RATIOS["v"]), "long": dict.fromkeys(cases, RATIOS["shared"])}
              for name in constants}
    figures_of.images(t, constants, ratios)
    alt = told("images")
    assert "digits, plain, constant rises from 1 to 4" in alt and "mnist, plain, constant stays near 0.5" in alt
    assert "mnist, short: ddim 10 0.80, dpm 10 0.80" in alt and "digits, long: ddim 10 1.10" in alt
    assert len(shown["axes"]) == 4 and "DPM-Solver\n10" in [
        label.get_text() for label in shown["axes"][1].get_xticklabels()
    ]


def test_the_explorer_has_the_shared_answers_and_their_jumps(monkeypatch):
    law, schedule = two_modes(1.0, 0.2).to(dtype=DOUBLE), Linear()
    frame = figures_of.sharing_frames({"modes": law}, schedule, 0.1)("modes", 2)
    times, shared = (torch.tensor(part, dtype=DOUBLE) for part in frame.panels[0].curves["shared"])
    x = torch.tensor([0.9], dtype=DOUBLE)
    wanted = answers_at(SharedExact(law, schedule, 2, 0.1), x, times)[0]
    torch.testing.assert_close(shared, wanted, rtol=1e-4, atol=1e-4)
    exact = torch.tensor(frame.panels[0].curves["exact"][1], dtype=DOUBLE)
    torch.testing.assert_close(exact, answers_at(Exact(law, schedule), x, times)[0], rtol=1e-4, atol=1e-4)
    assert frame.numbers["shared, median"] == 0 < frame.numbers["shared, at a border"]
    assert torch.unique(shared[times < 0.1]).numel() == 2
    off = torch.tensor(frame.panels[1].curves["shared"][1], dtype=DOUBLE)
    torch.testing.assert_close(off, shared - exact, rtol=0, atol=2e-4)
    given = {}
    monkeypatch.setattr(figures_of, "explorer_of", lambda *args, **text: given.update(text, args=args))
    figures_of.explorer({"smooth": law}, schedule, [1, 2], 0.1)
    assert given["name"] == "fig-lipschitz-explorer" and given["start"]["sub_intervals"] == 2
    assert given["args"][1]["data"] == [figures_of.KINDS["smooth"]]
