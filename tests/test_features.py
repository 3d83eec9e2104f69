"""Features of a small classifier: what they are, and that they see what matters."""

import pytest
import torch

from diffnotes.data import digits_split
from diffnotes.distance import frechet_distance
from diffnotes.features import train_classifier

TRAIN, TEST = digits_split(0)


def test_digits_are_told_apart_and_a_seed_decides():
    one, other = (train_classifier(*TRAIN, TEST, steps=400, seed=1) for _ in range(2))
    assert one.accuracy == other.accuracy > 0.93
    assert torch.equal(one(TEST.x), other(TEST.x))
    assert not torch.equal(one(TEST.x), train_classifier(*TRAIN, TEST, steps=400, seed=2)(TEST.x))
    assert one(TRAIN.x[:6].reshape(2, 3, 64)).shape == (2, 3, 32) and not one(TEST.x).requires_grad


def test_accuracy_is_that_of_held_out_labels():
    wrong = TEST._replace(y=(TEST.y + 1) % 10)
    assert train_classifier(*TRAIN, wrong, steps=400, seed=1).accuracy < 0.1


def test_features_are_the_last_hidden_layer_and_see_a_missing_class():
    classifier = train_classifier(*TRAIN, TEST, steps=400, features=16)
    assert bool((classifier(TEST.x) >= 0).all()) and classifier(TEST.x).shape == (len(TEST.x), 16)
    some, without = TRAIN.x, TRAIN.x[TRAIN.y != 3]
    near = frechet_distance(classifier(TEST.x), classifier(some))
    assert frechet_distance(classifier(TEST.x), classifier(without)) > 1.3 * near


@pytest.mark.parametrize("arguments, options, word", [
    ((TRAIN.x, TRAIN.y[:5], TEST), {}, "shapes"),
    ((TRAIN.x, TRAIN.y, (TEST.x[:, :3], TEST.y)), {}, "shapes"),
    ((TRAIN.x, TRAIN.y, TEST), {"steps": 0}, "steps = 0"),
])  # fmt: skip
def test_bad_input_is_named(arguments, options, word):
    with pytest.raises(ValueError, match=word):
        train_classifier(*arguments, **options)
