"""What to train on: whose negatives, how many, how, and until when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from eci.errors import DataError, EciError
from eci.examples import Examples
from eci.results import listed
from eci.training.finetune import Stopping, Training
from eci.training.rows import Drawing

NONE = "none"


@dataclass(frozen=True)
class TrainSettings:
    """What to train on, and how.

    Parameters
    ----------
    sources : tuple of str
        Whose negatives; those of several stand side by side in a row. ``none`` for in-batch negatives alone.
        Empty: the one source of the rows, or ``none`` where they have no negatives.
    hard_negatives : int
        Of each source in a row.
    training, rows : Training, Drawing
    stopping : Stopping, optional
        Without it every step is taken, and the last weights are kept.
    checkpoint_every : int, optional
        Steps; a tenth of the run when None. With `stopping`, every evaluation is kept instead.
    """

    sources: tuple[str, ...] = ()
    hard_negatives: int = 1
    training: Training = Training()  # noqa: RUF009
    rows: Drawing = Drawing()  # noqa: RUF009
    stopping: Stopping | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        twice = [label for label, times in Counter(self.sources).items() if times > 1]
        if twice:
            raise EciError(f"the source {listed(twice)} stands there twice. Give each one once.")
        if NONE in self.sources and len(self.sources) > 1:
            raise EciError(f"{NONE} means in-batch negatives alone, and goes with no other source.")
        if self.hard_negatives < 1:
            raise EciError(
                f"hard_negatives is at least 1, got {self.hard_negatives}. For none: source {NONE}."
            )
        if self.checkpoint_every is not None and (self.stopping or self.checkpoint_every < 1):
            raise EciError(
                f"checkpoint_every is at least 1, got {self.checkpoint_every}, and goes without held-out "
                "queries (stopping): with them every evaluation is kept, and Stopping.every says how often."
            )

    def wanted(self, examples: Examples) -> dict[str, int]:
        """How many negatives of which source a row has.

        Raises
        ------
        DataError
            The rows lack a source, have several to choose from, or no list of a source is long enough.
        EciError
            A generated source is not trained on, or stands there without another one.
        """
        chosen = self.sources or examples.sources
        if not self.sources and len(chosen) > 1:
            raise DataError(
                f"the rows have the sources {listed(chosen)}. Choose whose negatives to train on, or {NONE}."
            )
        wanted = {label: self.hard_negatives for label in chosen if label != NONE}
        lacking = [label for label in wanted if label not in examples.sources]
        if lacking:
            known = listed(examples.sources) if examples.sources else "no negatives"
            raise DataError(f"the rows have no source {listed(lacking)}. They have {known}.")
        generated = self.training.generated
        strange = [label for label in generated if label not in wanted]
        if strange or (generated and not set(wanted) - set(generated)):
            raise EciError(
                f"generated sources are {listed(generated)}, and trained on are "
                f"{listed(tuple(wanted)) if wanted else NONE}. The entropy term needs both among these: "
                "generated ones, and others."
            )
        for label in wanted:
            own = examples.negatives.keep(examples.source == examples.sources.index(label)).lengths
            if own.max() < self.hard_negatives:
                raise DataError(
                    f"no query has {self.hard_negatives} negatives of {label}; the most are {own.max()}, and "
                    f"{int((own == 0).sum()):,} of {len(own):,} queries have none. Ask for fewer."
                )
        return wanted
