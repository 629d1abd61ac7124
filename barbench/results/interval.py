"""The one kind of interval of barbench, and the statistics behind it: Student's t, resampled images, Holm's rule.

Every interval is a mean +- t x standard error. For means over seeds alone the error is s / sqrt(n), see
`interval_of_mean`. Where the counts of single expressions are stored, images are resampled with replacement, see
`resample`, because the expressions of one image are not independent; and the variance of a mean over K runs has two
parts, see `mean_error`:

    images   the bootstrap variance of that mean
    runs     (s^2 - w) / K, at least 0: s^2 is the variance of the K runs' values, w the share of s^2 that the images'
             sampling explains (mean bootstrap variance of a run's value less the mean covariance of two)

Two or three runs say little of s^2: t is 12.7 or 4.3, and what luck makes small looks sure. In a table the other rows
say more, see `shared_run_variance`: s^2 is moderated by theirs.

The two parts add up as for several readers of the same cases (Obuchowski & Rockette 1995; Hillis 2007). 1/df is the
mean of 1/(n - 1) and 1/(d0 + K - 1), weighted by the two parts. d0 is what the other rows are worth; n is Kish's
effective number of images, (sum w)^2 / sum w^2, where an image weighs w by its expressions (mIoU, P@X) or its pixels
(oIoU). Satterthwaite's formula, which weights by the parts' squares, covers less if runs differ much (92 % at three
seeds). Drawing two or three seeds with replacement finds only (K - 1)/K of their variance and covers 62 to 80 % there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np

from barbench.metrics import Floats

CONFIDENCE: Final = 0.95
"""Of every interval in tables, comparisons and figures."""
ALPHA: Final = 0.05
"""Of every test, after correction for their number."""
_CHUNK: Final = 500

Key = TypeVar("Key")


class Interval(NamedTuple):
    """A value and its 95 % confidence interval; `low` and `high` are NaN where there is none, as for a single seed."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval beside the value."""
        return not math.isnan(self.low)

    @property
    def margin(self) -> float:
        """Half the width; NaN where there is no interval."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside the interval."""
        return self.low > 0 or self.high < 0

    def times(self, factor: float) -> "Interval":
        """The interval of the value multiplied by a positive factor, as 100 for percent."""
        return Interval(factor * self.mean, factor * self.low, factor * self.high)


def interval_around(mean: float, margin: float) -> Interval:
    """The symmetric interval with that half width."""
    return Interval(mean, mean - margin, mean + margin)


def student(freedom: float, confidence: float = CONFIDENCE) -> float:
    """The t, in standard errors, for which P(|T| < t) = `confidence`, where T has Student's distribution.

    With t = sqrt(freedom) tan(angle) the density of the angle is cos(angle)^(freedom - 1) up to a factor: bounded, on
    a bounded range, so that a plain sum over a fine grid integrates it, to a relative error below 1e-5.

    Args:
        freedom: degrees of freedom, at least 1, not always whole.
        confidence: between 0 and 1.

    Returns:
        t, in standard errors.

    >>> round(student(10), 3)
    2.228
    """
    freedom = min(freedom, 1e5)  # equal to the normal distribution's to five digits
    reach = min(math.pi / 2, 12 / math.sqrt(freedom))
    angle = np.linspace(0, reach, 2_001)
    area = _area(angle, freedom)
    found = float(np.interp(confidence * area[-1], area, angle))
    return math.sqrt(freedom) * math.tan(found)


def tail_probability(t: float, freedom: float) -> float:
    """P(|T| >= |t|), if T has Student's distribution: integrated as in `student`.

    >>> round(tail_probability(2.228, 10), 3)
    0.05
    """
    freedom = min(freedom, 1e5)
    angle = np.linspace(0, math.pi / 2, 20_001)
    area = _area(angle, freedom)
    wanted = math.atan(abs(t) / math.sqrt(freedom))
    within = np.interp(wanted, angle, area)
    return float(1 - within / area[-1])


