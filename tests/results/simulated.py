"""A population of images on which two simulated methods were scored, of which the true difference is known exactly.

Expressions come in groups (an object's sentences, an image's objects) whose IoU moves together; a third to more than
half of them miss their object, so that IoU is nearly 0; sizes of objects differ by orders of magnitude.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from barbench.metrics import METRICS
from barbench.results.bootstrap import image_sums, scores_of_sums

Floats = NDArray[np.float64]
COMPARED = [METRICS[name] for name in ("miou", "oiou", "p50")]
LARGEST = 200_000  # pixels of an object, two thirds of a COCO photo


@dataclass(frozen=True)
class World:
    """`missed`: share of expressions whose object is not found; `likeness`: standard deviation of what an image's
    expressions share, in units of what they do not; `uneven`: that of the logarithm of object sizes; `better`: by how
    much the first method is ahead, in the same units."""

    missed: float
    likeness: float
    uneven: float
    better: float


ORDINARY = World(missed=0.35, likeness=1.0, uneven=1.0, better=0.15)
HARD = World(missed=0.6, likeness=2.0, uneven=1.5, better=0.4)


@dataclass(frozen=True)
class Population:
    """`sums` (N, 2, 3, 2): of each image and method, numerators and denominators of COMPARED; `truth` (3,): the
    difference between the methods in each metric, over all N images."""

    sums: Floats
    truth: Floats

    def sample(self, rng: np.random.Generator, images: int, runs: int = 1, spread: float = 0.0) -> Floats:
        """(runs, 2, images, 3, 2): images drawn with replacement, each run of each method with its own luck.

        A run multiplies its IoU and intersections by a factor of mean 1, which leaves the true difference in mIoU and
        oIoU as it is: a part for the run, with a variance of `spread` times what the images' sampling gives to the
        mean difference in mIoU, and a part for each of its images.
        """
        drawn = self.sums[rng.integers(len(self.sums), size=images)].transpose(1, 0, 2, 3)
        runs_of = np.broadcast_to(drawn, (runs, *drawn.shape)).copy()
        if runs > 1:
            own = rng.normal(0, 0.3, (runs, 2, images)) + rng.normal(0, self._luck(images, runs, spread), (runs, 2, 1))
            runs_of[..., :2, 0] *= 1 + own[..., None]
        return runs_of

    def _luck(self, images: int, runs: int, spread: float) -> float:
        totals = self.sums.mean(0)
        miou = totals[:, 0, 0] / totals[:, 0, 1]
        sums = self.sums[:, :, 0]  # of mIoU, (N, 2, 2)
        residual = (sums[:, 0, 0] - sums[:, 1, 0]) - self.truth[0] * sums[:, 0, 1]
        by_images = residual.var() / totals[0, 0, 1] ** 2 / images
        return float(np.sqrt(spread * by_images * runs / (miou**2).sum()))


def population(world: World, images: int = 20_000, seed: int = 0) -> Population:
    rng = np.random.default_rng(seed)
    objects = np.repeat(np.arange(images), rng.integers(1, 6, images))
    expressions = np.repeat(np.arange(len(objects)), rng.integers(1, 5, len(objects)))
    image = objects[expressions]
    easy = (rng.normal(0, world.likeness, images)[objects] + rng.normal(0, 0.7, len(objects)))[expressions]
    area = np.minimum(np.exp(rng.normal(8.5, world.uneven, len(objects))), LARGEST)[expressions]
    spread = np.sqrt(1.25 * world.likeness**2 + 0.49 + 1)
    methods = []
    for ahead in (world.better, 0.0):
        taste = rng.normal(0, world.likeness / 2, images)[image]
        latent = easy + taste + ahead + rng.normal(size=len(image))
        found = latent > NormalDist().inv_cdf(world.missed) * spread
        good = 1 / (1 + np.exp(-0.9 - 0.5 * latent - rng.normal(0, 0.5, len(image))))
        iou = np.where(found, good, np.maximum(0, rng.normal(-0.1, 0.15, len(image))))
        union = area * (1 + (1 - iou) * rng.exponential(0.8, len(image)))
        intersection = np.minimum(iou * union, area)
        union = np.where(iou > 0, intersection / np.maximum(iou, 1e-9), union)
        columns = {"image_id": image, "intersection": np.round(intersection), "union": np.round(union)}
        methods.append(image_sums(columns, COMPARED)[1])
    sums = np.stack(methods, axis=1)
    scores = scores_of_sums(sums.sum(0))
    return Population(sums, scores[0] - scores[1])
