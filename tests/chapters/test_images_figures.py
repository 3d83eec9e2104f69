"""Figures of the chapter on images: what they put on the page, and that the text alternatives say what is plotted."""

import itertools

import pytest
import torch

from diffnotes.chapters import images_figures as figures_of
from diffnotes.chapters.images import Closest, Exhibit, Measures
from diffnotes.chapters.recursion import ImageCourse

SHARES, DOUBLE = [0.001, 0.01, 0.1], torch.float64
CASES = [("ddpm", 10), ("ddpm", 100)]


def exhibit(level):
    """Made numbers that rise with the radius, of two splits."""
    one, curve = torch.tensor([level, 1.1 * level], dtype=DOUBLE), torch.tensor([1.0, 2.0, 4.0], dtype=DOUBLE)
    curves = level * curve * torch.tensor([[1.0], [1.2]], dtype=DOUBLE)
    found = Measures(one, one, curves, 2 * curves, curves, curves, curves, one)
    return Exhibit(found, torch.zeros(12, 16), pair(level))


def pair(far):
    return Closest(torch.zeros(2, 16), torch.zeros(2, 16), torch.tensor([far, 2.5, 3.5], dtype=DOUBLE))


@pytest.fixture
def shown(monkeypatch):
    """The keywords of the figures that were shown."""
    found = []
    monkeypatch.setattr(figures_of.figures, "show", lambda fig, **told: found.append((fig, told)))
    yield found
    for fig, _ in found:
        figures_of.figures.plt.close(fig)


def test_rows_of_images(shown):
    figures_of.grids({"data": torch.zeros(12, 16), "ODE": torch.ones(12, 16)}, (1, 4, 4), "samplers")
    fig, told = shown[0]
    assert told["name"] == "fig-images-samplers" and "from the top: data, ODE" in told["alt"]
    assert told["alt"].startswith("Rows of 4 by 4 grey-scale images")
    assert len(fig.axes) == 24 and fig.axes[0].images and fig.axes[12].get_ylabel() == "ODE"


def test_coloured_images_have_their_channels_last_and_their_range(shown):
    x = torch.randn(12, 48, generator=torch.Generator().manual_seed(0))  # beyond [-1, 1], too
    figures_of.grids({"data": x}, (3, 4, 4), "data")
    figures_of.closest({"ODE": Closest(x[:2], x[2:4], torch.tensor([1.0, 2.0, 3.0]))}, (3, 4, 4))
    assert shown[0][1]["alt"] == "Rows of 4 by 4 colour images, from the top: data."
    for fig, _ in shown:
        for axis, image in zip(fig.axes, x):
            drawn = axis.images[0].get_array()
            assert drawn.shape == (4, 4, 3)
            for i, j, c in itertools.product(range(4), range(4), range(3)):
                wanted = min(max((float(image[16 * c + 4 * i + j]) + 1) / 2, 0), 1)
                assert float(drawn[i, j, c]) == pytest.approx(wanted, abs=1e-6)


def test_the_explorer_has_each_kind_in_each_number_of_steps(monkeypatch):
    """Twelve images of that kind, the means of its measures, and ratios beside those of held-out images."""
    given = {}
    monkeypatch.setattr(figures_of, "explorer_of", lambda *of, **told: given.update(told, of=of))
    ode = {("ddim", n): exhibit(n / 10) for n in (10, 100)}
    sde = {case: exhibit(2 * case[1] / 10) for case in CASES}
    kinds = {"ODE": ode, "SDE": sde}
    held = exhibit(0.5)
    held = held._replace(measures=held.measures._replace(distance=torch.tensor([0.5, 1.0], dtype=DOUBLE)))
    figures_of.explorer(kinds, held, SHARES, (1, 4, 4))
    compute, controls = given["of"]
    assert controls == {"images": ["ODE", "SDE"], "steps": [10, 100]}
    assert given["start"] == {"images": "SDE", "steps": 10}
    frame = compute("SDE", 100)
    sheet, ratios = frame.panels
    assert sheet.images.shape == (12, 4, 4) and (sheet.images == 128).all()
    radii, pixels = ratios.curves["pixels"]
    assert radii == [-3, -2, -1] and pixels == [22, 44, 88]  # 20 in one split, 24 in the other
    assert ratios.curves["features"][1] == [44, 88, 176]
    assert ratios.curves["pixels, held out"][1] == [0.55, 1.1, 2.2]
    assert list(frame.numbers.values()) == [31, 21, 21]  # 20 over 0.5 in one split, 22 over 1 in the other
    assert "SDE in 10 steps" in given["alt"] and compute("SDE", 10).words in given["alt"]


