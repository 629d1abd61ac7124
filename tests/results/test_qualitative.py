"""Picks against what each of them means."""

import numpy as np
import pytest

from barbench.results.qualitative import PICKS, pick

IOU = np.array([[0.9, 0.0, 0.8, 0.1, 0.5, 0.2], [0.1, 0.0, 0.9, 0.2, 0.6, 0.1]])
APART = np.arange(6)


def test_each_pick_puts_its_own_first() -> None:
    assert pick("disagree", IOU, APART, 1) == [0]
    assert pick("fail", IOU, APART, 1) == [1]
    assert pick("succeed", IOU, APART, 2) == [2, 4]
    assert sorted(pick("random", IOU, APART, 6)) == list(range(6))


def test_at_most_one_an_image() -> None:
    images = np.array([7, 7, 7, 8, 8, 9])
    for how in PICKS:
        assert sorted(images[pick(how, IOU, images, 6)].tolist()) == [7, 8, 9]
    assert pick("disagree", IOU, images, 6)[0] == 0


def test_equals_are_drawn() -> None:
    flat = np.zeros((2, 50))
    first = pick("fail", flat, np.arange(50), 5)
    assert first == pick("fail", flat, np.arange(50), 5)
    assert first != [0, 1, 2, 3, 4]


def test_no_more_than_there_are() -> None:
    assert len(pick("random", IOU, APART, 100)) == 6
    with pytest.raises(KeyError):
        pick("best", IOU, APART, 1)
