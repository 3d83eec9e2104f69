"""Explorers: a frame is the same live, in the data of a page and in the browser; what a page cannot hold is refused."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from PIL import Image
from presses import executed, stamped
from presses import project as pressed
from sites import POWERS, ROOT, built, power

from diffnotes.chapters import gradients, gradients_figures
from diffnotes.chapters.collapse_figures import collapse_explorer, collapse_frames
from diffnotes.core.denoiser import Exact, Learned
from diffnotes.core.law import two_modes
from diffnotes.core.schedule import Linear
from diffnotes.measure import divergence
from diffnotes.measure.flow import FlowMap
from diffnotes.model import sample
from diffnotes.model.condition import Condition
from diffnotes.model.net import MLP
from diffnotes.press import page
from diffnotes.press.gates import check_page
from diffnotes.show import explore, figures
from diffnotes.show.explore import Frame, Panel, Sheet, explorer, player

SHOTS = ROOT / "_build" / "screenshots"
LINEAR = Linear()
LAW = two_modes(separation=1.0, std=0.2).to(dtype=torch.float64)
NAME = "fig-sample-moved"


def stored(made: str) -> dict[str, Any]:
    """The data in the HTML of a player."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', made, re.S)[1])


def told(**options: Any) -> dict[str, Any]:
    return {"name": "fig-a", "caption": "Powers.", "alt": "A curve that rises from left to right."} | options


# --- frames ------------------------------------------------------------------------------------------------------


def test_a_frame_keeps_what_can_be_seen() -> None:
    frame = Frame([Panel({"one": (torch.tensor([0.0, 1 / 3]), [0, 1e-9 / 7])}, "x", "y")], {"n": 2 / 3, "k": 12345})
    assert frame.panels[0].curves == {"one": ([0.0, 0.33333], [0.0, 1.4286e-10])}
    assert frame.numbers == {"n": 0.6667, "k": 12340.0}


@pytest.mark.parametrize(
    "made",
    [
        lambda: Frame([]),
        lambda: Frame([Panel({}, "x", "y")]),
        lambda: Panel({"a": ([0, 1], [0])}, "x", "y"),
        lambda: Panel({"a": ([], [])}, "x", "y"),
        lambda: Panel({"a": ([0, 1], [0, float("nan")])}, "x", "y"),
        lambda: Panel({"a": ([[0, 1]], [[0, 1]])}, "x", "y"),
        lambda: Frame([Panel({"a": ([0], [0])}, "x", "y")], {"n": float("inf")}),
        lambda: Sheet(torch.zeros(0, 2, 2), "images"),
        lambda: Sheet(torch.zeros(2, 2), "images"),
        lambda: Sheet(torch.zeros(2, 2, 2, 4), "images"),
        lambda: Sheet(torch.full((1, 2, 2), 1.01), "images"),
        lambda: Sheet(torch.full((1, 2, 2, 3), -0.01), "images"),
        lambda: Sheet(torch.full((1, 2, 2), torch.nan), "images"),
    ],
)
def test_a_frame_that_cannot_be_drawn_is_refused(made: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        made()


@pytest.mark.parametrize("value, text", [(1.0, "1"), (0.3333, "0.3333"), (0.00012, "0.00012"), (12340.0, "12340")])
def test_numbers_are_read_without_exponents(value: float, text: str) -> None:
    assert explore._text(value) == text


def test_drawing_uses_a_style_for_each_curve() -> None:
    fig = explore.draw(power(2, "rising"))
    lines = [line for axis in fig.axes for line in axis.lines]
    assert [line.get_label() for line in lines] == ["line", "power"] * 2
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 2
    css = (ROOT / "book/_static/player.css").read_text()
    assert all(f".player-curve-{k} " in css for k in range(len(explore.STYLES)))
    figures.plt.close(fig)


def in_rows(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png.removeprefix("data:image/png;base64,")))))


