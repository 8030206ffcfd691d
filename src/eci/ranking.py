"""The order that values put things in, and how far two orders agree."""

from __future__ import annotations

import math

import numpy as np

from eci.types import Floats


def ranking(values: Floats) -> tuple[int, ...]:
    """Indices of `values`, of shape (S,), from largest to smallest; NaN last, ties in order."""
    return tuple(int(place) for place in np.argsort(-values, kind="stable"))


def kendall(a: Floats, b: Floats) -> float:
    """Kendall's tau-b between two lists of values, of shape (S,); NaN where one of them is constant.

    Examples
    --------
    >>> round(kendall(np.array([3.0, 2.0, 1.0]), np.array([9.0, 7.0, 8.0])), 3)
    0.333
    """
    one, two = (np.sign(np.subtract.outer(values, values)) for values in (a, b))
    scale = math.sqrt(float((one**2).sum() * (two**2).sum()))
    return float((one * two).sum() / scale) if scale > 0 else math.nan
