"""Run by `make test-numpy` where nothing but numpy is installed: the metrics work on plain arrays."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import sys
from pathlib import Path

ABSENT = ("pyarrow", "orjson", "click", "scipy", "pandas", "torch")
MODULES = (
    "metrics",
    "metrics.eci",
    "metrics.baselines",
    "metrics.batch",
    "metrics.semantic",
    "metrics.alignment",
    "metrics.shortcut",
    "metrics.contrast",
    "metrics.clusters",
    "metrics.cues",
    "metrics.phrases",
    "ranking",
    "results",
    "tally",
    "intervals",
    "ragged",
    "lexical",
)


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
    for name in ABSENT:
        if importlib.util.find_spec(name):
            sys.exit(f"{name} is installed here; this job proves something only without it")

    import numpy as np

    import eci

    positive = np.array([[0.9], [0.8], [0.7]])
    negative = np.array([[0.5, 0.7], [0.3, 0.5], [0.2, 0.1]])
    signal, margin = negative.mean(), (positive.max(axis=1) - negative.max(axis=1)).mean()
    by_hand = np.log(3) * 2 * signal * margin / (signal + margin)
    checks = [
        abs(eci.evaluate(positive, negative)["eci"] - by_hand) < 1e-12,
        abs(eci.eci_score(positive, negative) - by_hand) < 1e-12,
    ]
    passed, failed = sum(checks), len(checks) - sum(checks)
    for name in MODULES:
        outcome = doctest.testmod(importlib.import_module(f"eci.{name}"))
        passed, failed = passed + outcome.attempted - outcome.failed, failed + outcome.failed
    sys.stdout.write(f"{passed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