def test_small_images_stand_in_rows_with_a_white_line_between() -> None:
    """Black is -1 and white is 1 of grey ones; colours are from 0 to 1."""
    grey = torch.tensor([-1.0, 0.0, 1.0])[:, None, None].expand(3, 2, 3)
    found = in_rows(Sheet(grey, "images", columns=2).png)
    assert found.shape == (5, 7)
    assert (found[:2, :3] == 0).all() and (found[:2, 4:] == 128).all() and (found[3:, :3] == 255).all()
    assert (found[2] == 255).all() and (found[:, 3] == 255).all() and (found[3:, 4:] == 255).all()
    red = torch.tensor([1.0, 0.2, 0.0]).expand(1, 2, 3, 3)
    assert in_rows(Sheet(red, "images", columns=1).png).reshape(-1, 3).tolist() == [[255, 51, 0]] * 6


def sheets(level: str) -> Frame:
    """Two grey images as light as the level says, beside a line of that height."""
    height = {"dark": -1.0, "light": 0.5}[level]
    curve = {"height": ([0, 1], [height, height])}
    return Frame([Sheet(torch.full((2, 4, 4), height), "images"), Panel(curve, "x", "y")], {"height": height})


def test_small_images_are_drawn_and_kept_for_each_setting() -> None:
    fig = explore.draw(sheets("light"))
    drawn = fig.axes[0].images[0]
    assert drawn.get_array().shape == (4, 9) and drawn.get_clim() == (0, 255)
    assert drawn.get_array()[0, 0] == 191 and fig.axes[0].get_xlabel() == "images"
    figures.plt.close(fig)
    data = stored(player(sheets, {"level": ["dark", "light"]}, name=NAME))
    assert data["panels"][0] == {"x": "images", "sheet": [9, 4]} and data["names"] == ["height"]
    assert [in_rows(frame["curves"][0])[0, 0] for frame in data["frames"]] == [0, 191]
    assert data["frames"][0]["alt"][0] == "2 images"

    def unlike(k: int) -> Frame:
        return Frame([Sheet(torch.zeros(k, 2, 2), "images")])

    with pytest.raises(ValueError, match="allowed: the same for all"):
        player(unlike, {"k": [1, 2]}, name=NAME)


# --- the player on a page ------------------------------------------------------------------------------------------


def test_the_page_holds_what_compute_gives() -> None:
    data = stored(player(power, POWERS, name=NAME, start={"exponent": 2}))
    assert [(one["name"], one["values"], one["start"]) for one in data["controls"]] == [
        ("sign", ["rising", "falling"], 0),
        ("exponent", [1, 2, 3], 1),
    ]
    settings = [(sign, exponent) for sign in POWERS["sign"] for exponent in POWERS["exponent"]]
    assert len(data["frames"]) == len(settings)
    for (sign, exponent), frame in zip(settings, data["frames"]):
        true = power(exponent, sign)
        assert dict(zip(data["numbers"], frame["numbers"])) == true.numbers
        for panel, description, curves in zip(true.panels, data["panels"], frame["curves"]):
            read = {name: tuple(data["arrays"][i] for i in pair) for name, pair in zip(description["curves"], curves)}
            assert read == panel.curves
    assert len(data["arrays"]) == 6  # x = the line = power 1, and its negative, two powers rising and falling
    assert data["panels"][0]["ylim"] == data["panels"][0]["xlim"] == [-1.08, 1.08]


def test_the_table_holds_all_numbers() -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", player(power, POWERS, name=NAME))
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert cells[0] == ["sign", "exponent", "end", "a third"]
    ends = {"rising": "1", "falling": "-1"}
    assert cells[1:] == [[sign, str(k), end, "0.3333"] for sign, end in ends.items() for k in (1, 2, 3)]


