"""How often intervals of the metrics of directions hold the truth, and how often they see a difference.

Samples of the demo's queries are drawn without replacement, by seed; the truth at a size is the mean over its
samples. Beside the demo's sources stand random negatives drawn a second time: between the two there is no
difference, so an interval of it that excludes 0 is wrong. `eci demo` must have written its rows first.

    eci demo -o demo && python benchmarks/effects.py demo
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from eci import api
from eci.ablation import Remembering
from eci.datasets import read
from eci.datasets.docstrings import docstring_task
from eci.examples import Examples
from eci.intervals import Jackknife
from eci.metrics import alignment, semantic
from eci.miners.random import RandomMiner
from eci.mining import MineSettings, mine
from eci.portions import Portions
from eci.rounds import Scorer
from eci.settings import Settings

RESULT = Path(__file__).parent / "results" / "effects.json"
SOURCES = ("bm25", "counterfactual", "random", "random again")
NAMES = (*semantic.NAMES, *alignment.NAMES)


def examples_of(demo: Path) -> Examples:
    """The demo's sources, and random negatives of another seed."""
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.parquet"
        task = docstring_task(every=2)
        mine(task, RandomMiner(task, seed=1), again, MineSettings(50, label="random again"))
        files = [demo / f"{label}.parquet" for label in SOURCES[:-1]]
        return Examples.from_batches(read([*files, again]))


def sample(examples: Examples, encoder: Any, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Replicates of shape (S, M, 1 + GROUPS), and the sizes of the groups."""
    (scores,) = Scorer(Portions.of(examples, seed), encoder, Settings(sample=size, seed=seed)).rounds()
    return np.array([[found[name] for name in NAMES] for found in scores.values]), scores.group_sizes


def simulate(examples: Examples, encoder: Any, size: int, repeats: int) -> dict[str, Any]:
    """Coverage of every metric and source at one size."""
    drawn = [sample(examples, encoder, size, seed) for seed in range(repeats)]
    values = np.array([found[:, :, 0] for found, _ in drawn])
    halves = np.array(
        [[Jackknife.of(source, sizes).half_widths() for source in found] for found, sizes in drawn]
    )
    defined = np.isfinite(halves)
    held = (np.abs(values - np.nanmean(values, axis=0)) <= halves) & defined
    one, two = SOURCES.index("random"), SOURCES.index("random again")
    apart = np.zeros(len(NAMES))
    for found, sizes in drawn:
        for place in range(len(NAMES)):
            difference, half = Jackknife.of(found[:, place], sizes).difference(one, two)
            apart[place] += abs(difference) > half
    gain = NAMES.index("alignment_gain")
    return {
        "queries": size,
        "repeats": repeats,
        "coverage": {
            source: {
                name: round(float(held[:, s, m].sum() / max(1, defined[:, s, m].sum())), 3)
                for m, name in enumerate(NAMES)
            }
            for s, source in enumerate(SOURCES)
        },
        "alignment_gain": {
            source: {
                "defined": round(float(defined[:, s, gain].mean()), 3),
                "mean": round(float(np.nanmean(values[:, s, gain])), 4),
                "half width": round(float(np.nanmedian(halves[:, s, gain])), 4),
                "above 0": round(float((values[:, s, gain] - halves[:, s, gain] > 0).mean()), 3),
                "below 0": round(float((values[:, s, gain] + halves[:, s, gain] < 0).mean()), 3),
            }
            for s, source in enumerate(SOURCES)
        },
        "random told from random": dict(zip(NAMES, (apart / repeats).round(3).tolist(), strict=True)),
    }


def main() -> None:
    """Simulate and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    examples = examples_of(options.demo)
    with api.prepared_encoder() as encoder:
        kept = Remembering(encoder)
        samples = [simulate(examples, kept, size, options.repeats) for size in (100, 200, 400)]
    result = {
        "command": f"python benchmarks/effects.py demo --repeats {options.repeats}",
        "population": len(examples.queries),
        "nominal": 0.95,
        "samples": samples,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
