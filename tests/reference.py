"""Each formula as naive loops from its definition. Slow on purpose; the fast code must agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Rows = Sequence[Sequence[float]]


def cosine(a, b) -> float:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def harmonic(s: float, d: float) -> float:
    return 2 * s * d / (s + d) if s > 0 and d > 0 else 0.0


def metrics(positive: Rows, negative: Rows, temperature: float = 0.05) -> dict[str, float]:
    """Every metric that similarities alone give, from the definitions in docs/metrics.md."""
    used = [(p, n) for p, n in zip(positive, negative, strict=True) if len(n)]
    if not used:
        return {}
    q = len(used)
    mean_n = sum(len(n) for _, n in used) / q
    signal = sum(sum(n) / len(n) for _, n in used) / q
    margin_max = sum(max(0.0, max(p) - max(n)) for p, n in used) / q
    margin_mean = max(0.0, sum(sum(max(p) - s for s in n) / len(n) for p, n in used) / q)
    per_query = [math.log(1 + len(n)) * harmonic(sum(n) / len(n), max(0.0, max(p) - max(n))) for p, n in used]
    hardest = sum(max(n) for _, n in used) / q
    variance = sum(sum((s - sum(n) / len(n)) ** 2 for s in n) / len(n) for _, n in used) / q
    pairs = [(max(p), s) for p, n in used for s in n]
    loss = 0.0
    for p, n in used:
        best = max(p)
        loss += math.log(1 + sum(math.exp((s - best) / temperature) for s in n)) / q
    return {
        "eci": math.log(1 + mean_n) * harmonic(signal, margin_max),
        "eci_query": sum(per_query) / q,
        "eci_mean_margin": math.log(1 + mean_n) * harmonic(signal, margin_mean),
        "signal": signal,
        "margin_max": margin_max,
        "margin_mean": margin_mean,
        "capacity": math.log(1 + mean_n),
        "efficiency": harmonic(signal, margin_max),
        "arithmetic": math.log(1 + mean_n) * (signal + margin_max) / 2,
        "gradient_norm": sum(sum(math.exp(s / temperature) for s in n) for _, n in used) / q,
        "gradient_norm_estimate": mean_n * math.exp(signal / temperature),
        "score_variance": variance,
        "score_variance_estimate": 0.5 * (hardest - signal) ** 2,
        "violation_rate": sum(s > best for best, s in pairs) / len(pairs),
        "violation_rate_95": sum(s > best - 0.05 * abs(best) for best, s in pairs) / len(pairs),
        "infonce_loss": loss,
    }


def overlap(reference: str, document: str, corpus: Sequence[str], words) -> float:
    """IDF-weighted share of the reference's words that the document holds."""
    held = [set(words(text)) for text in corpus]

    def idf(word: str) -> float:
        frequency = sum(word in text for text in held)
        return math.log(1 + (len(corpus) - frequency + 0.5) / (frequency + 0.5))

    asked = set(words(reference))
    total = sum(idf(word) for word in asked)
    return sum(idf(word) for word in asked & set(words(document))) / total if total else math.nan


def jackknife(per_group: Sequence[Sequence[float]], value) -> tuple[float, float]:
    """Estimate and standard error of `value` (a function of a list of numbers) by delete-m_j jackknife.

    `per_group` holds the numbers of each group; empty groups are left out. Busing et al. 1999, eq. 6–8.
    """
    groups = [list(group) for group in per_group if len(group)]
    everything = [x for group in groups for x in group]
    n, g = len(everything), len(groups)
    estimate = value(everything)
    without = [value([x for j, other in enumerate(groups) if j != i for x in other]) for i in range(g)]
    corrected = g * estimate - sum((1 - len(group) / n) * t for group, t in zip(groups, without, strict=True))
    variance = 0.0
    for group, t in zip(groups, without, strict=True):
        h = n / len(group)
        pseudo = h * estimate - (h - 1) * t
        variance += (pseudo - corrected) ** 2 / (h - 1) / g
    return estimate, math.sqrt(variance)


def eci_sem_matrix(used, dimension: int, temperature: float) -> np.ndarray:
    """A, from queries that have negatives: (q, p, [(n, overlap), ...]) of vectors of length 1."""
    matrix = np.zeros((dimension, dimension))
    for q, p, own in used:
        for n, overlap in own:
            m = float(q @ p) - float(q @ n)
            consistency = max(0.0, math.tanh(m / (2 * temperature)))
            sigmoid = 1 / (1 + math.exp(-m / temperature))
            locality = 4 * sigmoid * (1 - sigmoid)
            weight = consistency * locality * (1 - overlap)
            residual = (n - p) / math.sqrt(2)
            matrix += weight * np.outer(residual, residual) / len(own) / len(used)
    return matrix


