"""The figures of the chapter say what they show: texts follow from the data given."""

from __future__ import annotations

import math

import pytest
import torch

from diffnotes import Cosine, Linear, Quadratic
from diffnotes.chapters import targets_figures as figures_of
from diffnotes.chapters.targets import Elbo
from diffnotes.core.law import GaussianMixture
from diffnotes.core.target import TARGETS
from diffnotes.measure.interval import Interval
from diffnotes.show import figures

LINEAR = Linear()
LAW = GaussianMixture([-1.0, 1.0], 0.2).to(dtype=torch.float64)
RISES, FALLS, FLAT = (torch.tensor(values, dtype=torch.float64) for values in ([1.0, 5.0], [5.0, 1.0], [2.0, 2.0]))


@pytest.fixture
def shown(monkeypatch):
    """Name, caption and alternative text of the figures shown."""
    import matplotlib.pyplot as plt

    found = []

    def keep(fig, **text):
        fig.canvas.draw()  # labels in mathematics are read only now
        found.append(text)
        plt.close(fig)

    monkeypatch.setattr(figures, "show", keep)
    yield found
    for text in found:
        assert text["name"].startswith("fig-targets-") and len(text["caption"]) > 20 and len(text["alt"]) > 20
        assert "nan" not in text["alt"] and text["alt"] not in text["caption"]


def by_target(*curves):
    return dict(zip(TARGETS, curves))


def test_forward_counts_paths_that_change_their_order(shown):
    start, end = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 1.0])
    straight, crossing = (torch.stack([start, last])[..., None] for last in (start, end))
    figures_of.forward(LAW, LINEAR, torch.tensor([1.0, 0.001]), {"one": straight, "other": crossing})
    assert "one 0 of 3; other 1 of 3" in shown[0]["alt"]


def test_score_tells_how_the_share_goes(shown):
    figures_of.score(LAW, LINEAR, [0.01, 1.0], (torch.tensor([0.1, 1.0]), [0.9, 0.01]))
    assert "nonlinear share falls from 0.9 to 0.01" in shown[0]["alt"]


def test_step_weights_tell_each_target(shown):
    figures_of.step_weights(by_target(FALLS, RISES, FLAT, RISES))
    assert "x0 falls from 5 to 1; eps rises from 1 to 5; v stays near 2; score rises" in shown[0]["alt"]


def test_terms_tell_each_part_by_schedule(shown):
    one = {10: Elbo(-1.0, 0.5, torch.tensor([0.0, 2.0])), 100: Elbo(-3.0, 0.1, torch.tensor([0.0, 4.0]))}
    figures_of.terms({"cosine": one, "linear": dict(zip(one, reversed(one.values())))})
    assert "Reconstruction: cosine falls from -1 to -3; linear rises from -3 to -1." in shown[0]["alt"]
    assert "The prior term: cosine falls from 0.5 to 0.1;" in shown[0]["alt"]
    assert "The denoising sum: cosine rises from 2 to 4;" in shown[0]["alt"]


def test_variance_tells_each_kind(shown):
    figures_of.variance([5, 50], {"beta": [1.0, 0.1], "beta_tilde": [0.5, 0.5], "optimal": [0.9, 0.01]})
    assert "beta falls from 1 to 0.1; beta tilde stays near 0.5; optimal falls" in shown[0]["alt"]


@pytest.mark.parametrize("draw, words", [
    (figures_of.mean, ("the mean rises from 1 to 5", "linear in x_t falls from 5 to 1")),
    (figures_of.erratum, ("noise left rises from 1 to 5", "variance falls from 5 to 1")),
])  # fmt: skip
def test_two_curves_over_steps_are_told_apart(shown, draw, words):
    draw(RISES, FALLS)
    assert all(word in shown[0]["alt"] for word in words)


def test_conditioning_tells_both_errors(shown):
    figures_of.conditioning(torch.tensor([-1.0, 1.0]), by_target(*[(RISES, FALLS)] * 3, (FLAT, FLAT)))
    left, right = shown[0]["alt"].split("Right")
    assert "eps rises" in left and "eps falls" in right and "score stays near 2" in left


def test_information_tells_both_panels(shown):
    names = ("x0", "eps", "v")
    figures_of.information(torch.tensor([-1.0, 1.0]), dict(zip(names, (RISES, FALLS, FLAT))),
                           dict(zip(names, (FALLS, RISES, FLAT))))
    left, right = shown[0]["alt"].split("Right")
    assert "x0 rises from 1 to 5; eps falls" in left and "x0 falls from 5 to 1; eps rises" in right


def test_densities_tell_their_mass_and_their_top(shown):
    """EDM: log SNR ~ N(2.4, 2.4^2), so the mass below zero is that below one standard deviation."""
    figures_of.densities({"linear": LINEAR, "cosine": Cosine()}, 9.0)
    told = shown[0]["alt"]
    below = 50 * (1 + math.erf(-1 / math.sqrt(2)))
    assert f"EDM, log-normal has {below:.0f} per cent of its mass below zero and is highest at 2.4" in told
    first, last, even = (float(LINEAR.time_of_log_snr(level)) for level in (9.0, -9.0, 0.0))
    assert f"linear has {100 * (last - even) / (last - first):.0f} per cent" in told


def test_densities_end_where_the_schedule_ends(shown, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "show", lambda fig, **text: drawn.append(fig))
    figures_of.densities({"quadratic": Quadratic()}, 9.0)
    x, y = (torch.as_tensor(part) for part in drawn[0].axes[0].lines[0].get_data())
    assert float(torch.trapezoid(y, x)) == pytest.approx(1, abs=0.01) and not bool(y[x < -7.2].any())
    assert bool((y[x > -7.1] > 0).all())


