"""What a typed program sees of the public API. Never run: `make check` holds it to ``mypy --strict``.

``assert_type`` fails as soon as a name loses its type (becomes Any) or changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import eci

if TYPE_CHECKING:  # Python 3.10 has no such name
    from typing import assert_type


class Lengths:
    """An encoder of one's own, which satisfies the Protocol without inheriting from it."""

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode_query(texts)


def metrics() -> None:
    assert_type(eci.__version__, str)
    values = eci.evaluate(positive=[[0.9], [0.8]], negative=[[0.5, 0.7], [0.3, 0.9]])
    assert_type(values["eci"], float)
    assert_type(eci.eci_score([[0.9]], [[0.5]]), float)


def scoring() -> None:
    settings = eci.Settings(metric="signal", until_decided=True)
    loading = eci.ModelOptions(prompts={"query": "query: "})
    encoder: eci.Encoder = Lengths()
    result = eci.score("train.jsonl", encoder, settings=settings, loading=loading, cache=Path("cache"))
    assert_type(result, eci.ScoreResult)
    assert_type(result.best, eci.SourceResult)
    assert_type(result["train"].values["eci"], eci.Estimate)
    assert_type(result["train"].values["eci"].low, float)
    assert_type(result.verdict, str)
    assert_type(result.decided, bool)
    assert_type(eci.ScoreResult.from_json(result.to_json()), eci.ScoreResult)
    assert_type(eci.compare(["a.jsonl"], ["hashing", encoder]), eci.Comparison)
    assert_type(eci.ablate(["a.jsonl"], ["hashing"]), eci.Ablation)
    assert_type(eci.probe("a.jsonl", settings=eci.ProbeSettings()), eci.ProbeResult)


def auditing() -> None:
    known = eci.Judgements.read([Path("qrels.tsv")])
    result = eci.audit_rows("rows.jsonl", settings=eci.AuditSettings(false_negative=0.9), known=known)
    assert_type(result, eci.AuditResult)
    assert_type(result["likely_false_negative"].share, float)
    selected = eci.select("rows.jsonl", "out.jsonl", settings=eci.SelectSettings(4))
    assert_type(selected.table(), str)


def validating() -> None:
    experiment = eci.Experiment.read(Path("plan.toml"))
    assert_type(experiment, eci.Experiment)
    assert_type(eci.validate(experiment, "out"), eci.Outcome)


def failing() -> None:
    try:
        eci.score("rows.jsonl")
    except eci.MissingDependency as error:
        assert_type(error, eci.MissingDependency)
    except (eci.DataError, eci.LayoutError, eci.EncoderError, eci.CacheError, eci.OutputError):
        raise
    except eci.ChatError as error:
        assert_type(error.hint, str)
        assert_type(error.retryable, bool)
    except eci.EciError:
        raise


def wrong() -> None:
    # Each of these must be an error: `warn_unused_ignores` of strict mode fails where one is not.
    eci.score("rows.jsonl", settings={"metric": "eci"})  # type: ignore[arg-type]
    eci.score("rows.jsonl", "hashing", eci.Settings())  # type: ignore[call-arg]
    eci.evaluate([[0.9]], [[0.5]]).eci  # type: ignore[attr-defined]  # noqa: B018
    eci.SelectSettings()  # type: ignore[call-arg]
    eci.no_such_name  # type: ignore[attr-defined]  # noqa: B018
