"""The figures of the chapter say what they show: texts follow from the data given."""

from __future__ import annotations

import pytest
import torch

from diffnotes.chapters import gradients
from diffnotes.chapters import gradients_figures as figures_of
from diffnotes.show import figures

DOUBLE = torch.float64
S = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=DOUBLE)


@pytest.fixture
def shown(monkeypatch):
    """Name, caption and alternative text of the figures shown."""
    import matplotlib.pyplot as plt

    found = []
    monkeypatch.setattr(figures, "show", lambda fig, **text: (found.append(text), plt.close(fig)))
    return found


def test_the_split_tells_the_share_of_the_gradient(shown):
    symmetric = torch.tensor([[1.0, 0.3], [0.3, -0.5]], dtype=DOUBLE)  # is a gradient
    energies = figures_of.split(symmetric, S)
    assert shown[0]["name"] == "fig-gradients-split" and "100 per cent" in shown[0]["alt"]
    assert float(energies.solenoidal) < 1e-12
    figures_of.split(gradients.ROTATION @ torch.linalg.inv(S), S)
    assert " 0 per cent" in shown[1]["alt"]


def test_clouds_tell_the_distances(shown):
    cloud = torch.randn(3, 20, 2)
    figures_of.clouds({"exact": cloud, "other": cloud}, {"exact": torch.full((3,), 0.25), "other": torch.ones(3)})
    assert "exact 0.250, other 1.000" in shown[0]["alt"]


def test_the_answer_tells_what_is_invisible_alone_and_what_happens_beside_another_error(shown):
    alone = gradients.sized_courses(S, torch.tensor([0.01, 0.1, 1.0], dtype=DOUBLE))
    turns = torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=DOUBLE)
    steady = torch.diag(torch.tensor([0.4, -0.2], dtype=DOUBLE))
    figures_of.answer(alone, turns, gradients.mixed_courses(S, {"steady": lambda t: steady}, turns))
    told = shown[0]["alt"]
    assert shown[0]["name"] == "fig-gradients-answer" and "turned score stays at rounding" in told
    assert "; score rises" in told and "steady falls from 0.97" in told


def test_bounds_tell_medians_and_what_refutes_them(shown):
    random = gradients.random_courses(S, 7, 0)
    figures_of.bounds(random)
    told = shown[0]["alt"]
    assert f"Girsanov, median {float((random.girsanov / random.kl).median()):.2g} and 0 points" in told
    below, middle = int((random.gradient_true < random.kl).sum()), float((random.gradient_true / random.kl).median())
    assert below > 0 and f"mean true, median {middle:.2g} and {below} points" in told


def test_euler_tells_how_each_curve_goes(shown):
    falls, rises = torch.tensor([1.0, 0.1]), torch.tensor([0.1, 1.0])
    figures_of.euler([50, 100], {"SDE": {"no error": falls, "turned score": rises}})
    assert "SDE: with no error the divergence falls" in shown[0]["alt"] and "score it rises" in shown[0]["alt"]


def test_critics_tell_rank_correlations_and_shares(shown):
    x = torch.arange(6.0)
    found = {"squared error": x, "distance": -x, "network critic": x, "gradient part": x + 1}
    figures_of.critics({"as trained": found, "turned": found}, [30, 100])
    told = shown[0]["alt"]
    assert "as trained, squared error with distance: -1.00" in told
    assert "turned, gradient part with network critic: 1.00" in told
    assert "share of the gradient part rises from 0.39 to 0.79 from 30 to 100 points" in told


def test_the_explorer_shows_its_first_setting(monkeypatch):
    given = {}
    monkeypatch.setattr(figures_of, "explorer", lambda *controls, **text: given.update(text, controls=controls))
    figures_of.gradient_explorer(S, [0.0, 2.0], [20, 40])
    frames, controls, first, more = given["controls"]
    assert first["steps"] == 40 and controls["steps"] == [20, 40] and len(more["size"]) == 17
    assert f"{frames(**first).numbers['KL']:.2g} nats" in given["alt"] and given["name"] == "fig-gradients-explorer"
