"""How likely a negative is an answer that nobody labelled, all signs taken together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eci.audit.combination import ENOUGH, Weights, fit, folds, stand_ins
from eci.audit.fallback import FALLBACK
from eci.audit.features import Features
from eci.audit.material import Candidates, Material
from eci.types import Flags, Floats, Integers


@dataclass(frozen=True)
class Learned:
    """Weights that were not learned from a negative's own query.

    Parameters
    ----------
    weights : tuple of Weights
        One for all queries, or one for those of each fold.
    told : dict
        Where the weights are from, from how many queries, and what they are on average over the folds.
    """

    weights: tuple[Weights, ...]
    told: dict[str, Any]

    @classmethod
    def of(cls, material: Material, usable: Flags) -> Learned:
        """Of the labels that rows have, or of other collections where these are too few.

        Parameters
        ----------
        material : Material
        usable : ndarray of shape (n,), bool
            Negatives to learn from: those that are no known positive, no copy of one, not edited and not
            empty.
        """
        shown = stand_ins(material, usable)
        # Rows that ask the same teach the same.
        queries = len(np.unique(material.group[shown.rows]))
        if queries < ENOUGH:
            told = {"from": "other collections", "stand_ins": queries, "weights": FALLBACK.to_dict()}
            return cls((FALLBACK,), told)
        taught = folds(material.group[shown.rows])[shown.owner]
        last = max(int(folds(material.group[tile.rows]).max()) for tile in material.tiles())
        weights: list[Weights] = []
        for fold in range(last + 1):
            kept = taught != fold
            weights.append(fit(shown.table[kept], shown.answers[kept], shown.times[kept]))
        mean = Weights(
            np.mean([each.coefficients for each in weights], axis=0),
            float(np.mean([each.intercept for each in weights])),
        )
        return cls(tuple(weights), {"from": "these rows", "stand_ins": queries, "weights": mean.to_dict()})

    def chances(self, group: Integers, candidates: Candidates, seen: Features) -> Floats:
        """Probabilities of n candidates as if half were answers, of shape (n,).

        Parameters
        ----------
        group : ndarray of shape (R,)
            Hashes of the queries of the candidates' rows.
        candidates : Candidates
        seen : Features
            Of the candidates.
        """
        if len(self.weights) == 1:
            return self.weights[0].probability(seen.table)
        owner = folds(group)[candidates.documents.rows]
        found = np.zeros(len(seen.table))
        for fold, weights in enumerate(self.weights):
            mine = owner == fold
            found[mine] = weights.probability(seen.table[mine])
        return found
