"""Distances in classifiers' features: against the classifiers asked one by one, with perfect samples and with noise."""

import pytest
import torch

from diffnotes.core.data import digits_split
from diffnotes.measure.distance import frechet_distance
from diffnotes.measure.judges import Judges
from diffnotes.model.classifier import train_classifier
from diffnotes.model.store import rounded


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFNOTES_NETWORKS", str(tmp_path_factory.mktemp("networks")))
        patch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path_factory.mktemp("published")))
        yield Judges("digits", (0, 3))


def test_each_split_has_its_own_classifier_and_held_out_images(judges):
    x = torch.stack([digits_split(5)[0].x[:300]] * 2)
    found = judges.distance(x)
    assert found.dtype == torch.float64 and found.shape == (2,)
    for i, seed in enumerate((0, 3)):
        train, held_out = digits_split(seed)
        alone = train_classifier(*train, held_out, seed=seed)
        rounded(alone.net)
        by_hand = frechet_distance(alone(x[i]), alone(held_out.x))
        assert float(found[i]) == pytest.approx(float(by_hand), rel=1e-6)
        assert torch.equal(judges.held_out[i], held_out.x) and torch.equal(judges.train[i], train.x)
    assert 0.9 < judges.accuracy <= 1 and judges.dim == 64


def test_training_images_are_nearer_than_noisy_ones(judges):
    noise = torch.randn(2, 300, 64, generator=torch.Generator().manual_seed(0))
    noisy = torch.stack([x[:300] for x in judges.train]) + noise
    assert bool((judges.floor(300) * 2 < judges.distance(noisy)).all())


def test_another_number_of_splits_is_refused(judges):
    for shape in ((3, 9, 64), (9, 64)):
        with pytest.raises(ValueError, match=r"allowed: \(2, n, d\)"):
            judges.distance(torch.zeros(shape))
