"""Measures of images: against the counts they are made of, planted duplicates, and brute force."""

import gzip
import hashlib
import itertools
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from photographs import COUNTS, batches, tarred

from diffnotes import Chain, Dense, Fleet, Images, Run, Setting, kept
from diffnotes.chapters import images as img
from diffnotes.chapters.collapse import near_radius
from diffnotes.chapters.lipschitz import StepWaves, sampled, step_constants
from diffnotes.chapters.sequence import Scaled, Shaped, batch_gaps
from diffnotes.core import data as sets
from diffnotes.core.data import digits_split
from diffnotes.measure.crowding import ansd_ratio, pair_fraction, sample_split
from diffnotes.model import classifier
from diffnotes.model.fleet import Pictures
from diffnotes.model.store import key_of
from diffnotes.press import page
from diffnotes.show import figures

SPLITS, SHARES = (0, 3), (0.003, 0.03)
CASES = [("ddim", 4), ("ddpm", 4)]


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFNOTES_NETWORKS", str(tmp_path_factory.mktemp("networks")))
        patch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path_factory.mktemp("published")))
        yield


@pytest.fixture(scope="module")
def gauge():
    return img.Gauge("digits", SPLITS, SHARES)


def fleet_of(splits=SPLITS, **options):
    chain = Chain.linear(1000)
    arms = {"plain": Setting("eps", chain, condition=StepWaves("t", chain, 4))}
    return Fleet(arms, Images("digits"), Dense(64, 16, 2), Run(64, 32, 3e-3, **options), splits)


@pytest.fixture(scope="module")
def arms():
    fleet = fleet_of(average=0.9)
    return {"plain": img.Arm(fleet, "plain"), "averaged": img.Arm(fleet, "plain, averaged"),
            "scaled": img.Arm(fleet, "plain", 0.3, 0.7), "shaped": img.Arm(fleet, "plain", 0.3, None)}  # fmt: skip


