"""Student's t distribution: how many standard errors wide a confidence interval is."""

import math

import numpy as np

CONFIDENCE = 0.95
"""Of every interval in tables, comparisons and figures."""


def student(freedom: float, confidence: float = CONFIDENCE) -> float:
    """The t for which P(|T| < t) = `confidence`, where T has Student's distribution.

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
    density = np.cos(angle) ** (freedom - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(confidence * area[-1], area, angle)))


def tail_probability(t: float, freedom: float) -> float:
    """P(|T| >= |t|), if T has Student's distribution: integrated as in `student`.

    >>> round(tail_probability(2.228, 10), 3)
    0.05

    Args:
        t: a statistic in standard errors.
        freedom: degrees of freedom, at least 1, not always whole.

    Returns:
        A probability.
    """
    freedom = min(freedom, 1e5)
    angle = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angle) ** (freedom - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(1 - np.interp(math.atan(abs(t) / math.sqrt(freedom)), angle, area) / area[-1])
