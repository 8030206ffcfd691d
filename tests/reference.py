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
