"""Figures of the chapter on recursive training, drawn from made-up courses: their words must be those of the data."""

import math

import pytest
import torch

from diffnotes.chapters import recursion_figures as figures_of
from diffnotes.chapters.recursion import Cells, Course, ImageCourse, repeated
from diffnotes.core.law import GaussianMixture
from diffnotes.show import figures

DOUBLE = torch.float64


@pytest.fixture
def shown(monkeypatch):
    """What the figures hand to the page: name -> (figure, caption, alt)."""
    found = {}

    def show(fig, *, name, caption, alt):
        fig.canvas.draw()
        assert name.startswith("fig-recursion-") and len(caption) > 40 and len(alt) > 40 and alt != caption
        found[name] = (fig, caption, alt)
        figures.plt.close(fig)

    monkeypatch.setattr(figures, "show", show)
    return found


def course(fractions, values, repetitions=2, **other):
    """A course whose divergences at the k-th fraction are ``values[k]``, a little apart between repetitions."""
    alpha = repeated(fractions, repetitions)
    spread = 1 + 0.01 * torch.arange(repetitions, dtype=DOUBLE)
    drift = (torch.tensor(values, dtype=DOUBLE)[..., None] * spread).movedim(1, 0).flatten(1)
    rows = {name: drift for name in ("divergence", "kl", "own", "own_kl", "step", "cross", "energy", "path_kl",
                                     "observability")}
    laws = torch.full((*drift.shape, 16), 1 / 16, dtype=DOUBLE)
    return Course(alpha=alpha, laws=laws, **(rows | other))


def curve(fig, axis, label):
    return next(line for line in fig.axes[axis].lines if line.get_label() == label).get_ydata()


@pytest.mark.parametrize("factors, words", [((1.0, 3.0), "and leave it for large ones"), ((3.0, 1.0), "no closer")])
def test_observability_says_whether_small_errors_lie_on_the_line(shown, factors, words):
    eta = torch.tensor([[0.9, 0.8, 0.2, 0.1]] * 2, dtype=DOUBLE)
    energies = [1e-3, 1e-1]
    own = eta * torch.tensor(energies)[:, None] * torch.tensor(factors)[:, None]
    made = course([1.0], [[1.0, 1.0]], 4, observability=eta, own=own)
    figures_of.observability({"constant": eta[0, :2], "white in t": eta[0, 2:]}, made, energies)
    fig, _, alt = shown["fig-recursion-observability"]
    assert "constant 0.85, white in t 0.15" in alt and words in alt
    ratios = [points.get_offsets()[:, 1] / points.get_offsets()[:, 0] for points in fig.axes[1].collections]
    assert [float(ratio.mean()) for ratio in ratios] == pytest.approx(factors)


def test_sums_says_how_both_kinds_of_error_go(shown):
    same = course([0.0, 0.1, 0.5], [[0.1, 0.4], [0.1, 0.3], [0.1, 0.05]])
    fresh = course([0.1, 0.5], [[0.2, 0.2], [0.2, 0.6]])
    figures_of.sums(same, fresh, [0.1, 0.5])
    fig, _, alt = shown["fig-recursion-sums"]
    assert "With alpha 0.1 the drift by one error rises from 0.1 to 0.3, by new errors it stays near 0.2." in alt
    assert "With alpha 0.5 the drift by one error falls from 0.1 to 0.05, by new errors it rises from 0.2 to 0.6" in alt
    assert curve(fig, 0, "one error") == pytest.approx([0.1005, 0.3015])
    # J_0 (1 - alpha)^2 + J_1, and (sqrt(J_0) (1 - alpha) + sqrt(J_1))^2
    assert curve(fig, 0, "one error, discounted")[1] == pytest.approx(1.005 * (0.1 * 0.81 + 0.3))
    assert curve(fig, 0, "one error, coherent")[1] == pytest.approx(1.005 * (0.9 * 0.1**0.5 + 0.3**0.5) ** 2)


