"""Each figure of the chapter, drawn from small made-up results: name, caption, and what its text says of them."""

import pytest
import torch

from diffnotes.chapters import sequence_figures as figures_of
from diffnotes.chapters.sequence import Gaps
from diffnotes.core.law import two_modes
from diffnotes.core.schedule import Chain
from diffnotes.model.sample import grid, sampled_variance
from diffnotes.model.window import Window

DOUBLE = torch.float64
ARMS = {"K=2": Window(2, 1.0), "large": Window(2, 10.0)}  # kappa = 1/3 and 5/6
GRIDS = [10, 50, 100]


def sets(level, count=3):
    """Distances of some sets around a level."""
    return level * torch.linspace(0.9, 1.1, count, dtype=DOUBLE)


def rows(*levels):
    return {n: sets(level) for n, level in zip(GRIDS, levels)}


def test_weights_of_steps_tell_their_shares(shown, told):
    chain = Chain.from_betas([0.2, 0.1, 0.3, 0.05, 0.4])
    figures_of.tau({"short": chain, "long": Chain.linear(1000)})
    alt = told("tau")
    squares = chain.tau.square()
    assert f"the share {100 * float(squares[2] / squares.sum()):.0f} per cent at step 2 and 100 at step 5" in alt
    assert "long: the weight falls from" in alt and len(shown["axes"][0].lines) == 2


def test_implied_variances_are_told_beside_their_closed_form(shown, told):
    flat = torch.full((1001,), 1.5, dtype=DOUBLE)
    falls = torch.cat([flat[:2], torch.linspace(1.2, 1.0, 999, dtype=DOUBLE)])
    figures_of.implied({"K=2": flat, "large": 2 * flat}, {"independent": flat, "markov": falls}, ARMS)
    alt = told("implied")
    assert "K=2, lambda=1 1.50 at t = 100, closed form 1.33" in alt
    assert "K=2, lambda=10 3.00 at t = 100, closed form 1.83" in alt
    assert "independent stays near 1.5; one path falls from 1.2 to 1.1" in alt
    assert [len(axis.lines) for axis in shown["axes"]] == [4, 2]


def test_compensation_tells_where_lines_cross(shown, told):
    counts, needed = [5, 50, 500], torch.tensor([2.0, 0.3, 0.05], dtype=DOUBLE)
    spread = {"exact": torch.tensor([0.5, 0.9, 1.0]), "K=2": torch.tensor([0.8, 1.0, 1.3])}
    figures_of.compensation(counts, spread, torch.ones(3), needed, ARMS | {"K=4": Window(2, 0.0)})
    alt = told("compensation")
    assert "from 5 to 500 steps: exact predictor rises from 0.5 to 1; K=2, lambda=1 rises from 0.8 to 1.3" in alt
    assert "with optimal variances the line stays near 1. Right: the inflation that is needed falls from 2 to" in alt
    assert "K=2, lambda=1 near 44 steps, K=2, lambda=10 near 14 steps" in alt
    dots = [line.get_xydata()[0] for line in shown["axes"][1].lines if line.get_marker() == "o"]
    assert len(dots) == 2  # none for an inflation that is not reached
    share = (torch.tensor(2.0).log() - torch.tensor(1 / 3).log()) / (torch.tensor(2.0).log() - torch.tensor(0.3).log())
    assert dots[0] == pytest.approx([5 * 10 ** float(share), 1 / 3], rel=1e-5)


def test_the_mixture_tells_the_lowest_curve_and_the_modes(shown, told):
    found = {"exact": rows(0.4, 0.2, 0.1), "K=2": rows(0.1, 0.3, 0.5)}
    x = torch.tensor([[-1.0, 1.0, -1.2, 1.2]], dtype=DOUBLE).repeat(3, 1)
    figures_of.mixture(found, {"exact": x, "K=2": 0.5 * x}, two_modes(1.0, 0.2).to(dtype=DOUBLE))
    alt = told("mixture")
    assert "exact predictor falls from 0.4 to 0.1; K=2, lambda=1 rises from 0.1 to 0.5" in alt
    assert "K=2, lambda=1 at 10 steps, exact predictor at 50 steps, exact predictor at 100 steps" in alt
    assert "exact predictor at 1.10 with a deviation of 0.10; K=2, lambda=1 at 0.55" in alt
    assert "of 4 samples" in shown["caption"] and "over 3 sets" in shown["caption"]


def test_weights_tell_where_each_curve_is_least(told):
    found = {10: [sets(0.4), sets(0.3), sets(0.1)], 1000: [sets(0.1), sets(0.2), sets(0.4)]}
    figures_of.weights([0.0, 1.0, 10.0], found)
    alt = told("weights")
    assert "at 10 steps the distance falls from 0.4 to 0.1 and is least at lambda = 10" in alt
    assert "at 1000 steps the distance rises from 0.1 to 0.4 and is least at lambda = 0" in alt


def test_trained_networks_are_told_with_ratios(shown, told):
    found = {name: rows(0.4, 0.2, 0.1) for name in ("exact", "plain", "K=3", "K=4", "large", "doubled", "both")}
    found |= {"K=2": rows(0.1, 0.2, 0.3), "path": rows(0.4, 0.2), "scaled": rows(0.2, 0.1)}
    figures_of.trained(found)
    alt = told("trained")
    assert "K=2, lambda=1 rises from 0.1 to 0.3" in alt and "plain, scaled falls from 0.2 to 0.1" in alt
    assert "K=2, lambda=1 0.25 at 10 steps; K=2, lambda=1 3.00 at 100 steps; K=2, one noise path 1.00 at 10" in alt
    assert [len(axis.lines) for axis in shown["axes"]] == [7, 5]