def test_grey_images_are_drawn_as_they_are(shown):
    x = torch.linspace(-1, 1, 12 * 16).reshape(12, 16)
    figures_of.grids({"data": x}, (1, 4, 4), "data")
    image = shown[0][0].axes[5].images[0]
    assert image.get_array().tolist() == x[5].reshape(4, 4).tolist() and image.get_clim() == (-1, 1)


def test_the_closest_pairs_tell_their_distances(shown):
    figures_of.closest({"ODE": pair(0.25), "held out": pair(1.5)}, (1, 4, 4))
    fig, told = shown[0]
    assert "ODE 0.25 apart, 2.5 and 3.5 from" in told["alt"] and "held out 1.5 apart" in told["alt"]
    assert [axis.get_xlabel() for axis in fig.axes[:4]] == ["", "0.2", "2.5", "3.5"]


def test_curves_of_close_pairs(shown):
    figures_of.crowded(SHARES, {"ODE": exhibit(2.0), "held out": exhibit(1.0)})
    alt = shown[0][1]["alt"]
    assert "pixels, ODE rises from 2.2 to 8.8" in alt and "features, held out rises from 2.2 to 8.8" in alt


def test_distance_and_spread_by_steps(shown):
    rows = {name: dict(zip(CASES, map(exhibit, ends))) for name, ends in {"plain": (3, 1), "K = 2": (1, 2)}.items()}
    figures_of.quality(rows, torch.tensor([0.5, 0.7]), "ddpm")
    alt = shown[0][1]["alt"]
    assert "distance of plain falls from 3.2 to 1.1" in alt and "spread of K = 2 rises from 1.1 to 2.1" in alt
    assert "Held-out images are at 0.6" in alt


def test_sharing_is_held_against_plain_networks(shown):
    arms = {name: dict(zip(CASES, map(exhibit, ends)))
            for name, ends in {"plain": (2, 4), "shared": (1, 2), "until 500": (6, 8)}.items()}  # fmt: skip
    figures_of.sharing({5: "shared", 100: "plain"}, {0: "plain", 100: "shared", 500: "until 500"}, arms)
    fig, told = shown[0]
    drawn = [[line.get_ydata().tolist() for line in axis.get_lines() if "DDPM" in line.get_label()]
             for axis in fig.axes]  # fmt: skip
    assert drawn == [[[0.5, 1], [0.5, 1]], [[1, 0.5, 3], [1, 0.5, 2]]]
    assert "over sub-intervals, SDE (DDPM), 10 steps rises from 0.5 to 1" in told["alt"]
    assert "SDE (DDPM), 100 steps" in told["alt"]


def test_lines(shown):
    falling = torch.tensor([[4.0, 2.0, 1.0], [4.0, 2.2, 1.0]], dtype=DOUBLE)
    figures_of.constants([1, 2, 3, 5], {"plain": falling, "shared": falling.flip(1)})
    figures_of.rates([1e-3, 1e-2, 1e-1], {"v": falling.T, "weighted score": falling.T.flip(0)})
    figures_of.levels(torch.linspace(5, -5, 3), {"P2": falling})
    course = ImageCourse(falling.T[:, None].repeat(1, 2, 1), torch.tensor([0.5, 0.7], dtype=DOUBLE))
    figures_of.course({"SDE": course, "ODE": course}, {"SDE": [0.0, 1.0], "ODE": [0.0, 0.5]})
    told = [one["alt"] for _, one in shown]
    assert "plain falls from 4 to 1; shared rises from 1 to 4" in told[0]
    assert "v falls from 4 to 1; weighted score rises from 1 to 4" in told[1]
    assert "P2 falls from 4 to 1" in told[2] and "ODE, alpha 0.5 falls from 4 to 1" in told[3]
    assert "Training images are at 0.6" in told[3]
    lines = [line for axis in shown[3][0].axes for line in axis.get_lines() if "alpha" in line.get_label()]
    looks = {(line.get_label(), line.get_color(), line.get_marker()) for line in lines}
    assert len(lines) == 4 and len(looks) == len({colour for _, colour, _ in looks}) == 3  # one for each fraction
