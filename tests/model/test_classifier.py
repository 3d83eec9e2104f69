"""Features of a small classifier: what they are, and that they see what matters."""

import pytest
import torch

from diffnotes.core.data import digits_split
from diffnotes.measure.distance import frechet_distance
from diffnotes.model.classifier import Recogniser, train_classifier
from diffnotes.model.setting import Run

TRAIN, TEST = digits_split(0)
RUN = Run(steps=400, rate=2e-3, decay="constant")


def test_digits_are_told_apart_and_a_seed_decides():
    one, other = (train_classifier(*TRAIN, TEST, run=RUN, seed=1) for _ in range(2))
    assert one.accuracy == other.accuracy > 0.93
    assert torch.equal(one(TEST.x), other(TEST.x))
    assert not torch.equal(one(TEST.x), train_classifier(*TRAIN, TEST, run=RUN, seed=2)(TEST.x))
    assert one(TRAIN.x[:6].reshape(2, 3, 64)).shape == (2, 3, 32) and not one(TEST.x).requires_grad


def test_accuracy_is_that_of_held_out_labels():
    wrong = TEST._replace(y=(TEST.y + 1) % 10)
    assert train_classifier(*TRAIN, wrong, run=RUN, seed=1).accuracy < 0.1


def test_features_are_the_last_hidden_layer_and_see_a_missing_class():
    classifier = train_classifier(*TRAIN, TEST, (64, 16), RUN)
    assert bool((classifier(TEST.x) >= 0).all()) and classifier(TEST.x).shape == (len(TEST.x), 16)
    some, without = TRAIN.x, TRAIN.x[TRAIN.y != 3]
    near = frechet_distance(classifier(TEST.x), classifier(some))
    assert frechet_distance(classifier(TEST.x), classifier(without)) > 1.3 * near


@pytest.mark.parametrize("arguments, options, word", [
    ((TRAIN.x, TRAIN.y[:5], TEST), {}, "shapes"),
    ((TRAIN.x, TRAIN.y, (TEST.x[:, :3], TEST.y)), {}, "shapes"),
    ((TRAIN.x, TRAIN.y, TEST), {"sizes": (64, 0)}, "sizes = "),
    ((TRAIN.x, TRAIN.y, TEST), {"sizes": ()}, "sizes = "),
])  # fmt: skip
def test_bad_input_is_named(arguments, options, word):
    with pytest.raises(ValueError, match=word):
        train_classifier(*arguments, **options)


def test_odds_are_probabilities_and_their_largest_decides():
    classifier = train_classifier(*TRAIN, TEST, run=RUN, seed=1)
    odds = classifier.odds(TEST.x)
    torch.testing.assert_close(odds.sum(-1), torch.ones(len(TEST.x)))
    assert float((odds.argmax(-1) == TEST.y).double().mean()) == classifier.accuracy


def test_a_recogniser_is_that_classifier():
    experiment = Recogniser("digits", run=RUN, seed=1)
    found, plain = experiment.read(experiment.train().networks), train_classifier(*TRAIN, TEST, run=RUN, seed=1)
    assert found.accuracy == plain.accuracy and torch.equal(found(TEST.x), plain(TEST.x))
    shapes = [part.shape for part in experiment.blank()["classifier"].parameters()]
    assert shapes == [part.shape for part in plain.net.parameters()]
