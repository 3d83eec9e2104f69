"""Features of a small classifier: what they are, and that they see what matters."""

import pytest
import torch

from diffnotes.core.data import digits_split
from diffnotes.measure.distance import frechet_distance
from diffnotes.model import classifier as rooms
from diffnotes.model.classifier import Kernels, Recogniser, recogniser, train_classifier
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


# --- convolutions -----------------------------------------------------------------------------------------------------


SMALL = Kernels((1, 8, 8), (8, 16), 24)


def test_a_convolutional_classifier_is_the_layers_it_says():
    net = SMALL.make(10, seed=3)
    kinds = [type(layer).__name__ for layer in net]
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == ["Unflatten", *block, *block, "Flatten", "Linear", "ReLU", "Linear"]
    assert sum(part.numel() for part in net.parameters()) == (
        8 * 10 + 8 * 73 + 16 * 73 + 16 * 145 + 24 * (16 * 2 * 2 + 1) + 10 * 25)  # fmt: skip
    assert net(TEST.x[:5]).shape == (5, 10)
    assert Kernels((3, 9, 7), (4,), 5).make(2, 0)(torch.zeros(2, 189)).shape == (2, 2)
    for layer in net:
        for part in map(torch.Tensor.detach, layer.parameters()):
            bound = layer.weight[0].numel() ** -0.5
            assert float(part.abs().max()) <= bound
            assert part.numel() < 20 or float(part.abs().max()) > 0.8 * bound
    assert torch.equal(net[1].weight, SMALL.make(10, 3)[1].weight)
    assert not torch.equal(net[1].weight, SMALL.make(10, 4)[1].weight)


def test_convolutions_tell_digits_apart():
    experiment = Recogniser("digits", sizes=SMALL, run=RUN, seed=1)
    found = experiment.read(experiment.train().networks)
    assert found.accuracy > 0.95 and found(TEST.x).shape == (len(TEST.x), 24)
    shapes = [part.shape for part in experiment.blank()["classifier"].parameters()]
    assert shapes == [part.shape for part in found.net.parameters()]


def test_blocks_of_images_change_nothing(monkeypatch):
    net = SMALL.make(10, seed=3)
    whole = rooms.Classifier(net, TEST)
    wanted = whole(TEST.x), whole.odds(TEST.x[:6].reshape(2, 3, 64))
    monkeypatch.setattr(rooms, "BLOCK", 7)
    torch.testing.assert_close((whole(TEST.x), whole.odds(TEST.x[:6].reshape(2, 3, 64))), wanted)


def test_the_books_classifiers():
    assert recogniser("digits", 4) == Recogniser("digits", 4, seed=4)  # the kept ones of the other chapters
    found = recogniser("mnist14", 4)
    assert found.sizes.shape == (1, 14, 14) and (found.images, found.split, found.seed) == ("mnist14", 4, 4)


@pytest.mark.parametrize("options", [{"channels": ()}, {"channels": (8, 0)}, {"features": 0}, {"shape": (1, 3, 8)}])
def test_kernels_that_cannot_be_are_named(options):
    with pytest.raises(ValueError, match="height and width of at least"):
        Kernels(**{"shape": (1, 8, 8), "channels": (8, 16)} | options)
