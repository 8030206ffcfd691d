"""What was measured, for who reads a page: out of docs/validation.md and docs/audit.md.

`KENDALL` is each metric's τ with nDCG@10 over 14 sources, `RIGHT` the least and the largest share of the
likely false negatives that were hidden answers, by where the weights were learned.
"""

from __future__ import annotations

CASES = (
    "SciFact, 3 layers",
    "NFCorpus, 3 layers",
    "docstrings, 3 layers",
    "SciFact, all layers",
    "NFCorpus, all layers",
)
NOISE_ALLOWS = (0.80, 0.75, 0.81, 0.78, 0.75)
KENDALL = {
    "probe": (0.71, 0.58, 0.74, 0.58, 0.71),
    "alignment_dot": (0.08, 0.60, 0.63, 0.30, 0.49),
    "eci_sem_query": (0.10, 0.52, 0.43, 0.63, 0.41),
    "alignment_dot_gain": (0.08, 0.49, 0.63, 0.36, 0.52),
    "alignment_gain": (0.19, 0.49, 0.52, 0.10, 0.52),
    "alignment": (0.19, 0.49, 0.58, 0.08, 0.47),
    "eci_sem": (0.14, 0.27, 0.52, 0.60, 0.21),
    "eci_sem_trace": (0.14, 0.30, 0.49, 0.60, 0.21),
    "violation_rate_95": (0.03, 0.49, 0.32, 0.12, 0.65),
    "eci": (-0.01, 0.56, 0.23, 0.12, 0.67),
    "eci_sem_effective_rank": (0.63, -0.01, 0.54, 0.63, -0.34),
    "eci_query": (-0.01, 0.49, 0.23, 0.10, 0.63),
    "margin_mean": (-0.03, 0.38, 0.36, -0.08, 0.47),
    "margin_max": (0.05, 0.32, 0.14, 0.10, 0.47),
    "eci_mean_margin": (-0.01, 0.49, 0.34, 0.08, 0.19),
    "efficiency": (0.05, 0.32, 0.14, 0.16, 0.38),
    "capacity": (0.20, 0.25, 0.14, -0.05, 0.45),
    "arithmetic": (0.41, 0.01, -0.14, 0.32, 0.16),
    "score_variance": (-0.03, -0.12, 0.56, -0.08, -0.27),
    "score_variance_estimate": (0.12, 0.05, -0.12, 0.08, -0.08),
    "gradient_norm_estimate": (0.23, -0.19, -0.08, 0.03, -0.30),
    "violation_rate": (-0.76, 0.27, 0.14, -0.43, 0.30),
    "infonce_loss": (0.25, -0.21, -0.25, -0.01, -0.38),
    "signal": (0.01, -0.32, -0.25, 0.08, -0.43),
    "gradient_norm": (0.19, -0.32, -0.23, -0.19, -0.47),
    "lexical_overlap_query": (-0.19, -0.25, -0.69, -0.21, -0.32),
    "lexical_overlap_positive": (-0.16, -0.56, -0.54, -0.14, -0.60),
}
RIGHT = {"these rows": (0.38, 0.76), "other collections": (0.26, 0.50)}
