"""How likely a negative is an answer that nobody labelled, all signs taken together."""

from __future__ import annotations

from typing import Any

import numpy as np

from eci.audit.combination import ENOUGH, Weights, fit, folds, stand_ins
from eci.audit.fallback import FALLBACK
from eci.audit.features import Features
from eci.audit.material import Material
from eci.types import Flags, Floats


def chances(material: Material, seen: Features, usable: Flags) -> tuple[Floats, dict[str, Any]]:
    """Probabilities as if half were answers, by weights that were not learned from a negative's own query.

    Parameters
    ----------
    material : Material
    seen : Features
        Of all its negatives.
    usable : ndarray of shape (n,), bool
        Negatives to learn from: those that are no known positive, no copy of one, not edited and not empty.

    Returns
    -------
    chances : ndarray of shape (n,)
    learned : dict
        Where the weights are from, from how many queries, and what they are on average over the folds.
    """
    shown = stand_ins(material, usable)
    # Rows that ask the same teach the same.
    queries = len(np.unique(material.group[shown.rows]))
    if queries < ENOUGH:
        told = {"from": "other collections", "stand_ins": queries, "weights": FALLBACK.to_dict()}
        return FALLBACK.probability(seen.table), told
    taught, asked = folds(material.group)[shown.rows][shown.owner], folds(material.group)
    owner = asked[material.negatives.rows]
    found = np.zeros(len(seen.table))
    weights: list[Weights] = []
    for fold in range(int(asked.max()) + 1):
        kept = taught != fold
        weights.append(fit(shown.table[kept], shown.answers[kept], shown.times[kept]))
        mine = owner == fold
        found[mine] = weights[-1].probability(seen.table[mine])
    mean = Weights(
        np.mean([each.coefficients for each in weights], axis=0),
        float(np.mean([each.intercept for each in weights])),
    )
    return found, {"from": "these rows", "stand_ins": queries, "weights": mean.to_dict()}