def _area(angle: Floats, freedom: float) -> Floats:
    """Integral of the angle's density from its first value to each of them."""
    density = np.cos(angle) ** (freedom - 1)
    return np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value, exact up to one rounding: the order of the values does not matter.

    Args:
        values: at least one.

    Returns:
        Their mean.

    Raises:
        ValueError: for no value.
    """
    if not values:
        raise ValueError("the mean of no values is undefined")
    return math.fsum(values) / len(values)


def interval_of_mean(values: Sequence[float]) -> Interval:
    """Student's interval of the mean of one value per seed, t s / sqrt(n); none for a single value.

    It is valid if the scores of seeds are about normal; with two seeds, t is 12.7.
    """
    center = mean(values)
    n = len(values)
    if n < 2:
        return Interval(center)
    deviation = math.sqrt(math.fsum((value - center) ** 2 for value in values) / (n - 1))
    return interval_around(center, student(n - 1) * deviation / math.sqrt(n))


def resample(sums: Floats, resamples: int, seed: int = 0, multinomial: bool = False) -> Floats:
    """Sums over images that are drawn with replacement.

    Args:
        sums: of each image, (images, columns).
        resamples: how often as many images are drawn.
        seed: of the draws: the same seed, number of images and number of resamples draw the same images.
        multinomial: draw how often each image occurs rather than one image after another. Both have the same
            distribution, and this is ten times slower; the tables keep it, so that the intervals that they print stay
            the same to the last digit.

    Returns:
        (resamples, columns).
    """
    images = len(sums)
    rng = np.random.default_rng(seed)
    parts = []
    # In parts, so that memory does not grow with the number of resamples.
    for begin in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - begin)
        # How often each image is drawn, (rows, images).
        if multinomial:
            counts = rng.multinomial(images, np.full(images, 1 / images), size=rows)
        else:
            drawn = rng.integers(images, size=(rows, images))
            places = drawn + images * np.arange(rows)[:, None]
            counts = np.bincount(places.ravel(), minlength=rows * images).reshape(rows, images)
        parts.append(counts.astype(np.float64) @ sums)
    return np.concatenate(parts)


def effective_images(weights: Floats) -> float:
    """Kish's effective sample size: how many equally weighted images are worth as much as those with `weights` (I,)."""
    return float(weights.sum() ** 2 / max((weights**2).sum(), 1))


class MeanError(NamedTuple):
    """A mean over runs and its uncertainty.

    Attributes:
        mean: over the runs.
        error: standard error over images and runs.
        freedom: degrees of freedom.
    """

    mean: float
    error: float
    freedom: float

    @property
    def interval(self) -> Interval:
        """The 95 % interval."""
        return interval_around(self.mean, student(self.freedom) * self.error)

    @property
    def p_value(self) -> float:
        """Probability of a mean at least as far from 0 if the true one is 0."""
        if not self.error:
            return 0.0 if self.mean else 1.0
        return tail_probability(self.mean / self.error, self.freedom)


class RunVariance(NamedTuple):
    """What other rows of a table say of a quantity's variance between runs.

    Attributes:
        value: the variance that is expected of it.
        freedom: how many degrees of freedom that is worth; 0 where the other rows say nothing.
    """

    value: float = 0.0
    freedom: float = 0.0


NOTHING_SHARED: Final = RunVariance()


