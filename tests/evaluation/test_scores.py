"""Top-1, top-5 and counts by class against plain Python, and labels that cannot be meant."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwsim import HwsimError
from hwsim.evaluation.scores import Accuracy, Tally, accuracy, class_numbers, named, predictions


def tally(outputs, labels, size: int = 7, **options) -> Accuracy:
    """The result of adding pieces of `size` samples."""
    found = Tally("y", **options)
    for start in range(0, len(outputs), size):
        found.add(outputs[start : start + size], labels[start : start + size])
    return found.result()


def by_hand(outputs, labels):
    """(right, right of 5, pairs) by sorting each sample's classes; equals in order of index."""
    right = of_5 = 0
    pairs = {}
    for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        right += order[0] == label
        of_5 += label in order[:5]
        pairs[label, order[0]] = pairs.get((label, order[0]), 0) + 1
    return right, of_5, pairs


@pytest.mark.parametrize("classes", [2, 5, 6, 10])
def test_counts_are_those_of_a_plain_sort_with_ties(classes, rng):
    outputs = rng.integers(-3, 4, (200, classes))  # few values, many ties
    labels = rng.integers(0, classes, 200)
    right, of_5, pairs = by_hand(outputs, labels)
    found = tally(outputs, labels)
    assert (found.right, dict(found.pairs), found.samples) == (right, pairs, 200)
    assert found.right_of_5 == (of_5 if classes > 5 else None)
    assert found.top1 == right / 200 == accuracy(outputs, labels)
    reversed_ties = by_hand(outputs[:, ::-1], classes - 1 - labels)
    assert classes == 2 or reversed_ties[:2] != (right, of_5)  # the rule for ties matters here


def test_by_class_and_confusion_add_up(rng):
    outputs, labels = rng.normal(0, 1, (90, 4)), rng.integers(0, 3, 90)  # class 3 has no samples
    found = tally(outputs, labels)
    picked = outputs.argmax(1)
    for label, prediction in itertools.product(range(4), repeat=2):
        both = int(((labels == label) & (picked == prediction)).sum())
        assert found.confusion[label, prediction] == both
    scores = found.by_class
    assert [c.samples for c in scores] == [int((labels == c).sum()) for c in range(4)]
    assert [c.predicted for c in scores] == [int((picked == c).sum()) for c in range(4)]
    assert sum(c.right for c in scores) == found.right
    assert scores[3].recall is None and scores[0].recall == scores[0].right / scores[0].samples
    worst = found.confused[0]
    assert worst[2] == max(v for (a, b), v in found.pairs.items() if a != b)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 1, 1, 1)])
def test_class_numbers_are_taken_as_they_are(shape):
    given = np.array([0, 2, 1, 1, 2, 0]).reshape(shape)
    found = tally(given, np.array([0, 2, 1, 0, 0, 0]), classes=3)
    assert found.right == 4 and found.top5 is None and found.classes == 3
    assert predictions(given.astype(np.float32)).tolist() == [0, 2, 1, 1, 2, 0]


def test_axes_of_one_are_dropped():
    outputs = np.eye(3).reshape(3, 1, 1, 3)
    assert predictions(outputs).tolist() == predictions(np.eye(3)[:, :, None, None]).tolist()


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (np.zeros((4, 3, 8, 8)), "not (4, 3, 8, 8); accuracy is the share of right classes"),
        (np.full((4, 1), 0.25), "not one value a sample such as 0.25"),
        (np.full(4, -1), "not one value a sample such as -1"),
        (np.full((4, 3), np.nan), "hold NaN"),
        (np.zeros((4, 0)), "not (4, 0)"),
    ],
)
def test_outputs_of_no_classifier_are_refused(outputs, text):
    with pytest.raises(HwsimError) as caught:
        tally(outputs, np.zeros(4, np.int64))
    assert text in str(caught.value) and "output 'y'" in str(caught.value)


def test_labels_may_be_whole_numbers_of_any_type_or_one_hot():
    wanted = [2, 0, 1, 2]
    for given in (
        np.array(wanted, np.uint8),
        np.array(wanted, np.float32),
        np.array(wanted)[:, None],
        np.eye(3)[wanted],
        np.eye(3, dtype=bool)[wanted],
        wanted,
    ):
        assert class_numbers(given, 4).tolist() == wanted


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.zeros(3), "labels must be as many as the samples, 4, not 3"),
        (np.zeros((4, 1, 8, 8)), "not (4, 1, 8, 8); an array of that shape looks like an input"),
        (np.full((4, 6), 0.3), "one-hot rows with a single 1, not other numbers of shape (4, 6)"),
        (np.ones((4, 2)), "one-hot rows with a single 1"),
        (np.array([0, 1, 0.5, 0]), "whole class numbers from 0 to 1048575, not 0.5 (sample 2)"),
        (np.array([0, np.nan, 0, 0]), "not nan (sample 1)"),
        (np.array([0, 0, 0, -1]), "not -1 (sample 3)"),
        (np.array([0, 0, 0, 1 << 62]), "(sample 3)"),
        (np.array(["a"] * 4), "not values of type <U1"),
        (np.array(3), "not ()"),
    ],
)
def test_labels_of_the_wrong_length_shape_or_type_are_refused(labels, text):
    with pytest.raises(HwsimError) as caught:
        class_numbers(labels, 4)
    assert text in str(caught.value)


def test_labels_out_of_range_are_refused_and_those_from_1_have_a_hint():
    with pytest.raises(HwsimError, match=r"from 0 to 2 for the 3 classes .* not 3; do they count"):
        tally(np.eye(3), np.array([1, 2, 3]))
    with pytest.raises(HwsimError, match=r"from 0 to 2 for the 3 classes of output 'y', not 7$"):
        tally(np.array([0, 1]), np.array([1, 7]), classes=3)


def test_names_are_places_in_a_list_and_an_unknown_one_is_refused():
    assert named(["cat", "ant"], ["ant", "bee", "cat"]).tolist() == [2, 0]
    with pytest.raises(HwsimError, match=r"among the classes ant, bee, not 'cow'"):
        named(["cow"], ["ant", "bee"])
    found = Tally("y")
    found.add(np.eye(3), np.arange(3))
    with pytest.raises(HwsimError, match="a name for each of the 3 classes, not 2"):
        found.result(names=("a", "b"))


def test_the_whole_matrix_is_left_out_beyond_a_hundred_classes():
    small, large = (tally(np.eye(n), np.arange(n)).to_dict() for n in (100, 101))
    assert np.array(small["confusion"]).shape == (100, 100) and large["confusion"] is None
    assert large["top1"] == 1.0 and large["confused"] == []
