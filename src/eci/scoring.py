"""Examples and an encoder in, a result out: batch by batch, stopping when decided."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from eci.decision import Scores, decide, estimates, summarise
from eci.directions import MOST_HELD_OUT
from eci.examples import Examples
from eci.metrics import alignment, semantic
from eci.passing import Engine
from eci.portions import Portions
from eci.ranking import kendall
from eci.results import ScoreResult, listed
from eci.resuming import Checkpoint
from eci.rounds import RIDGE, Scorer
from eci.settings import Corpora, Settings
from eci.tally import GROUPS
from eci.types import Encoder, Progress, silent


def score(
    examples: Examples | Portions,
    encoder: Encoder,
    settings: Settings | None = None,
    progress: Progress = silent,
    corpora: Corpora | None = None,
    checkpoint: Checkpoint | None = None,
    engine: Engine | None = None,
) -> ScoreResult:
    """Score every source of negatives in `examples`.

    Parameters
    ----------
    examples : Examples or Portions
        Of `Portions` with queries that are not in memory, metrics of directions and shortcuts are those of
        the queries that are.
    encoder : Encoder
        Frozen; best the one about to be fine-tuned.
    settings : Settings, optional
    progress : Progress
    corpora : Corpora, optional
    checkpoint : Checkpoint, optional
        Of queries that are not in memory.
    engine : Engine, optional
        What scores those; this process if not given.

    Returns
    -------
    ScoreResult
        Best source first. Its ``data`` holds counts; who read the rows adds where they came from.

    Raises
    ------
    EciError
        There is no negative to score.
    EncoderError
        The encoder gave unusable vectors.
    """
    settings = settings or Settings()
    queries = examples if isinstance(examples, Portions) else Portions.of(examples, settings.seed)
    scorer = Scorer(queries, encoder, settings, corpora, progress, checkpoint, engine)
    for scores in scorer.rounds():
        decision = decide(scores, settings.metric, settings.confidence)
        progress("round", scores.look, scores.looks)
        if decision.decided:
            break
    progress("measuring directions", 0, 0)
    described: dict[str, Any] = {"name": type(encoder).__name__, **getattr(encoder, "describe", dict)()}
    result = summarise(
        scores,
        decision,
        seed=settings.seed,
        confidence=settings.confidence,
        shortcuts=tuple(scorer.shortcuts(progress)) if settings.shortcuts else (),
        provenance={
            "encoder": {**described, "target": settings.target or described["name"]},
            "settings": _settings_record(settings, scores),
            "data": {
                **_data_record(scorer),
                "eci_sem": _semantic_record(scores, scorer),
                "alignment": {
                    **_alignment_record(scores, scorer),
                    "found": (corpora or Corpora()).found(queries.held),
                },
            },
        },
    )
    return result if settings.fixed_n is None else _told_of_limit(result, settings, dict(scorer.totals.short))


def _told_of_limit(result: ScoreResult, settings: Settings, short: dict[str, int]) -> ScoreResult:
    """The result as one of lists that were cut, which it says."""
    size = settings.fixed_n
    how = "the first of the row" if settings.fixed_n_by == "top" else "drawn by seed"
    notes = [f"fixed N: at most {size} negatives of each source of each query, {how}"]
    if short:
        told = listed([f"{label} {times:,}" for label, times in sorted(short.items())])
        notes.append(f"queries that have fewer than {size} negatives of a source: {told}")
    result.data.update(fixed_n_short=short, notes=[*notes, *result.data.get("notes", ())])
    return replace(result, verdict=f"At most {size} negatives ({settings.fixed_n_by}): {result.verdict}")


def _settings_record(settings: Settings, scores: Scores) -> dict[str, Any]:
    return {
        **asdict(settings),
        "groups": GROUPS,
        "interval": "delete-a-group jackknife, 95 %, Student's t",
        "rounds": scores.look,
        "queries_scored": int(scores.group_sizes.sum()),
    }


def _data_record(scorer: Scorer) -> dict[str, Any]:
    queries, totals = scorer.queries, scorer.totals
    held = queries.pieces is None
    record = {
        "rows": queries.rows,
        "queries": len(queries),
        "documents": scorer.documents,
        "word_frequencies_over": scorer.words_over,
        "negatives": len(scorer.examples.source) if held else queries.negatives,
        "identical_to_positive": {label: totals.identical[label] for label in queries.sources},
        "empty_texts": totals.empty_texts,
        "embedded": dict(totals.embedded),
    }
    if not held:
        size = len(queries.held.queries)
        record |= {
            "in_memory": size,
            "notes": [
                "more queries than are held in memory: eci_sem, alignment and shortcuts are of "
                f"{size:,} drawn at random, everything else is of all"
            ],
        }
    return record


def _semantic_record(scores: Scores, scorer: Scorer) -> dict[str, Any]:
    """How the ranking by ``eci_sem`` depends on its temperature."""
    labels, used = scorer.queries.sources, scorer.settings.temperature
    swept = {used: [float(values["eci_sem"][0]) for values in scores.values]}
    for temperature in semantic.TEMPERATURES:
        if temperature != used:
            swept[temperature] = [scorer.semantic_at(number, temperature) for number in range(len(labels))]
    return {
        "definition": semantic.DEFINITION,
        "ridge": RIDGE,
        "temperatures": {
            str(temperature): {
                "values": dict(zip(labels, swept[temperature], strict=True)),
                "kendall": kendall(np.array(swept[used]), np.array(swept[temperature])),
            }
            for temperature in sorted(swept)
        },
    }


def _alignment_record(scores: Scores, scorer: Scorer) -> dict[str, Any]:
    """What the alignment of in-batch negatives alone is, and over what."""
    plain = estimates(scorer.plain(), scores.group_sizes)
    return {
        "none": {name: asdict(estimate) for name, estimate in plain.items()},
        "batch": alignment.BATCH,
        "candidates": scorer.pool,
        "held_out_at_most": MOST_HELD_OUT,
    }