def gaps_of(end):
    steps, zero = torch.arange(4, 1, -1), torch.zeros(2)
    return Gaps(steps, torch.linspace(0, end, 3), zero, zero, torch.zeros(3, 2), zero, zero)


@pytest.mark.parametrize("mean, word", [(1.0, "smaller"), (1.5, "larger")])
def test_gaps_tell_which_predictor_has_the_smaller_one(told, mean, word):
    sizes = {"exact": torch.tensor([1.4, 1.42]), "mean": torch.tensor([mean, mean + 0.02])}
    figures_of.gaps({"exact": gaps_of(0.25), "K=2": gaps_of(0.5), "mean": gaps_of(0.75)}, sizes,
                    torch.tensor([0.5, 0.7, 1.0]))
    alt = told("gaps")
    assert "exact predictor 0.25; K=2, lambda=1 0.50; always the mean 0.75" in alt
    assert f"gap is 1.41, that of the predictor that always draws the mean {mean + 0.01:.2f}, the {word} one" in alt
    assert "100 per cent at step 4" in alt


def test_images_tell_distances_and_variances(shown, told):
    distance = {name: {"plain": rows(8, 5, 2), "K=2": rows(4, 4, 4)} for name in ("digits", "mnist")}
    spread = {name: {"plain": dict(zip(GRIDS, (0.5, 0.7, 0.9))), "K=2": dict(zip(GRIDS, (1.2, 1.1, 1.0)))}
              for name in distance}
    figures_of.images(distance, spread, {"digits": 1.0, "mnist": 1.0}, 40)
    alt = told("images")
    assert "digits, plain loss: the distance falls from 8 to 2, the variance rises from 0.5 to 0.9" in alt
    assert "mnist, K=2, lambda=1: the distance stays near 4, the variance falls from 1.2 to 1" in alt
    assert "40 samples" in shown["caption"] and "over 3 seeds" in shown["caption"] and len(shown["axes"]) == 6
    assert [len(axis.lines) for axis in shown["axes"][:3]] == [3, 3, 3]  # two arms and the floor


def test_covariances_tell_every_method(shown, told):
    kinds = ("tilde", "analytic", "npr", "sn")
    far = {(kind, name, n): sets(0.1 * (i + 1) * (2 if name == "K=2" else 1) * (3 if n == 50 else 1))
           for i, kind in enumerate(kinds) for name in ("plain", "K=2") for n in (10, 50)}
    spread = {key: 1.0 + 0.1 * (key[1] == "K=2") * (-1 if key[0] == "sn" else 1) for key in far}
    figures_of.covariances(far, spread, {10: sets(0.01), 50: sets(0.02)})
    alt = told("covariances")
    assert "at 10 steps the distance of plain loss is 0.1 with beta-tilde, 0.2 with Analytic-DPM, 0.3" in alt
    assert "at 50 steps the distance of K=2, lambda=1 is 0.6 with beta-tilde" in alt
    assert "above that of the plain networks with beta-tilde, Analytic-DPM, NPR." in alt
    assert "over 3 seeds" in shown["caption"] and len(shown["axes"]) == 3


def test_covariances_of_images_have_a_figure_of_their_own(shown, told):
    far = {(kind, name, 10): sets(8.0 if name == "K=2" else 20.0) for kind in ("tilde", "analytic", "npr", "sn")
           for name in ("plain", "K=2")}
    figures_of.covariances(far, {key: 1.0 for key in far})
    alt = told("image-covariances")
    assert "at 10 steps the distance of plain loss is 20 with beta-tilde" in alt and "with no method" in alt
    assert "exact predictor" not in shown["caption"] and len(shown["axes"]) == 2


def test_the_explorer_has_the_variance_of_samples_and_what_the_predictor_believes(monkeypatch):
    """Far from the ends of the windows the loss takes data N(0, 1) for N(0, (1 + lambda)/(1 + lambda/K))."""
    chain = Chain.linear(200)
    frames = figures_of.step_frames(chain, [10, 200])
    for K, weight in ((2, 1.0), (4, 3.0)):
        numbers = frames(K, weight, 200).numbers
        assert numbers["of data, as believed"] == pytest.approx((1 + weight) / (1 + weight / K), rel=0.02)
        assert numbers["variance"] > numbers["with the plain loss"]
    t = torch.arange(chain.T + 1)
    alpha, sigma = chain(t)
    exact = sampled_variance(chain, sigma / (alpha**2 + sigma**2), grid(chain, 10, "skip"))
    few = frames(2, 1.0, 10)
    assert few.numbers["with the plain loss"] == pytest.approx(exact, rel=1e-3) and exact < 0.9
    assert few.panels[1].curves["plain loss"][1][0] == pytest.approx(exact, rel=1e-4)
    x, density = (torch.tensor(part, dtype=DOUBLE) for part in few.panels[0].curves["this loss"])
    moment = torch.trapezoid(density * x**2, x)
    assert float(moment) == pytest.approx(few.numbers["variance"], rel=0.01)
    given = {}
    monkeypatch.setattr(figures_of, "explorer_of", lambda *args, **text: given.update(text, args=args))
    figures_of.explorer(chain, [10, 200], [1.0, 3.0])
    assert given["name"] == "fig-sequence-explorer" and given["start"] == {"K": 2, "weight": 1.0, "steps": 10}