def test_training_tells_the_ends_in_units_of_v(shown):
    log_snr = torch.tensor([4.0, 0.0], dtype=torch.float64)
    curves = {name: torch.tensor([[1.0, 3.0], [1.0, 3.0]], dtype=torch.float64) for name in (*TARGETS, "mean")}
    curves["v"] = 2 * curves["v"]
    figures_of.training(log_snr, {"plain": curves})
    clean = 1 + math.exp(4)
    assert f"With plain losses: x0 6 and {clean:.2g}" in shown[0]["alt"]
    assert f"v 12 and {2 * clean:.2g}" in shown[0]["alt"]


def test_trained_bounds_tell_means_above_the_best(shown):
    plain = torch.tensor([[2.0, 4.0], [1.5, 2.5], [3.0, 3.0], [5.0, 7.0]], dtype=torch.float64)
    figures_of.trained_bounds({"plain": plain, "matched": plain - 0.5}, 1.0)
    assert "plain then matched: x0 2, 1.5; eps 1, 0.5; v 2, 1.5; score 5, 4.5." in shown[0]["alt"]


def test_gradients_tell_each_target_and_what_is_lost(shown):
    rises, falls = torch.tensor([2.0, 8.0]), torch.tensor([8.0, 2.0])
    edges = torch.tensor([-1.0, 0.0, 1.0])
    figures_of.gradients(edges, by_target(rises, falls, rises, rises))
    assert "x0 rises from 2 to 8; eps falls from 8 to 2" in shown[0]["alt"] and "every bin" in shown[0]["alt"]
    lost = torch.tensor([2.0, 8.0, math.inf])
    figures_of.gradients(torch.arange(4.0), by_target(*[lost] * 3, torch.tensor([2.0, 4.0, 8.0])))
    assert "x0 rises from 2 to 8" in shown[1]["alt"] and "left out: x0 in 1, eps in 1, v in 1." in shown[1]["alt"]


def test_rates_tell_medians_at_both_ends(shown):
    found = by_target(*(k * torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]]) for k in (1, 2, 3, 4)))
    figures_of.rates(([1e-3, 1e-2], found), ([1e-3, 1e-2], {name: 10 * values for name, values in found.items()}))
    assert "Mixture: x0 2, 2 and 4; eps 4, 4 and 8" in shown[0]["alt"]
    assert "Digits: x0 20, 20 and 40" in shown[0]["alt"]


def test_digits_tell_their_distances(shown):
    pictures = torch.zeros(10, 64)
    figures_of.digits(pictures, by_target(*[pictures] * 4), by_target(*(torch.tensor([k, k + 2.0]) for k in range(4))))
    assert "x0 1; eps 2; v 3; score 4." in shown[0]["alt"]


def test_weightings_tell_the_shifts(shown):
    log_snr, ratios = torch.tensor([1.0, -1.0]), {"P2": torch.rand(3, 2) + 0.5}
    by = {"P2": Interval(-0.3, -0.4, -0.2)}
    figures_of.weightings({"mixture: excess error": (log_snr, ratios), "digits: held-out error": (log_snr, ratios)},
                          {"mixture": by, "digits": {"P2": Interval(0.7, 0.6, 0.8)}})
    assert "mixture P2 -0.3; digits P2 0.7." in shown[0]["alt"]


def test_increments_tell_how_each_loss_goes_before_and_after(shown):
    bound = torch.tensor([[0.1, 0.1, 0.2], [1.0, 1.0, 1.0], [30.0, 40.0, 50.0]])
    both = {"plain": torch.ones(3, 3), "bound": bound}
    figures_of.increments([0.01, 0.18, 3.0], both, 0.18, ([0.01, 0.18, 3.0], {"plain": bound, "bound": 1 / bound}))
    told = shown[0]["alt"]
    assert "at the start that of the plain loss stays near 1," in told
    assert "at the start that of the bound loss rises from 0.1" in told
    assert "after training that of the plain loss rises from 0.1 to 40" in told and "bound loss falls from 10" in told


@pytest.mark.parametrize("time", [0.05, 0.6, 0.95])
def test_the_explorer_s_error_of_the_clean_sample_is_that_of_the_conversion(time):
    """x0 = (x - sigma eps)/alpha = alpha x - sigma v = (x + sigma^2 score)/alpha."""
    alpha, sigma = (float(level) for level in LINEAR(time))
    frames = figures_of.target_frames(LAW, LINEAR, error=0.2)
    for target, factor in (("x0", 1.0), ("eps", sigma / alpha), ("v", sigma), ("score", sigma**2 / alpha)):
        frame = frames(target, time)
        assert frame.numbers["error of the clean sample"] == pytest.approx(0.2 * factor, rel=1e-3)
        x, best = (torch.tensor(part, dtype=torch.float64) for part in frame.panels[1].curves["best"])
        wanted = LAW.posterior_mean(x[:, None], alpha, sigma)[:, 0]
        torch.testing.assert_close(best, wanted, rtol=1e-4, atol=1e-4)


def test_the_explorer_shows_its_first_setting(monkeypatch):
    given = {}
    monkeypatch.setattr(figures_of, "explorer_of", lambda *args, **text: given.update(text, args=args))
    figures_of.explorer(LAW, LINEAR, [0.1, 0.5, 0.9])
    assert given["name"] == "fig-targets-explorer" and given["start"] == {"target": "eps", "time": 0.5}
    assert given["args"][1] == {"target": TARGETS, "time": [0.1, 0.5, 0.9]} and "eps at time 0.5" in given["alt"]
