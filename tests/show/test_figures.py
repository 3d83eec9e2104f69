"""The figure style: colours that everyone can tell apart, opaque grounds, and outputs that carry their alt text."""

import io
import itertools

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffnotes.core.target import TARGETS
from diffnotes.show import figures
from diffnotes.show.figures import COLOURS, STYLE, TARGET_STYLE, band, panels, show, trend

# Machado, Oliveira and Fernandes 2009, severity 1: what a dichromat sees of linear sRGB.
DICHROMAT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colour, sight="normal"):
    """CIE 1976 L*a*b* (D65) of a colour as seen with the given sight."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(DICHROMAT[sight]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    ratio = xyz / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one, other, sight):
    return float(np.linalg.norm(lab(one, sight) - lab(other, sight)))


@pytest.fixture
def shown(monkeypatch):
    """What show() hands to the page, in order."""
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda data, metadata, raw: calls.append((data, metadata)))
    return calls


def draw():
    fig, (axis, *_) = panels()
    axis.plot([0, 1], [0, 1], **TARGET_STYLE["v"])
    return fig


# --- colours ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sight", DICHROMAT)
def test_target_colours_are_told_apart_by_every_reader(sight):
    """At least 15 CIE units between any two targets; 2.3 is a just noticeable difference."""
    colours = {name: style["color"] for name, style in TARGET_STYLE.items()}
    for one, other in itertools.combinations(colours, 2):
        assert distance(colours[one], colours[other], sight) > 15, (one, other)
    for name, colour in colours.items():
        assert distance(colour, "white", sight) > 35, name


@pytest.mark.parametrize("sight", DICHROMAT)
def test_the_palette_is_told_apart(sight):
    for one, other in itertools.combinations(COLOURS, 2):
        assert distance(COLOURS[one], COLOURS[other], sight) > 10, (one, other)


def test_the_simulation_can_fail():
    """Red and green of equal lightness, far apart for most readers, are near for a deutan."""
    assert distance("#C44E00", "#708A00", "normal") > 40
    assert distance("#C44E00", "#708A00", "deutan") < 15


def test_no_target_depends_on_colour_alone():
    assert set(TARGETS) <= set(TARGET_STYLE)
    for key in ("color", "linestyle", "marker", "label"):
        values = [str(style[key]) for style in TARGET_STYLE.values()]
        assert len(set(values)) == len(values), key


# --- drawing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns, rows", [(1, 1), (3, 1), (2, 2)])
def test_panels_give_a_flat_list_of_axes_in_the_style(columns, rows):
    fig, axes = panels(columns, rows, width=6.0, height=2.0)
    assert len(axes) == columns * rows
    assert fig.get_size_inches().tolist() == [6.0, 2.0 * rows]
    assert fig.get_facecolor() == axes[0].get_facecolor() == (1, 1, 1, 1)
    axes[0].plot([0, 1], label="a")
    legend = axes[0].legend()  # drawn after panels() has returned, in the style all the same
    assert not legend.get_frame_on() and legend.get_texts()[0].get_fontsize() == STYLE["legend.fontsize"]
    assert axes[0].lines[0].get_color() == COLOURS["blue"] and not axes[0].spines["top"].get_visible()
    matplotlib.pyplot.close(fig)


def test_axes_may_be_shared():
    fig, axes = panels(2, sharey=True)
    axes[0].set_ylim(0, 7)
    assert axes[1].get_ylim() == (0, 7)
    matplotlib.pyplot.close(fig)


def test_band_has_the_colour_of_its_line():
    fig, (axis,) = panels()
    band(axis, [0, 1], [1, 2], [0.5, 1.5], [1.5, 2.5], **TARGET_STYLE["eps"])
    (line,), (area,) = axis.lines, axis.collections
    assert line.get_color() == COLOURS["orange"] and line.get_label() == TARGET_STYLE["eps"]["label"]
    assert matplotlib.colors.to_hex(area.get_facecolor()[0]).upper() == COLOURS["orange"]
    assert area.get_alpha() < 0.5
    corners = area.get_paths()[0].vertices
    assert corners[:, 1].min() == 0.5 and corners[:, 1].max() == 2.5
    matplotlib.pyplot.close(fig)


# --- the page --------------------------------------------------------------------------------------------------


def test_show_puts_one_numbered_figure_and_its_caption_on_the_page(shown):
    show(draw(), name="fig-targets-line", caption="A line,\n   broken. ", alt="A line that rises\nfrom 0 to 1.")
    (data, metadata), (echo, echo_metadata) = shown
    assert metadata["diffnotes"] == {
        "figure": {"name": "fig-targets-line", "caption": "A line, broken.", "alt": "A line that rises from 0 to 1."}
    }
    assert data["text/plain"] == "A line that rises from 0 to 1."
    assert metadata["image/png"] == {"width": 760}
    assert echo == {"text/markdown": "*A line, broken.*"} and echo_metadata == {"diffnotes": {"echo": True}}
    image = Image.open(io.BytesIO(data["image/png"]))
    assert image.format == "PNG" and image.size == (7.6 * 160, 2.9 * 160)


def test_the_ground_is_opaque_white(shown):
    show(draw(), name="fig-a", caption="c", alt="a")
    image = Image.open(io.BytesIO(shown[0][0]["image/png"])).convert("RGBA")
    pixels = np.asarray(image)
    assert (pixels[..., 3] == 255).all()
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 255).all()
    assert (pixels[..., :3] == 255).all(-1).mean() > 0.8


def test_figures_are_the_same_bytes_each_time(shown):
    """An executed page may not change because a clock did."""
    for _ in range(2):
        show(draw(), name="fig-a", caption="c", alt="a")
    assert shown[0][0]["image/png"] == shown[2][0]["image/png"]
    assert len(shown[0][0]["image/png"]) < 40_000


def test_show_closes_the_figure(shown):
    fig = draw()
    show(fig, name="fig-a", caption="c", alt="a")
    assert not matplotlib.pyplot.fignum_exists(fig.number)


@pytest.mark.parametrize("changed, message", [
    ({"alt": ""}, "alt = '' must not be empty"),
    ({"alt": " \n"}, "alt = ' .n' must not be empty"),
    ({"caption": ""}, "caption = '' must not be empty"),
    ({"name": ""}, "name = '' must not be empty"),
    ({"name": "targets-line"}, "name = 'targets-line' must start with 'fig-'"),
])  # fmt: skip
def test_a_figure_without_its_words_is_refused(shown, changed, message):
    words = {"name": "fig-a", "caption": "c", "alt": "a"} | changed
    fig = draw()
    with pytest.raises(ValueError, match=message):
        show(fig, **words)
    assert shown == []  # nothing half-written
    matplotlib.pyplot.close(fig)


# --- words for the text alternative ----------------------------------------------------------------------------


@pytest.mark.parametrize("values, words", [
    ([1, 2, 4], "rises from 1 to 4"),
    ([4.0, 2, 1], "falls from 4 to 1"),
    ([0, 3, 1], "rises from 0 to a peak of 3 and falls to 1"),
    ([2, -1, 1], "falls from 2 to -1 and rises to 1"),
    ([1, 1.01, 0.99], "stays near 1"),
    ([0.0, 0.0], "stays near 0"),
    ([5.0], "stays near 5"),
    (range(0, 30, 10), "rises from 0 to 20"),
    (np.array([1e-4, 1e3]), "rises from 0.0001 to 1e+03"),
])  # fmt: skip
def test_trend_in_words(values, words):
    assert trend(values) == words


@given(st.lists(st.floats(), min_size=0, max_size=8))
def test_trend_never_raises_and_tells_what_is_not_finite(values):
    words = trend(values)
    assert words and words == words.strip()
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        assert words == "has no finite values"
    elif len(finite) < len(values):
        assert words.endswith("where finite")


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_trend_says_the_truth_about_the_ends(values):
    words = trend(values)
    if words.startswith("rises from") and "peak" not in words:
        assert values[-1] > values[0]
    if words.startswith("falls from") and "rises" not in words:
        assert values[-1] < values[0]


def test_no_style_setting_is_unknown_to_matplotlib():
    assert set(STYLE) <= set(matplotlib.rcParams)
    assert set(figures.__all__) == {"COLOURS", "TARGET_STYLE", "band", "bare", "images", "mean_band", "panels", "show",
                                    "trend"}


def test_a_bare_axis_has_equal_units_and_nothing_around_it():
    _, (axis,) = figures.panels()
    figures.bare(axis, title="map", xlim=(-1, 2))
    assert axis.get_aspect() == 1 and axis.get_xlim() == (-1, 2) and axis.get_title() == "map"
    assert not len(axis.get_xticks()) and not len(axis.get_yticks())
    assert not any(spine.get_visible() for spine in axis.spines.values())
