"""Bicubic resampling along one axis as a matrix, written out."""

import numpy as np


def cubic(d: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.75, torch's and OpenCV's."""
    d, a = np.abs(d), -0.75
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def weights(positions: np.ndarray, count: int, clamp: bool) -> np.ndarray:
    """(positions, count): each sample's weight at each position; beyond the border the last sample's, or none."""
    matrix = np.zeros((len(positions), count))
    for row, place in zip(matrix, positions, strict=True):
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            if clamp or 0 <= tap < count:
                row[min(max(tap, 0), count - 1)] += cubic(np.array(place - tap))
    return matrix