def test_floor_says_what_falls_and_what_rises(shown):
    divergent = course([0.1, 0.5, 0.9], [[0.1, 0.2], [0.4, 0.1], [0.1, 0.1]])
    still = course([0.1, 1.0], [[0.1, 0.6], [0.1, 0.2]])
    figures_of.floor(divergent, still, torch.tensor([1e-3, 3e-3, 4e-3, 8e-3]))
    fig, _, alt = shown["fig-recursion-floor"]
    assert "at alpha one half the drift falls from 0.4 to 0.1. Right: the drift falls from 0.6 to 0.2, the lower" in alt
    assert "bound rises from 0.002 to 0.006" in alt
    assert curve(fig, 1, "lower bound of the source") == pytest.approx([2e-3, 6e-3])


def test_models_says_how_each_goes_by_fraction(shown):
    values = [[0.1, 0.5], [0.1, 0.3], [0.1, 0.2], [0.2, 0.1], [0.1, 0.1]]
    fractions = [0.0, 0.1, 0.5, 0.9, 1.0]
    figures_of.models({"network": course(fractions, values), "mixture by EM": course(fractions, values[::-1])})
    fig, _, alt = shown["fig-recursion-models"]
    assert ("network: with no fresh data it rises from 0.1 to 0.5, with a tenth it rises from 0.1 to 0.3, with nine "
            "tenths it falls from 0.2 to 0.1.") in alt
    assert "mixture by EM: with no fresh data it stays near 0.1, with a tenth it falls from 0.2 to 0.1" in alt
    assert [axis.get_title() for axis in fig.axes] == ["network", "mixture by EM"]
    assert len(fig.axes[1].get_legend().get_texts()) == 5
    styles = {(line.get_color(), str(line.get_linestyle())) for line in fig.axes[0].lines}
    assert len(styles) == 5  # told apart by colour and by dashes
    assert len({style for _, style in styles}) >= 4


def test_images_says_how_distances_go(shown):
    generated = torch.tensor([[[10.0, 12.0], [10.0, 10.0]], [[40.0, 48.0], [10.0, 10.0]]], dtype=DOUBLE)
    figures_of.images({"digits": ImageCourse(generated, torch.tensor([3.0, 5.0], dtype=DOUBLE))}, [0.0, 1.0])
    fig, _, alt = shown["fig-recursion-images"]
    assert "digits: alpha 0 rises from 11 to 44, alpha 1 stays near 10; training images 4." in alt
    assert fig.axes[0].lines[-1].get_ydata()[0] == 4.0


def test_stopped_says_where_chi2_ends(shown):
    variances = torch.linspace(1.0, 3.0, 5, dtype=DOUBLE)
    of_chi2 = torch.tensor([0.0, 0.5, math.inf, math.inf, math.inf], dtype=DOUBLE)
    figures_of.stopped({0.1: [0.1, 0.2, 0.4], 0.9: [0.1, 0.1, 0.1]}, variances, of_chi2, variances - 1)
    fig, _, alt = shown["fig-recursion-stopped"]
    assert "with alpha 0.1 chi-square rises from 0.1 to 0.4, with alpha 0.9 chi-square stays near 0.1" in alt
    assert "chi-square rises from 0 to 0.5 before it becomes infinite, the KL divergence rises from 0 to 2" in alt
    assert list(fig.axes[1].lines[0].get_xdata()) == [1.0, 1.5]


def test_the_explorer_describes_its_first_frame(shown, monkeypatch):
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: displayed.append(data["text/html"]))
    cells, law = Cells(cells=81, steps=6, first=0.2), GaussianMixture(torch.tensor([-1.0, 1.0], dtype=DOUBLE), 0.5)
    figures_of.explorer(cells, law, [0.1, 1.0], [1, 3], 0)
    _, caption, alt = shown["fig-recursion-explorer"]
    words = figures_of.recursion_frames(cells, law, most=3, seed=0)(0.1, "same error", 3).words
    assert words in alt and "drift over the generations" in caption
    assert len(displayed) == 1 and all(error in displayed[0] for error in figures_of.ERRORS)
