"""Models that the options of a command name."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eci.models.sentence_transformer import ModelOptions
    from eci.task import Reranker
    from eci.types import Progress

# Options that fit any model; the others belong to one.
_FOR_ALL = ("--precision", "--device", "--trust-remote-code")


@dataclass
class Models:
    """The models of a command, loaded with its options, until `stack` closes."""

    stack: ExitStack
    loading: ModelOptions
    cache: bool
    progress: Progress
    names: list[str] = field(default_factory=list)

    def encoder(self, name: str) -> Any:
        """An encoder by name."""
        from eci.models.loading import prepared_encoder

        self._note(name)
        return self.stack.enter_context(prepared_encoder(name, self.loading, self.cache, self.progress))

    def reranker(self, name: str) -> Reranker:
        """A reranker by name."""
        from eci.models.loading import prepared_reranker

        self._note(name)
        return self.stack.enter_context(prepared_reranker(name, self.loading, self.cache, self.progress))

    def teacher(self, name: str) -> Reranker:
        """The model that ``--teacher`` names."""
        from eci.miners.reranked import EncoderReranker

        kind, colon, rest = name.partition(":")
        if colon and kind == "reranker":
            if not rest:
                raise click.UsageError("--teacher reranker: lacks a name, as in reranker:late-interaction.")
            return self.reranker(rest)
        return self.reranker(name) if kind == "late-interaction" else EncoderReranker(self.encoder(name))

    def refuse_unused(self) -> None:
        """Raise a usage error if there are options for models and no model."""
        from eci.models.sentence_transformer import ModelOptions

        if not self.names and self.loading != ModelOptions():
            raise click.UsageError(
                f"No model is loaded, so {', '.join(_given(self.loading))} would do nothing. Leave it out, "
                "or name a model."
            )

    def _note(self, name: str) -> None:
        own = [option for option in _given(self.loading) if option not in _FOR_ALL]
        if own and self.names:
            raise click.UsageError(
                f"{', '.join(own)} would go to {self.names[0]} and to {name}. Load one model at a time: mine "
                "without --teacher, then eci filter with it."
            )
        self.names.append(name)


def _given(loading: ModelOptions) -> list[str]:
    """The options that differ from the defaults."""
    from eci.models.sentence_transformer import ModelOptions

    default, names = asdict(ModelOptions()), asdict(loading)
    changed = [name for name, value in names.items() if value != default[name]]
    return [f"--{name.removesuffix('s').replace('_', '-')}" for name in changed]