def by_brute_force(x, data):
    far = torch.cdist(x.double(), data.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return far.min(1)


@pytest.mark.parametrize("n, m, d", [(3, 1, 2), (300, 700, 64), (1000, 30, 5)])
def test_nearest_is_that_of_brute_force(n, m, d):
    generator = torch.Generator().manual_seed(n)
    x, data = (torch.randn(k, d, generator=generator) + 7 for k in (n, m))
    found, wanted = img.nearest(x, data), by_brute_force(x, data)
    assert torch.equal(found[1], wanted.indices)
    torch.testing.assert_close(found[0], wanted.values, rtol=1e-12, atol=0)


def test_a_copy_is_at_no_distance():
    data = digits_split(0)[0].x
    far, index = img.nearest(data[[5, 900, 77]], data)
    assert far.tolist() == [0, 0, 0] and torch.equal(data[index], data[[5, 900, 77]])


def test_the_closest_pair_is_found_with_its_neighbours():
    train, held = (part.x for part in digits_split(0))
    x = held[:200].clone()
    x[150] = x[20] + 0.01
    found = img.closest_pair(x, train)
    assert {tuple(one.tolist()) for one in found.pair} == {tuple(x[20].tolist()), tuple(x[150].tolist())}
    assert float(found.distances[0]) == pytest.approx(0.01 * 8, rel=1e-5)
    for one, neighbour, far in zip(found.pair, found.neighbours, found.distances[1:]):
        wanted = by_brute_force(one[None], train)
        assert torch.equal(neighbour, train[wanted.indices[0]]) and float(far) == pytest.approx(float(wanted.values))


def test_measures_are_those_of_each_split(gauge):
    generator = torch.Generator().manual_seed(1)
    x = gauge.held_out(150) + 0.3 * torch.randn(2, 150, 64, generator=generator)
    found = gauge(x)
    assert torch.equal(found.distance, gauge.judge.distance(x))
    for i, seed in enumerate(SPLITS):
        train, held = (part.x for part in digits_split(seed))
        seen = gauge.judge.classifiers[i]
        for rows, data, ratio, uneven in (
            (x[i], train, found.pixels, found.pixels_uneven),
            (seen(x[i]), seen(train), found.features, found.features_uneven),
        ):
            radii = near_radius(data, SHARES)
            torch.testing.assert_close(ratio[i], ansd_ratio(rows, data, radii), rtol=1e-12, atol=0)
            by_hand = [sample_split(rows, data, radius).unevenness for radius in radii]
            torch.testing.assert_close(uneven[i], torch.tensor(by_hand, dtype=torch.float64), rtol=1e-9, atol=1e-9)
        pairs = pair_fraction(x[i], near_radius(train, SHARES)) * (150 * 149 / 2)
        torch.testing.assert_close(found.pairs[i], pairs)
        assert torch.equal(found.pairs[i], found.pairs[i].round())
        spread = x[i].double().var(0).mean() / train.double().var(0).mean()
        assert float(found.spread[i]) == pytest.approx(float(spread), rel=1e-12)
        medians = [by_brute_force(part, train).values.median() for part in (x[i], held)]
        assert float(found.nearest[i]) == pytest.approx(float(medians[0] / medians[1]), rel=1e-9)


def test_held_out_images_are_the_last_ones(gauge):
    found = gauge.held_out(40)
    assert all(torch.equal(x, digits_split(seed)[1].x[-40:]) for x, seed in zip(found, SPLITS))


def test_held_out_images_are_a_floor_and_copies_are_seen(gauge):
    floor = gauge(gauge.held_out(300))
    assert bool(((floor.spread > 0.9) & (floor.spread < 1.1)).all())
    torch.testing.assert_close(floor.nearest, torch.ones(2, dtype=torch.float64), rtol=0.1, atol=0)
    twice = gauge(torch.stack([x[:150] for x in gauge.judge.train]).repeat(1, 2, 1))
    assert twice.nearest.tolist() == [0, 0]
    # Each image twice adds one pair of distance zero for each: the fraction of a set of n, from that of its half.
    half = gauge(torch.stack([x[:150] for x in gauge.judge.train]))
    torch.testing.assert_close(twice.pairs, 4 * half.pairs + 150)


def test_the_ratio_of_pairs_is_split_by_split_and_none_without_pairs(gauge):
    one, other = gauge(gauge.held_out(200) * 0.8), gauge(gauge.held_out(200))
    found = img.pair_ratio(one, other, "features", 1)
    logs = (one.features[:, 1] / other.features[:, 1]).log()
    assert float(found.value) == pytest.approx(float(logs.mean().exp()), rel=1e-12)
    assert img.pair_ratio(one._replace(pixels=torch.zeros(2, 2)), other, "pixels", 0) is None


def test_pictures_keep_255_steps():
    x = 2.4 * torch.rand(5, 64, generator=torch.Generator().manual_seed(0)) - 1.2
    pictures = Pictures(x)
    assert pictures.levels.dtype == torch.uint8
    torch.testing.assert_close(pictures.x, x.clamp(-1, 1), rtol=0, atol=1 / 255 + 1e-6)


def same(found, wanted):
    for name, mine, true in zip(img.Measures._fields, found, wanted):
        torch.testing.assert_close(mine, true, rtol=1e-12, atol=0, msg=name)


def test_what_is_drawn_is_kept_and_is_what_was_measured(arms, gauge):
    nets = kept(fleet_of(average=0.9))
    nets = {"plain": nets["plain"], "averaged": nets["plain, averaged"], "scaled": Scaled(nets["plain"], 0.3, 0.7)}
    covariances = torch.stack([digits_split(seed)[0].x.double().T.cov() for seed in SPLITS])
    nets["shaped"] = Shaped(nets["plain"], 0.3, covariances)
    drawn = img.Drawn(arms, CASES, SHARES, 40, 11, shown=3)
    for found in (kept(drawn), kept(drawn)):  # drawn, then read
        assert list(found) == list(arms) and all(list(rows) == CASES for rows in found.values())
        for name, case in itertools.product(arms, CASES):
            x = sampled(nets[name], case, (2, 40, 64), 11).clamp(-1, 1)
            one = found[name][case]
            same(one.measures, gauge(x))
            torch.testing.assert_close(one.pictures, x[0, :3], rtol=0, atol=1 / 255 + 1e-6)
            closest = img.closest_pair(x[0], gauge.judge.train[0])
            torch.testing.assert_close(one.closest.neighbours, closest.neighbours, rtol=0, atol=1 / 255 + 1e-6)
            torch.testing.assert_close(one.closest.distances, closest.distances, rtol=1e-12, atol=0)


def test_what_is_read_asks_for_no_network(arms, monkeypatch):
    drawn = img.Drawn(arms, CASES, SHARES, 40, 11, shown=3)
    kept(drawn)
    monkeypatch.setattr(img, "kept", None)
    monkeypatch.setattr(img, "image_split", None)
    monkeypatch.setattr(img, "Judges", None)
    assert list(kept(drawn)) == list(arms)


def test_held_out_images_are_known_without_data(gauge):
    found = kept(img.HeldOut("digits", SPLITS, SHARES, 60, shown=4))
    x = gauge.held_out(60)
    same(found.held_out.measures, gauge(x))
    torch.testing.assert_close(found.held_out.pictures, x[0, :4], rtol=0, atol=1 / 255 + 1e-6)
    assert found.accuracy == pytest.approx(gauge.judge.accuracy, rel=1e-12)
    variances = [digits_split(seed)[0].x.double().var(0).mean() for seed in SPLITS]
    assert found.std**2 == pytest.approx(float(sum(variances)) / 2, rel=1e-12)


def test_constants_and_gaps_are_those_of_the_networks(arms):
    nets = kept(fleet_of(average=0.9))
    x = torch.stack([digits_split(seed)[1].x[:30] for seed in SPLITS])
    found = kept(img.Constants(arms, [1, 2, 4], 30, 5))
    for name, net in (("plain", nets["plain"]), ("averaged", nets["plain, averaged"])):
        wanted = step_constants(net, x, torch.tensor([1, 2, 4]), 5)
        torch.testing.assert_close(found[name], wanted, rtol=1e-12, atol=0)
    x0 = torch.stack([digits_split(seed)[0].x[:20] for seed in SPLITS])
    gaps, wanted = kept(img.TotalGaps(arms, 20, 6, 2, 3)), batch_gaps(nets, x0, 6, 2, 3)
    for mine, true in zip(gaps["plain"], wanted["plain"]):
        torch.testing.assert_close(mine, true, rtol=1e-9, atol=0)


def test_other_draws_are_another_experiment(arms):
    one = img.Drawn(arms, CASES, SHARES, 40, 11)
    more = {"scaled": img.Arm(arms["plain"].fleet, "plain", 0.2, 0.7)}
    others = [replace(one, samples=41), replace(one, cases=[("ddim", 5)]), replace(one, seed=12),
              replace(one, arms=arms | more)]  # fmt: skip
    assert len({key_of(experiment) for experiment in (one, *others)}) == 5


PLAIN = {"a": img.Arm(fleet_of(), "plain")}


@pytest.mark.parametrize("call, word", [
    (lambda gauge: img.nearest(torch.zeros(3, 2), torch.zeros(4, 3)), "allowed: .n, d. and .m, d."),
    (lambda gauge: img.nearest(torch.zeros(3, 2), torch.zeros(0, 2)), "m >= 1"),
    (lambda gauge: img.closest_pair(torch.zeros(1, 2), torch.zeros(4, 2)), "n >= 2"),
    (lambda gauge: gauge.held_out(1), "n = 1"),
    (lambda gauge: img.pair_ratio(None, None, "colours", 0), "space = 'colours'"),
    (lambda gauge: gauge(torch.zeros(3, 9, 64)), r"allowed: \(2, n, d\)"),
    (lambda gauge: img.Drawn({}, CASES, SHARES, 9, 0), "at least one"),
    (lambda gauge: img.Drawn(PLAIN, [], SHARES, 9, 0), "cases = "),
    (lambda gauge: img.Drawn(PLAIN, CASES, SHARES, 1, 0), "samples = 1"),
    (lambda gauge: img.Drawn(PLAIN | {"b": img.Arm(fleet_of((1, 2)), "plain")}, CASES, SHARES, 9, 0), r"arms\['b'\]"),
    (lambda gauge: img.Arm(fleet_of(), "plain, averaged"), "name = 'plain, averaged'; allowed: 'plain'"),
    (lambda gauge: img.Arm(replace(fleet_of(), data=Images("digits", 3)), "plain"), "split by the seeds"),
])  # fmt: skip
def test_bad_input_is_named(gauge, call, word):
    with pytest.raises(ValueError, match=word):
        call(gauge)


# --- in colour --------------------------------------------------------------------------------------------------------

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def photographs(monkeypatch, tmp_path):
    """CIFAR-10 as 8 x 8 pixels of noise: at 32 x 32 their principal components alone take half a minute."""
    monkeypatch.setitem(sets.SHAPES, "cifar10", (3, 8, 8))
    body = gzip.compress(tarred(batches(dict.fromkeys(COUNTS, 80), 8)), 1, mtime=0)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(body)
    monkeypatch.setitem(sets.CIFAR10_SHA256, "cifar-10-binary.tar.gz", hashlib.sha256(body).hexdigest())
    monkeypatch.setenv("DIFFNOTES_DATA", str(tmp_path))


def test_the_notebook_runs_on_colour_images(photographs, monkeypatch, capsys):
    """All of it, in the sizes of the profile smoke, with classifiers trained for a moment."""
    shown, glued, train = {}, {}, classifier.train_classifier
    monkeypatch.setattr(figures, "show", lambda fig, *, name, caption, alt: (shown.update({name: alt}), plt.close(fig)))
    monkeypatch.setattr(page, "glue", lambda **values: glued.update(values))
    monkeypatch.setattr(classifier, "train_classifier",
                        lambda x, y, held, sizes, run, seed: train(x, y, held, sizes, Run(20), seed))  # fmt: skip
    sizes = tomllib.loads((NOTEBOOKS / "profiles.toml").read_text(encoding="utf-8"))["images"]
    names = {"__name__": "__main__"}
    for cell in json.loads((NOTEBOOKS / "images.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert not (sizes["smoke"] | sizes["cifar10"]).keys() - names.keys()
            names |= sizes["smoke"] | {"data": sizes["cifar10"]["data"], "profile": "cifar10", "device": "cpu"}
    assert names["nets"].net.shape == (3, 8, 8) and names["held"].pictures.shape == (20, 192)
    assert glued["what"] == "CIFAR-10" and len(shown) == 14
    assert all(shown[f"fig-images-{name}"].startswith("Rows of 8 by 8 colour images")
               for name in ("data", "samplers", "weights", "course", "own"))  # fmt: skip
    assert "I12" in capsys.readouterr().out