def eci_sem(triples, dimension: int, temperature: float = 0.05, ridge: float = 1.0) -> dict[str, float]:
    """All figures of ``eci_sem/open-1``; a query may have no negatives."""
    used = [triple for triple in triples if triple[2]]
    matrix = eci_sem_matrix(used, dimension, temperature)
    alone = []
    for q, p, own in used:
        single = eci_sem_matrix([(q, p, own)], dimension, temperature)
        alone.append(sum(math.log(1 + dimension * v / ridge) for v in np.linalg.eigvalsh(single)) / dimension)
    eigenvalues = np.linalg.eigvalsh(matrix)
    shares = [value / eigenvalues.sum() for value in eigenvalues if value > 1e-15]
    return {
        "eci_sem": sum(math.log(1 + dimension * max(0.0, v) / ridge) for v in eigenvalues) / dimension,
        "eci_sem_query": sum(alone) / len(alone),
        "eci_sem_trace": float(np.trace(matrix)),
        "eci_sem_effective_rank": math.exp(-sum(v * math.log(v) for v in shares)),
    }


def cosine_pull(q: np.ndarray, d: np.ndarray) -> np.ndarray:
    """∂s(q,d)/∂W at W = 0, of vectors of length 1."""
    s = float(q @ d)
    return np.outer(q, d - s * q) + np.outer(d, q - s * d)


def cross_entropy_pull(q, candidates, wanted, temperature: float) -> np.ndarray:
    """Gradient of −log Σ_{wanted} softmax of s/τ over vectors; `wanted` are places in `candidates`."""
    weights = [math.exp((float(q @ d) - 1) / temperature) for d in candidates]
    right = sum(weights[place] for place in wanted)
    total = np.zeros((len(q), len(q)))
    for place, (d, weight) in enumerate(zip(candidates, weights, strict=True)):
        share = weight / sum(weights) - (weight / right if place in wanted else 0.0)
        total += share / temperature * cosine_pull(q, d)
    return total


def across(one, other, counts) -> float:
    """Mean inner product of the gradients of two queries of different groups, from sums by group."""
    total = pairs = 0.0
    for a, first in enumerate(one):
        for b, second in enumerate(other):
            if a != b:
                total += float((first * second).sum())
                pairs += counts[a] * counts[b]
    return total / pairs


def within_query_auc(first: Rows, second: Rows) -> float:
    """Mean over queries of P(a > b) + ½ P(a = b), a of `first` and b of `second`."""
    found = []
    for one, other in zip(first, second, strict=True):
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in one for b in other]
        found.append(sum(wins) / len(wins))
    return sum(found) / len(found)


def source_information(first: Rows, second: Rows, bins: int = 8) -> float:
    """I(source; similarity centred on the query's mean) over quantile bins, Miller–Madow corrected, in nats."""
    points = []
    for one, other in zip(first, second, strict=True):
        mean = (sum(one) + sum(other)) / (len(one) + len(other))
        points += [(round(x - mean, 9), 0) for x in one] + [(round(x - mean, 9), 1) for x in other]
    edges = [float(np.quantile([x for x, _ in points], place / bins)) for place in range(1, bins)]
    cells: dict[tuple[int, int], int] = {}
    for x, source in points:
        cell = (sum(x >= edge for edge in edges), source)
        cells[cell] = cells.get(cell, 0) + 1
    n = len(points)
    by_bin = {b: sum(count for (other, _), count in cells.items() if other == b) for b, _ in cells}
    by_source = {z: sum(count for (_, other), count in cells.items() if other == z) for _, z in cells}
    plain = sum(
        count / n * math.log(count * n / (by_bin[b] * by_source[z])) for (b, z), count in cells.items()
    )
    return plain - (len(cells) - len(by_bin) - len(by_source) + 1) / (2 * n)


def source_probe(first, second, groups, ridge: float, folds: int = 5):
    """Out-of-fold scores, by query, of documents given as [(number, vector), ...]; two lists of lists.

    Ridge regression as ordinary least squares with √λ·I below the rows.
    """
    scores = [[], []]
    for query in range(len(groups)):
        held = [q for q in range(len(groups)) if groups[q] % folds == groups[query] % folds]
        known = {number for q in held for number, _ in first[q] + second[q]}
        rows, labels = [], []
        for q in range(len(groups)):
            if q in held:
                continue
            mean = sum(vector for _, vector in first[q] + second[q]) / len(first[q] + second[q])
            for label, own in ((1.0, first[q]), (-1.0, second[q])):
                for number, vector in own:
                    if number not in known:
                        rows.append(vector - mean)
                        labels.append(label)
        d = len(rows[0])
        strength = ridge * sum(float(row @ row) for row in rows) / d
        above = np.vstack([np.array(rows), math.sqrt(strength) * np.eye(d)])
        weights = np.linalg.lstsq(above, np.array(labels + [0.0] * d), rcond=None)[0]
        for side, own in enumerate((first[query], second[query])):
            scores[side].append([float(vector @ weights) for _, vector in own])
    return scores
