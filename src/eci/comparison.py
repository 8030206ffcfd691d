"""The same rows scored with several encoders, and how far the rankings agree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from eci import metrics
from eci.ranking import kendall
from eci.results import ScoreResult, of_schema, plain
from eci.tables import column

SCHEMA = "eci.comparison/1"


@dataclass(frozen=True)
class Comparison:
    """Results of the same rows, encoder by encoder.

    Parameters
    ----------
    encoders : tuple of E str
        How each encoder was asked for, no two the same.
    results : tuple of E ScoreResult
        In the same order.
    """

    encoders: tuple[str, ...]
    results: tuple[ScoreResult, ...]

    @property
    def metric(self) -> str:
        """What ranks the sources."""
        return str(self.results[0].settings["metric"])

    @property
    def agreement(self) -> tuple[dict[str, Any], ...]:
        """For each two encoders ``encoders`` and ``kendall``: Kendall's tau-b by metric, NaN if undefined."""
        return tuple(
            {
                "encoders": [self.encoders[one], self.encoders[two]],
                "kendall": agreement(self.results[one], self.results[two]),
            }
            for one, two in combinations(range(len(self.results)), 2)
        )

    def __getitem__(self, encoder: str) -> ScoreResult:
        if encoder not in self.encoders:
            raise KeyError(f"no encoder {encoder!r}; there are {', '.join(self.encoders)}")
        return self.results[self.encoders.index(encoder)]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists in the form ``eci.comparison/1``; undefined numbers are None."""
        return {
            "schema": SCHEMA,
            "metric": self.metric,
            "encoders": list(self.encoders),
            "agreement": plain(self.agreement),
            "results": [result.to_dict() for result in self.results],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The comparison as JSON text (``eci.comparison/1``)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Comparison:
        """Read back what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is not a comparison of the schema ``eci.comparison/1``.
        """
        loaded = of_schema(text, SCHEMA, ("encoders", "results"))
        results = tuple(ScoreResult.from_json(json.dumps(entry)) for entry in loaded["results"])
        if not results or len(loaded["encoders"]) != len(results):
            raise ValueError(f"a comparison of schema {SCHEMA!r} has one result an encoder, at least one")
        return cls(tuple(loaded["encoders"]), results)

    def to_frame(self) -> Any:
        """One row an encoder and source as a pandas DataFrame; columns as in `ScoreResult.to_frame`."""
        import pandas as pd

        frames = [result.to_frame() for result in self.results]
        return pd.concat(dict(zip(self.encoders, frames, strict=True)), names=["encoder"])

    def __repr__(self) -> str:
        tables = [
            f"{encoder}\n{result.table()}\n\n{result.verdict}"
            for encoder, result in zip(self.encoders, self.results, strict=True)
        ]
        return "\n\n".join([*tables, self.agreement_text()])

    def agreement_text(self) -> str:
        """Kendall's tau of the rankings by the chosen metric, a line for each two encoders."""
        if not self.agreement:
            return ""
        lines = [f"Kendall's τ of the rankings by {self.metric}, of {len(self.results[0].sources)} sources:"]
        width = max(map(len, self.encoders))
        for entry in self.agreement:
            one, two = entry["encoders"]
            tau = entry["kendall"][self.metric]
            lines.append(f"  {one:{width}}  {two:{width}}  {'–' if np.isnan(tau) else f'{tau:+.2f}'}")
        return "\n".join(lines)


def agreement(one: ScoreResult, two: ScoreResult) -> dict[str, float]:
    """Kendall's tau-b of two rankings of the same sources, by metric; NaN where it is undefined."""
    labels = sorted(entry.source for entry in one.sources)
    known = [name for name in metrics.NAMES if name in one.best.values and name in two.best.values]
    return {name: kendall(column(one, name, labels), column(two, name, labels)) for name in known}