class Balance(HTMLParser):
    """Elements as they open and close; anything left open or closed twice is a fault."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.loaded += [str(value) for key, value in attrs if key in ("src", "href", "data", "style")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_html_is_closed_loads_nothing_and_nothing_breaks_out_of_it() -> None:
    def named(word: str) -> Frame:
        return Frame([Panel({"</script><b>": ([0, 1], [0, 1])}, "x & y", "<i>")], {"a<b": 1.0})

    made = player(named, {"word": ["</td>", "&"]}, name="fig-a")
    assert Balance(made).loaded == []
    assert stored(made)["names"] == ["</script><b>"] and made.count("<b>") == 0 and made.count("</script>") == 1


@pytest.mark.parametrize(
    "options, complaint",
    [
        (dict(controls={"exponent": range(401)}), "401 frames; allowed: at most 400"),
        (dict(controls={}), "allowed"),
        (dict(controls={"exponent": []}), "allowed"),
        (dict(controls={"exponent": [1, 1]}), "different values"),
        (dict(controls={"no name": [1]}), "no name"),
        (dict(start={"exponent": 7}), "start"),
        (dict(start={"else": 1}), "start"),
        (dict(name="fig-A_b"), "lower case"),
    ],
)
def test_what_a_page_cannot_hold_is_refused_before_anything_is_computed(options: dict, complaint: str) -> None:
    def never(**_: Any) -> Frame:
        raise AssertionError("computed")

    with pytest.raises(ValueError, match=complaint):
        player(never, **({"controls": {"exponent": [1, 2]}, "name": "fig-a"} | options))


def test_heavy_data_and_unlike_frames_are_refused() -> None:
    noise = np.random.default_rng(0)

    def heavy(k: int) -> Frame:
        return Frame([Panel({"a": (range(30_000), noise.random(30_000))}, "x", "y")])

    with pytest.raises(ValueError, match="characters; allowed: at most 400000"):
        player(heavy, {"k": [1, 2]}, name="fig-a")
    with pytest.raises(ValueError, match=r"other panels, curves or numbers for .*2"):
        player(lambda k: Frame([Panel({f"a{k}": ([0], [0])}, "x", "y")]), {"k": [1, 2]}, name="fig-a")


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict]]:
    calls: list[tuple[Any, dict]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **more: calls.append((data, more.get("metadata", {}))))
    return calls


def test_a_page_shows_a_figure_and_its_player(displayed: list) -> None:
    explorer(power, POWERS, **told(live=False))
    (picture, note), (_, echo), (made, tag) = displayed
    assert "image/png" in picture and note["diffnotes"]["figure"]["name"] == "fig-a" and echo["diffnotes"]["echo"]
    assert made["text/html"] == player(power, POWERS, name="fig-a") and tag == {"diffnotes": {"player": "fig-a"}}


def test_a_run_of_the_book_has_no_reader(displayed: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(explore.sys.modules, "ipykernel", None)
    for silenced, watched in (("1", False), ("0", True)):
        monkeypatch.setenv("TQDM_DISABLE", silenced)
        assert explore._watched() is watched
    monkeypatch.delitem(explore.sys.modules, "ipykernel")
    assert not explore._watched()


def test_the_gates_pass_a_player_and_stop_one_that_loads_a_script(tmp_path: Any, displayed: list) -> None:
    from nbformat.v4 import new_output

    book = pressed(tmp_path / "book", "one", "two")
    good, source = executed(book), page.read(book.source("one"))
    explorer(power, POWERS, **told(live=False))
    data, metadata = displayed[-1]

    def problems(text: str) -> list:
        output = new_output("display_data", data=data | {"text/html": text}, metadata=metadata)
        cell = next(cell for cell in good.cells if cell.id == "figure")
        cell.outputs = [*(one for one in cell.outputs if "text/html" not in one.data), output]
        return check_page(stamped(page.normalise(good), book), source, "one")

    assert problems(data["text/html"]) == []
    bad = data["text/html"].replace("<noscript>", '<script src="https://example.org/player.js"></script><noscript>')
    assert any("elsewhere" in str(problem) for problem in problems(bad))


# --- live ---------------------------------------------------------------------------------------------------------


def test_widgets_show_the_same_numbers() -> None:
    seen: list[tuple] = []

    def compute(**settings: Any) -> Frame:
        seen.append((settings, power(**settings)))
        return seen[-1][1]

    box = explore._live(compute, POWERS, {"sign": "rising", "exponent": 2})
    sign, exponent, image, numbers, _ = box.children
    before, data = bytes(image.value), stored(player(power, POWERS, name=NAME))
    assert before.startswith(b"\x89PNG") and "<b>0.3333</b>" in numbers.value and seen[0][0]["exponent"] == 2
    exponent.value, sign.value = 3, "falling"
    settings, frame = seen[-1]
    assert settings == {"sign": "falling", "exponent": 3}
    assert list(frame.numbers.values()) == data["frames"][5]["numbers"]
    assert bytes(image.value) != before and "end <b>-1</b>" in numbers.value and image.alt == frame.words


def test_a_kernel_offers_more(displayed: list) -> None:
    def shifted(by: int = 0, **settings: Any) -> Frame:
        frame = power(**settings)
        return Frame(frame.panels, {"by": by})

    explorer(shifted, POWERS, **told(live=True, more={"exponent": [5, 0], "by": [2, 1]}))
    (box, _), *rest = displayed
    _, exponent, by, _, numbers, _ = box.children
    assert not rest and [value for _, value in exponent.options] == [0, 1, 2, 3, 5]
    assert [value for _, value in by.options] == [1, 2] and (exponent.value, by.value) == (1, 2)
    assert numbers.value == "by <b>2</b>"


# --- the collapse explorer ----------------------------------------------------------------------------------------


def test_collapse_frames_are_the_measures_of_the_flow_map() -> None:
    ensemble = Learned(MLP(1, 16, 2, condition=Condition(frequencies=0), seed=(4, 5)), LINEAR, "eps")
    trained: list[tuple] = []

    def train(*key: Any) -> Learned:
        trained.append(key)
        return ensemble

    compute = collapse_frames({("constant", 16, 0): ensemble}, LAW, train=train, points=200)
    frame = compute(learning_rate="constant", width=16, training_steps=0, sampler_steps=15, radius=0.1)
    flow = FlowMap.of(ensemble, sample.grid(LINEAR, 15, kind="quadratic"), points=200)
    measures = flow.ratio(LAW, 0.1)[0], flow.total_variation(LAW)[0], flow.flat_share(LAW)[0]
    np.testing.assert_allclose(list(frame.numbers.values()), [float(value) for value in measures], rtol=1e-3)
    density = frame.panels[1].curves["exact"]
    assert abs(np.trapezoid(density[1], density[0]) - 1) < 2e-3
    for _ in range(2):
        compute("cosine", 16, 0, sampler="SDE", sampler_steps=10)
    assert trained == [("cosine", 16, 0)]


def test_an_exact_denoiser_gives_the_exact_curves() -> None:
    exact = Exact(LAW, LINEAR)
    compute = collapse_frames({("exact", 0, 0): exact}, LAW)
    for panel, tolerance in zip(compute("exact", 0, 0, sampler_steps=120).panels, (2e-2, 5e-2)):
        (_, true), (_, made) = panel.curves["exact"], panel.curves["generated"]
        assert max(abs(np.subtract(true, made))) < tolerance


def test_unknown_settings_are_refused() -> None:
    compute = collapse_frames({("exact", 0, 0): Exact(LAW, LINEAR)}, LAW)
    with pytest.raises(ValueError, match="sampler"):
        compute("exact", 0, 0, sampler="DDPM")
    with pytest.raises(ValueError, match="nothing trains"):
        compute("exact", 0, 1)


def test_the_collapse_explorer_says_what_it_shows_first(displayed: list) -> None:
    net = Learned(MLP(1, 8, 1, condition=Condition(frequencies=0), seed=0), LINEAR, "eps")
    controls = {"learning_rate": ["constant"], "width": [8], "training_steps": [0], "radius": [0.05, 0.1]}
    controls["sampler_steps"] = [5, 10]
    collapse_explorer({("constant", 8, 0): net}, LAW, controls, name="fig-a", start={"radius": 0.1}, live=False)
    note = displayed[0][1]["diffnotes"]["figure"]
    assert "radius 0.1" in note["caption"] and "ANSD ratio" in note["alt"] and note["alt"].endswith(".")
    assert len(stored(displayed[-1][0]["text/html"])["frames"]) == 4


# --- in the browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        running.open((built() / "book/chapters/sample.html").as_uri())
        yield running


def press(browser: Browser, selector: str, *keys: str) -> None:
    browser.run(f"document.querySelector('{selector}').focus()")
    for key in keys:
        for kind in ("keyDown", "keyUp"):
            number = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "End": 35, "Home": 36}[key]
            browser.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number)


def seen(browser: Browser) -> tuple[dict[str, float], list[str]]:
    """The numbers that the player shows, and the drawn curves."""
    numbers, paths = browser.run(
        """[[...document.querySelectorAll('.player-numbers data')].map(d => [d.previousSibling.data, d.textContent]),
        [...document.querySelectorAll('.player-panels .player-curve')].map(p => p.getAttribute('d'))]"""
    )
    return {name.strip("\u00a0; "): float(value) for name, value in numbers}, paths


def test_the_player_takes_the_place_of_the_picture(browser: Browser) -> None:
    figure = f"document.getElementById('{NAME}')"
    assert browser.run(f"{figure}.querySelector('img').checkVisibility()") is False
    assert browser.run(f"{figure}.querySelector('.caption-number').textContent").startswith("Fig. ")
    assert seen(browser)[0] == power(2, "rising").numbers and not browser.errors


def test_a_slider_moved_by_keys_changes_curve_and_numbers(browser: Browser) -> None:
    slider, choice = f"#{NAME}-exponent", f"#{NAME}-sign"
    _, before = seen(browser)
    press(browser, slider, "ArrowRight")
    numbers, after = seen(browser)
    assert browser.run(f"document.querySelector('{slider}').getAttribute('aria-valuetext')") == "3"
    assert after != before and numbers == power(3, "rising").numbers
    press(browser, choice, "ArrowDown")
    assert seen(browser)[0] == power(3, "falling").numbers
    press(browser, slider, "Home")
    assert browser.run(f"document.querySelector('{slider}').value") == "0"
    # The drawn curve is the one of the data: a straight line from the upper left to the lower right.
    ends = [tuple(map(float, point.split(","))) for point in re.findall(r"[-\d.]+,[-\d.]+", seen(browser)[1][1])]
    low, high = (-1 + 1.08) / 2.16, (1 + 1.08) / 2.16
    for (x, y), (u, v) in zip((ends[0], ends[-1]), ((low, high), (high, low))):
        assert abs(x - (58 + u * 312)) < 0.01 and abs(y - (244 - v * 232)) < 0.01
    press(browser, choice, "Home")
    press(browser, slider, "ArrowRight")
    assert seen(browser)[1] == before


def test_every_input_has_a_label_and_every_picture_a_name(browser: Browser) -> None:
    found = browser.run(
        """[...document.querySelectorAll('.player-stage :is(input, select)')].map(e => e.labels[0]?.innerText)"""
    )
    assert found == ["sign", "exponent"]
    names = browser.run(
        "[...document.querySelectorAll('.player-panels svg')].map(e => e.getAttribute('role') + e.ariaLabel)"
    )
    assert len(names) == 2 and all(name.startswith("img") and "rises from" in name for name in names)
    assert browser.run("document.querySelector('.player-numbers [role=status]').textContent").startswith("end")
    ids = browser.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_small_images_change_with_the_setting(tmp_path: Any) -> None:
    made = player(sheets, {"level": ["dark", "light"]}, name="fig-a")
    script = (ROOT / "book/_static/player.js").read_text(encoding="utf8")
    still = '<figure id="fig-a"><a><img src="data:," alt="still"></a></figure>'
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{still}{made}<script>{script}</script>", encoding="utf8")
    shown = "(i => [i.src, i.alt, i.naturalWidth])(document.querySelector('.player-sheet img'))"
    with Browser() as browser:
        browser.open((tmp_path / "page.html").as_uri())
        before = browser.run(f"document.querySelector('.player-sheet img').decode().then(() => {shown})")
        assert in_rows(before[0])[0, 0] == 0 and before[1:] == ["2 images", 9]
        press(browser, "#fig-a-level", "ArrowDown")
        assert in_rows(browser.run(shown)[0])[0, 0] == 191 and seen(browser)[0] == {"height": 0.5}
        assert not browser.errors


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_curves_and_labels_stand_out_from_the_page(browser: Browser, dark: bool) -> None:
    """At least 3 : 1 for lines and 4.5 : 1 for words, in either mode."""
    browser.view(dark=dark)
    browser.open((built() / "book/chapters/sample.html").as_uri())
    found = browser.run(
        """(() => { const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
        const light = css => { canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => (v /= 255) <= 0.03928 ? v / 12.92
            : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05); };
        const style = getComputedStyle, stage = document.querySelector('.player-stage');
        const ground = light(style(document.body).backgroundColor), curves = stage.querySelectorAll('.player-curve');
        const ratio = css => { const own = light(css); return own > ground ? own / ground : ground / own; };
        const four = [0, 1, 2, 3].map(k => ratio(style(stage).getPropertyValue(`--player-${k}`)));
        return [style(curves[0]).stroke !== style(curves[1]).stroke, Math.min(...four),
                ratio(style(stage.querySelector('.player-labels')).fill)]; })()"""
    )
    assert found[0] and found[1] >= 3 and found[2] >= 4.5, found
    browser.run(f"document.getElementById('{NAME}').scrollIntoView()")
    SHOTS.mkdir(parents=True, exist_ok=True)
    browser.screenshot(SHOTS / f"player-{'dark' if dark else 'light'}.png")


def test_on_paper_the_setting_is_said_and_the_controls_are_gone(browser: Browser) -> None:
    browser.send("Emulation.setEmulatedMedia", media="print")
    shown = "e => getComputedStyle(document.querySelector(e)).display"
    assert browser.run(f"['.player-controls', '.player-setting'].map({shown})") == ["none", "inline"]
    assert browser.run("document.querySelector('.player-setting').textContent") == "sign rising, exponent 2: "
    browser.send("Emulation.setEmulatedMedia", media="")


def test_without_javascript_figure_and_numbers_remain(browser: Browser) -> None:
    """The page beside itself, without its scripts: what a browser shows that runs none."""
    original = built() / "book/chapters/sample.html"
    bare = original.with_name("bare.html")
    bare.write_text(re.sub(r"<script(?! type=\"application/json).*?</script>", "", original.read_text(), flags=re.S))
    try:
        browser.open(bare.as_uri())
        assert browser.run("document.querySelector('.player-stage')") is None
        assert browser.run(f"document.querySelector('#{NAME} img').checkVisibility()")
        assert browser.run("document.querySelectorAll('.player tbody tr').length") == 6
    finally:
        bare.unlink()


def test_the_recursion_explorer_shows_the_recursion():
    from diffnotes.chapters import recursion
    from diffnotes.chapters.recursion_figures import ERRORS, recursion_frames

    cells, law = recursion.Cells(cells=81, steps=8, first=0.2), two_modes().to(dtype=torch.float64)
    compute = recursion_frames(cells, law, most=3, seed=1)
    for error in ERRORS:
        frame = compute(0.5, error, 3)
        assert [len(panel.curves) for panel in frame.panels] == [2, 3]
        assert frame.numbers["over coherent sum"] <= 1 + 1e-3
        assert compute(1.0, error, 1).numbers["over discounted sum"] == pytest.approx(1, abs=1e-3)
    field = cells.fields(1, 1)
    course = recursion.recurse(cells.masses(law), torch.tensor([0.5]), 3, recursion.error_model(
        cells, 0.02, lambda i, q: field))
    assert compute(0.5, "same error", 3).numbers["chi-square"] == pytest.approx(float(course.divergence[-1]), rel=1e-3)
    for wrong in ((0.5, "none", 1), (0.5, "same error", 4)):
        with pytest.raises(ValueError, match="allowed"):
            compute(*wrong)


def test_the_explorer_of_invisible_errors_shows_them():

    S = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    compute = gradients_figures.gradient_frames(S, counts=(40, 80))
    turned, score = (compute(error, 0.5, "SDE", 80) for error in ("turned score", "score"))
    assert turned.numbers["its gradient part"] < 1e-20 and turned.numbers["KL"] < 0.1 * score.numbers["KL"]
    assert score.numbers["its gradient part"] == score.numbers["half the energy"]
    assert turned.numbers["half the energy"] == pytest.approx(score.numbers["half the energy"], rel=1e-3)
    made = gradients.euler_covariance(S, lambda t: 0.5 * gradients.linear_errors(S, t)[1], 80)
    assert score.numbers["KL"] == pytest.approx(float(divergence.covariance_kl(made, S)), rel=1e-3)
    none = compute("score", 0.0, "ODE", 40).panels[1].curves
    assert none["no error"] == none["generated"]
    # Half the energy is Girsanov's bound to leading order in the size.
    small = gradients.gaussian_course(S, lambda t: 1e-3 * gradients.linear_errors(S, t)[3])
    half = compute("mixed", 1e-3, "SDE", 40).numbers["half the energy"]
    assert half == pytest.approx(float(small.girsanov), rel=0.01)
    for wrong in (("none", 1.0, "SDE", 40), ("score", -1.0, "SDE", 40), ("score", 1.0, "PDE", 40)):
        with pytest.raises(ValueError, match="allowed"):
            compute(*wrong)
    with pytest.raises(ValueError, match="steps"):
        compute("score", 1.0, "SDE", 0)
