"""What metrics say of the sources of an experiment, and what it cost them to say it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from eci.ablation import Remembering
from eci.atomic import atomic_path
from eci.datasets.collection import document_texts_of
from eci.errors import DataError
from eci.metrics import LOWER_IS_BETTER
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import ModelOptions
from eci.probe_material import ProbeSettings, drawn
from eci.probed import ProbeResult
from eci.probing import probe
from eci.results import ScoreResult
from eci.scoring import score
from eci.settings import Corpora, Settings
from eci.training.settings import NONE
from eci.types import Encoder, Progress, silent
from eci.validation.cells import Bench
from eci.validation.experiment import TARGET
from eci.validation.observations import MetricValues
from eci.validation.sources import digest_of, settled

SCHEMA = "eci.scores/1"
# Of the name of an encoder, in that of a file.
_MOST_LETTERS = 50

# N = 0 gives 0 by definition; of the others those have an opinion that in-batch negatives were measured by.
_ZERO = ("capacity", "eci", "eci_query", "eci_mean_margin", "arithmetic", "eci_sem", "eci_sem_trace")
_GAINS = ("alignment_gain", "alignment_dot_gain")


@dataclass(frozen=True)
class Scored:
    """The sources of a collection under one encoder.

    Parameters
    ----------
    encoder : str
        ``target`` for the model that is trained.
    score : ScoreResult
    probe : ProbeResult
    seconds : dict of str to float
        ``embedding`` of every text, none of them cached, ``score`` and ``probe`` beside it.
    """

    encoder: str
    score: ScoreResult
    probe: ProbeResult
    seconds: Mapping[str, float]

    def metrics(self) -> list[MetricValues]:
        """Every metric by source, with what it says of ``none``."""
        result, cost = self.score, self.seconds["embedding"] + self.seconds["score"]
        verdicts = {effect["source"]: effect["verdict"] for effect in result.effects}
        without = result.data["alignment"]["none"]
        found = []
        for name in result.sources[0].values:
            values = {entry.source: entry.values[name].value for entry in result.sources}
            if name in _ZERO or name in _GAINS:
                values[NONE] = 0.0
            elif name in without:
                known = without[name]["value"]
                values[NONE] = math.nan if known is None else known
            told = verdicts if name == "alignment_gain" else {}
            if all(map(math.isnan, values.values())):
                continue
            found.append(MetricValues(name, values, name not in LOWER_IS_BETTER, told, cost))
        probed = {entry.source: entry for entry in self.probe.sources}
        told = {label: entry.verdict for label, entry in probed.items()}
        values = {label: entry.ndcg.value for label, entry in probed.items()}
        values[NONE] = self.probe.none.ndcg.value
        cost = self.seconds["embedding"] + self.seconds["probe"]
        return [*found, MetricValues("probe", values, True, told, cost)]


def scored(bench: Bench, encoder: str, progress: Progress = silent) -> Scored:
    """Score the sources of a collection, or read what an earlier run kept.

    Parameters
    ----------
    bench : Bench
    encoder : str
        ``target``, or a name as for ``eci score --encoder``.
    progress : Progress
    """
    plan = bench.experiment.model
    name, loading = (plan.name, plan.options()) if encoder == TARGET else (encoder, ModelOptions())
    loading = replace(loading, device=bench.device)
    with prepared_encoder(name, loading, False, progress) as ready:
        model: dict[str, Any] = getattr(ready, "describe", dict)()
        model.pop("versions", None)
        settings, probing = _as_trained(bench)
        corpora = Corpora(drawn(document_texts_of(bench.corpus), probing))
        told = [model, settled(settings), settled(probing), [digest for _, digest in bench.sources.values()]]
        told.append(digest_of(corpora.candidates))
        stem = f"{bench.plan.name}-{encoder.replace('/', '--')[-_MOST_LETTERS:]}-{digest_of(told)}"
        path = bench.folder / "scores" / f"{stem}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            measured = _measured(bench, ready, (settings, probing, corpora), progress)
            with atomic_path(path) as temporary:
                temporary.write_bytes(orjson.dumps(measured) + b"\n")
    try:
        kept = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: is no JSON. Remove it: it will be made again.") from error
    return Scored(
        encoder,
        ScoreResult.from_json(json.dumps(kept["score"])),
        ProbeResult.from_json(json.dumps(kept["probe"])),
        kept["seconds"],
    )


def _as_trained(bench: Bench) -> tuple[Settings, ProbeSettings]:
    """How to score and to probe: with the loss, the batches and the rows that the cells are trained with."""
    experiment, queries = bench.experiment, bench.plan.queries
    temperature = experiment.training.temperature
    probing = ProbeSettings(
        hard_negatives=experiment.hard_negatives,
        batch=experiment.training.batch_size,
        temperature=temperature,
    )
    if queries:
        probing = replace(probing, sample=queries)
    return Settings(sample=queries, temperature=temperature, shortcuts=False), probing


def _measured(
    bench: Bench, ready: Encoder, how: tuple[Settings, ProbeSettings, Corpora], progress: Progress
) -> dict[str, Any]:
    """Score and probe, with what they took; no vector is taken from a cache."""
    settings, probing, corpora = how
    timed = _Timed(ready)
    # The probe gets the vectors that scoring asked for; both draw the same queries.
    encoder, began = Remembering(timed), time.perf_counter()
    scores = score(bench.examples, encoder, settings, progress, corpora)
    score_took, embedding = time.perf_counter() - began, timed.seconds
    began = time.perf_counter()
    probed = probe(bench.examples, encoder, probing, progress, corpora)
    probe_took = time.perf_counter() - began
    seconds = {
        "embedding": embedding,
        "score": score_took - embedding,
        "probe": probe_took - (timed.seconds - embedding),
    }
    return {
        "schema": SCHEMA,
        "seconds": seconds,
        "score": scores.to_dict(),
        "probe": probed.to_dict(),
    }


class _Timed:
    """An encoder that knows how long it has worked."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.seconds = 0.0

    def encode_query(self, texts: Sequence[str]) -> Any:
        return self._took(self._encoder.encode_query, texts)

    def encode_document(self, texts: Sequence[str]) -> Any:
        return self._took(self._encoder.encode_document, texts)

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = getattr(self._encoder, "describe", dict)()
        return found

    def _took(self, function: Any, texts: Sequence[str]) -> Any:
        began = time.perf_counter()
        vectors = function(texts)
        self.seconds += time.perf_counter() - began
        return vectors
