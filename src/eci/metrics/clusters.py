"""k-means on vectors."""

from __future__ import annotations

import numpy as np

from eci.types import Integers, Vectors

_ROUNDS = 10


def clusters(points: Vectors, count: int, rng: np.random.Generator) -> Integers:
    """Cluster of each of n points, by Lloyd's k-means from k-means++ centres, of shape (n,)."""
    centres = points[_seeds(points, count, rng)]
    cluster = np.full(len(points), -1)
    for _ in range(_ROUNDS):
        distance = np.einsum("ij,ij->i", centres, centres) - 2 * (points @ centres.T)
        previous, cluster = cluster, np.argmin(distance, axis=1)
        if np.array_equal(previous, cluster):
            break
        member = np.zeros((count, len(points)), dtype=np.float32)
        member[cluster, np.arange(len(points))] = 1
        sizes = member.sum(axis=1)
        filled = sizes > 0
        centres[filled] = (member @ points)[filled] / sizes[filled, None]
    return cluster


def _seeds(points: Vectors, count: int, rng: np.random.Generator) -> list[int]:
    """Points drawn one by one, by their squared distance to the nearest point drawn before."""
    squares = np.einsum("ij,ij->i", points, points)
    chosen = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < count:
        # Not by matmul, which has warned of invalid values where five-dimensional vectors were all finite.
        products = np.einsum("ij,j->i", points, points[chosen[-1]])
        distance = squares + squares[chosen[-1]] - 2 * products
        nearest = np.minimum(nearest, np.maximum(distance, 0.0))
        reach = np.cumsum(nearest, dtype=np.float64)
        chosen.append(min(int(np.searchsorted(reach, rng.random() * reach[-1], "right")), len(points) - 1))
    return chosen
