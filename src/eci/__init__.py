"""eci: know what hard negatives are worth before training on them.

The public names are loaded on first use, so that importing ``eci`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eci.ablation import Ablation, AblationSettings
    from eci.api import ablate, compare, score
    from eci.association import Measures
    from eci.comparison import Comparison
    from eci.datasets import ReadOptions
    from eci.errors import (
        CacheError,
        DataError,
        EciError,
        EncoderError,
        LayoutError,
        MissingDependency,
        OutputError,
    )
    from eci.metrics import eci_score, evaluate
    from eci.models.sentence_transformer import ModelOptions
    from eci.results import Estimate, ScoreResult, SourceResult
    from eci.settings import Settings
    from eci.types import Encoder

_WHERE = {
    "Ablation": "eci.ablation",
    "AblationSettings": "eci.ablation",
    "CacheError": "eci.errors",
    "Comparison": "eci.comparison",
    "DataError": "eci.errors",
    "EciError": "eci.errors",
    "Encoder": "eci.types",
    "EncoderError": "eci.errors",
    "Estimate": "eci.results",
    "LayoutError": "eci.errors",
    "Measures": "eci.association",
    "MissingDependency": "eci.errors",
    "ModelOptions": "eci.models.sentence_transformer",
    "OutputError": "eci.errors",
    "ReadOptions": "eci.datasets",
    "ScoreResult": "eci.results",
    "Settings": "eci.settings",
    "SourceResult": "eci.results",
    "ablate": "eci.api",
    "compare": "eci.api",
    "eci_score": "eci.metrics",
    "evaluate": "eci.metrics",
    "score": "eci.api",
}

__all__ = [
    "Ablation",
    "AblationSettings",
    "CacheError",
    "Comparison",
    "DataError",
    "EciError",
    "Encoder",
    "EncoderError",
    "Estimate",
    "LayoutError",
    "Measures",
    "MissingDependency",
    "ModelOptions",
    "OutputError",
    "ReadOptions",
    "ScoreResult",
    "Settings",
    "SourceResult",
    "ablate",
    "compare",
    "eci_score",
    "evaluate",
    "score",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("eci")
    if name not in _WHERE:
        raise AttributeError(f"module 'eci' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