def shared_run_variance(values: Floats, rows: int) -> RunVariance:
    """The variance between runs that alike quantities have in common, by empirical Bayes (Smyth 2004, section 6.2).

    With d = K - 1, the sample variances of quantities whose true ones scatter as s0^2 d0 / chi^2(d0) have logarithms of
    mean log s0^2 + psi(d/2) - log(d/2) - psi(d0/2) + log(d0/2) and of variance psi'(d/2) + psi'(d0/2), which gives d0
    and s0^2. Where the variances are all alike, d0 is infinite; with few rows that is luck as often as not, so we cap
    it: d0 + d is at most (rows - 1)(K - 1), what is left of all scores beside the means of rows and runs. Two rows
    thereby share nothing. Simulated with three runs and rows whose deviations are alike or differ by a factor of 1.8
    (one sd), the intervals of the differences of 3 to 26 rows cover 93 to 96 %, are 0.8 to 0.55 times as wide as alone,
    and Holm's rule errs in 2 to 6 % of tables. Pairs with the row that truly varies most are covered in 84 % then.

    Args:
        values: (Q, K), Q quantities of K runs, such as the differences of all pairs of rows.
        rows: the rows that the quantities are made from.

    Returns:
        The common variance; without freedom for one run, or for two rows.
    """
    # One run has no variance, and two rows share nothing.
    runs = values.shape[1]
    if runs < 2 or rows < 3:
        return NOTHING_SHARED
    own = runs - 1
    most = float((rows - 2) * own)
    variances = values.var(axis=1, ddof=1)
    logs = np.log(variances[variances > 0])
    if len(logs) < 2:
        return NOTHING_SHARED
    # Mean and variance of the logarithms, without what chance adds to them.
    logs = logs - _digamma(own / 2) + math.log(own / 2)
    scatter = float(logs.var(ddof=1)) - _trigamma(own / 2)
    # psi' falls from infinity to 0.
    low, high = 1e-3, most
    if scatter > _trigamma(most / 2):
        while high / low > 1 + 1e-9:
            middle = math.sqrt(low * high)
            if _trigamma(middle / 2) > scatter:
                low = middle
            else:
                high = middle
    value = math.exp(float(logs.mean()) + _digamma(high / 2) - math.log(high / 2))
    return RunVariance(value, high)


def _digamma(x: float) -> float:
    """psi(x), the derivative of log Gamma, for x > 0: the recurrence up to 10, then the asymptotic series."""
    before = 0.0
    while x < 10:
        before += 1 / x
        x += 1
    series = math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)
    return series - before


def _trigamma(x: float) -> float:
    """psi'(x), in the same way."""
    before = 0.0
    while x < 10:
        before += 1 / x**2
        x += 1
    return before + 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7)


def mean_error(
    values: Floats, drawn: Floats, images: int, effective: float, shared: RunVariance = NOTHING_SHARED
) -> MeanError:
    """The mean of a quantity that each run gives, with its error over images and runs.

    Args:
        values: (K,), one per run.
        drawn: (R, K), the same on resampled images.
        images: how many images were resampled.
        effective: Kish's number of equally weighted ones among them.
        shared: what the other rows of a table say of the variance between runs.

    Returns:
        Mean, standard error, and degrees of freedom.
    """
    runs = len(values)
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False))
    covariance = covariance * images / (images - 1)  # resampling n images finds (n - 1) / n of the variance
    by_images = float(covariance.mean())
    few_images = 1 / max(effective - 1, 1)
    by_runs = 0.0
    freedom = 0.0
    inverse_freedom = few_images
    if runs > 1:
        # What of the variance between runs the images' sampling does not explain.
        trace = np.trace(covariance)
        together = (covariance.sum() - trace) / (runs * (runs - 1))
        explained = float(trace / runs - together)
        # A run's own variance, moderated by that of the other rows.
        own = runs - 1
        freedom = own + shared.freedom
        squares = own * float(values.var(ddof=1)) + shared.freedom * shared.value
        variance = squares / freedom
        by_runs = max(0.0, (variance - explained) / runs)
    if by_runs:
        share = by_runs / (by_images + by_runs)
        inverse_freedom = (1 - share) * few_images + share / freedom
    error = math.sqrt(max(by_images + by_runs, 0.0))
    return MeanError(float(values.mean()), error, 1 / inverse_freedom)


def holm(p_values: Mapping[Key, float]) -> set[Key]:
    """The hypotheses that Holm's step-down rule rejects at ALPHA over all of them.

    >>> sorted(holm({"a": 0.01, "b": 0.03, "c": 0.02}))
    ['a', 'b', 'c']
    >>> sorted(holm({"a": 0.01, "b": 0.06, "c": 0.02}))
    ['a', 'c']
    """
    rejected: set[Key] = set()
    left = len(p_values)
    for key in sorted(p_values, key=lambda key: p_values[key]):
        if p_values[key] * left >= ALPHA:
            break
        rejected.add(key)
        left -= 1
    return rejected
