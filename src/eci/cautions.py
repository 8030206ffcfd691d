"""What a reader of a result should be careful of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eci import metrics
from eci.metrics import alignment
from eci.ranking import ranking
from eci.results import SourceResult, count, listed

# Fewer queries than this, and 95 % intervals hold the truth less often: benchmarks/intervals.py.
_FEW = 200


def cautions(
    sources: list[SourceResult],
    shortcuts: Sequence[dict[str, Any]],
    metric: str,
    queries: int,
    provenance: dict[str, dict[str, Any]],
) -> list[str]:
    """Warnings about sources, best first by `metric`, over so many queries; the others as in results."""
    found = [*_unfair(sources, metric), *_mislabelled(sources, provenance["data"])]
    for pair in shortcuts:
        if pair["light"] in ("suspicious", "separable"):
            telltale = _TELLTALES.get(pair["because"], pair["because"])
            found.append(
                f"{pair['first']} and {pair['second']} differ in {telltale} whatever the query "
                f"({pair['light']}): trained together, a model can learn the source instead of relevance."
            )
    if queries < _FEW:
        found.append(
            f"Only {count(queries, 'query')}: below {_FEW} the intervals are too narrow (docs/metrics.md)."
        )
    encoder = provenance["encoder"]
    if _model(encoder["target"]) != _model(encoder["name"]):
        found.append(
            f"Scored with {encoder['name']}, to fine-tune {encoder['target']}: a ranking by another encoder, "
            "above all of another family, need not hold for it."
        )
    found += strange_candidates(provenance["data"]["alignment"]["found"])
    return found + _undefined(sources)


def strange_candidates(found: dict[str, int]) -> list[str]:
    """A warning where candidates are hardly the corpus that the rows are from.

    Parameters
    ----------
    found : dict of str to int
        What `eci.settings.Corpora.found` gives; empty without candidates.
    """
    if not found or found["in_candidates"] >= 0.9 * found["positives"]:
        return []
    return [
        f"Only {found['in_candidates']:,} of {count(found['positives'], 'positive')} are documents of the "
        "candidates: another corpus, or its texts in another form (title, space, text). A positive in "
        "another form is ranked as one more document, which no judgement knows."
    ]


_TELLTALES = {
    "probe": "what a linear probe sees in their vectors",
    "pure": "clusters that one of them has alone",
    "digits": "their share of digits",
    "punctuation": "their share of punctuation",
    "type_token": "how often words repeat",
}


def _model(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def _undefined(sources: list[SourceResult]) -> list[str]:
    found = []
    for name in metrics.NAMES:
        lacking = [entry.source for entry in sources if math.isnan(entry.values[name].value)]
        if lacking:
            found.append(
                f"null: {name} of {listed(lacking)}: {_REASONS.get(name, 'no query has negatives')}."
            )
    bare = [entry.source for entry in sources if math.isnan(entry.values["signal"].low)]
    if bare:
        found.append(
            f"null: intervals of {listed(bare)}: its queries lie in fewer than two jackknife groups."
        )
    wide = [
        entry.source
        for entry in sources
        if math.isnan(entry.values["alignment_gain"].low)
        and not math.isnan(entry.values["alignment_gain"].value)
        and entry.source not in bare
    ]
    if wide:
        found.append(
            f"null: intervals of alignment and alignment_gain of {listed(wide)}: without some group of "
            "queries a gradient cannot be told from noise."
        )
    unsure = [entry.source for entry in sources if math.isnan(entry.probability_best)]
    if unsure:
        found.append(
            f"null: probability_best of {listed(unsure)}: no interval, or no other source to compare with."
        )
    return found


_REASONS = {
    "reranker_score": "the rows carry no score for positives and negatives by one scorer",
    "lexical_overlap_query": "the queries hold no words",
    "lexical_overlap_positive": "the positives hold no words",
    "eci_sem_effective_rank": "no negative is below its positive",
    **dict.fromkeys(alignment.NAMES, "a gradient vanishes, or cannot be told from noise with so few queries"),
}


def _unfair(sources: list[SourceResult], metric: str) -> list[str]:
    found = []
    sizes = {entry.source: entry.negatives / entry.queries for entry in sources if entry.queries}
    if sizes and max(sizes.values()) > 2 * min(sizes.values()):
        told = ", ".join(f"{source} {size:.1f}".removesuffix(".0") for source, size in sizes.items())
        found.append(
            "ln(1+N) alone can make the ranking, for N differs by more than 2×, and eci_sem is fair only at "
            f"equal N. Compare with --fixed-n before believing it. N: {told}."
        )
    partial = [f"{entry.source} {entry.coverage:.1%}" for entry in sources if entry.coverage < 1]
    if partial:
        found.append(f"Not every query has negatives of every source ({', '.join(partial)} of the queries).")
        common = [entry.common[metric].value for entry in sources]
        if np.isnan(common).all():
            found.append(
                "No query is covered by every source: the sources are not compared on the same queries."
            )
        else:
            sign = -1.0 if metric in metrics.LOWER_IS_BETTER else 1.0
            best = sources[ranking(sign * np.array(common))[0]].source
            if best != sources[0].source:
                found.append(f"Over the queries that every source covers, {best} ranks first instead.")
    return found


def _mislabelled(sources: list[SourceResult], data: dict[str, Any]) -> list[str]:
    found = []
    above = {entry.source: entry.values["violation_rate"].value for entry in sources}
    told = [f"{source} {rate:.1%}" for source, rate in above.items() if rate > 0]
    if told:
        found.append(f"Negatives above their positive, perhaps false negatives: {', '.join(told)}.")
    equal = [f"{source} {times:,}" for source, times in data["identical_to_positive"].items() if times]
    if equal:
        found.append(f"Negatives identical to a positive of their query: {', '.join(equal)}. Remove them.")
    if data["empty_texts"]:
        found.append(f"Empty texts are among the queries and documents: {data['empty_texts']:,}.")
    return found
