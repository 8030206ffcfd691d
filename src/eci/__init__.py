"""eci: know what hard negatives are worth before training on them.

The public names are loaded on first use, so that importing ``eci`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eci.ablation import Ablation, AblationSettings
    from eci.api import ablate, compare, probe, score
    from eci.association import Measures
    from eci.audit.collecting import Judgements
    from eci.audit.issues import AuditSettings
    from eci.audit.judging import Judge
    from eci.audit.result import AuditResult
    from eci.chat.settings import ChatSettings
    from eci.comparison import Comparison
    from eci.datasets import ReadOptions
    from eci.errors import (
        CacheError,
        ChatError,
        DataError,
        EciError,
        EncoderError,
        EngineError,
        LayoutError,
        MissingDependency,
        OutputError,
    )
    from eci.metrics import eci_score, evaluate
    from eci.models.sentence_transformer import ModelOptions
    from eci.probe_material import ProbeSettings
    from eci.probed import ProbeResult
    from eci.repairing import audit_rows, select
    from eci.results import Estimate, ScoreResult, SourceResult
    from eci.selection import SelectSettings
    from eci.settings import RaySettings, Settings
    from eci.training.settings import TrainSettings
    from eci.training.train import train
    from eci.types import Encoder
    from eci.validation.evaluation import Evaluation, evaluate_retrieval
    from eci.validation.experiment import Experiment
    from eci.validation.findings import Outcome
    from eci.validation.judged import JudgedCollection
    from eci.validation.running import validate

    __version__: str

_WHERE = {
    "Ablation": "eci.ablation",
    "AblationSettings": "eci.ablation",
    "AuditResult": "eci.audit.result",
    "AuditSettings": "eci.audit.issues",
    "CacheError": "eci.errors",
    "ChatError": "eci.errors",
    "ChatSettings": "eci.chat.settings",
    "Comparison": "eci.comparison",
    "DataError": "eci.errors",
    "EciError": "eci.errors",
    "Encoder": "eci.types",
    "EncoderError": "eci.errors",
    "EngineError": "eci.errors",
    "Estimate": "eci.results",
    "Evaluation": "eci.validation.evaluation",
    "Experiment": "eci.validation.experiment",
    "Judge": "eci.audit.judging",
    "JudgedCollection": "eci.validation.judged",
    "Judgements": "eci.audit.collecting",
    "LayoutError": "eci.errors",
    "Measures": "eci.association",
    "MissingDependency": "eci.errors",
    "ModelOptions": "eci.models.sentence_transformer",
    "Outcome": "eci.validation.findings",
    "OutputError": "eci.errors",
    "ProbeResult": "eci.probed",
    "ProbeSettings": "eci.probe_material",
    "RaySettings": "eci.settings",
    "ReadOptions": "eci.datasets",
    "ScoreResult": "eci.results",
    "SelectSettings": "eci.selection",
    "Settings": "eci.settings",
    "SourceResult": "eci.results",
    "TrainSettings": "eci.training.settings",
    "ablate": "eci.api",
    "audit_rows": "eci.repairing",
    "compare": "eci.api",
    "eci_score": "eci.metrics",
    "evaluate": "eci.metrics",
    "evaluate_retrieval": "eci.validation.evaluation",
    "probe": "eci.api",
    "score": "eci.api",
    "select": "eci.repairing",
    "train": "eci.training.train",
    "validate": "eci.validation.running",
}

__all__ = [
    "Ablation",
    "AblationSettings",
    "AuditResult",
    "AuditSettings",
    "CacheError",
    "ChatError",
    "ChatSettings",
    "Comparison",
    "DataError",
    "EciError",
    "Encoder",
    "EncoderError",
    "EngineError",
    "Estimate",
    "Evaluation",
    "Experiment",
    "Judge",
    "JudgedCollection",
    "Judgements",
    "LayoutError",
    "Measures",
    "MissingDependency",
    "ModelOptions",
    "Outcome",
    "OutputError",
    "ProbeResult",
    "ProbeSettings",
    "RaySettings",
    "ReadOptions",
    "ScoreResult",
    "SelectSettings",
    "Settings",
    "SourceResult",
    "TrainSettings",
    "ablate",
    "audit_rows",
    "compare",
    "eci_score",
    "evaluate",
    "evaluate_retrieval",
    "probe",
    "score",
    "select",
    "train",
    "validate",
]


if not TYPE_CHECKING:  # to a type checker every name would exist, and be Any

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("eci")
        if name not in _WHERE:
            raise AttributeError(f"module 'eci' has no attribute {name!r}")
        return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
