"""Negatives that a chat model writes, from a task to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from eci.chat.asking import ChatAsker
from eci.chat.counting import Estimate, estimate
from eci.chat.journal import files_of
from eci.chat.settings import ChatSettings
from eci.datasets import write
from eci.datasets.layouts import BEIR
from eci.datasets.rows import Rows
from eci.datasets.side_files import refuse_breaks
from eci.datasets.writing import refuse
from eci.errors import DataError, EciError
from eci.examples import is_label
from eci.generating.asking import ask_all
from eci.generating.inspecting import Checks
from eci.generating.result import GenerateResult
from eci.generating.samples import Samples
from eci.generating.steps import Generator, expected, opened
from eci.generating.writing import Assembly, Tally
from eci.results import count, plain
from eci.task import Reranker
from eci.types import Progress, silent

# Tokens of an English word, about.
_TOKENS = 1.3


@dataclass(frozen=True)
class GenerateSettings:
    """What to make of what is written.

    Parameters
    ----------
    checks : Checks
    label : str, optional
        The source of the negatives; ``llm-`` and the name of the generator when None.
    layout : str
        Of the output, one of ``datasets.LAYOUT_NAMES``.
    """

    checks: Checks = field(default_factory=Checks)
    label: str | None = None
    layout: str = "eci"

    def __post_init__(self) -> None:
        if self.label is not None and not is_label(self.label):
            raise EciError(
                f"The label {self.label!r} is empty or holds characters that do not print. "
                "Leave it out for the generator's own."
            )


@dataclass(frozen=True)
class Inputs:
    """What a run stands on beside the task.

    Parameters
    ----------
    read_from : sequence of Path
        The files of the task, which the output may not replace.
    queries : list of dict, optional
        ``extra`` of the row of each query, where queries were written too.
    teacher : Reranker, optional
        Scores negatives and positives.
    """

    read_from: Sequence[Path] = ()
    queries: list[dict[str, Any]] | None = None
    teacher: Reranker | None = None


def generate(
    samples: Samples,
    generator: Generator,
    asker: ChatAsker,
    out: str | Path,
    settings: GenerateSettings = GenerateSettings(),
    *,
    inputs: Inputs = Inputs(),
    progress: Progress = silent,
) -> GenerateResult:
    """Have negatives written, and write them as rows.

    All calls come first; the rows are then made of what the journal holds, in the order of the queries. So
    what a run writes depends neither on the order of the answers nor on whether it was interrupted.

    Parameters
    ----------
    samples : Samples
    generator : Generator
    asker : ChatAsker
    out : str or Path
        As in ``datasets.write``.
    settings : GenerateSettings
    inputs : Inputs
    progress : Progress

    Returns
    -------
    GenerateResult

    Raises
    ------
    ChatError
        The model cannot be asked, or no longer; answers are kept.
    DataError
        Nothing usable was written.
    OutputError
        The output cannot be written there; told before anything is asked.
    """
    refuse(Path(out), settings.layout, (*inputs.read_from, *files_of(asker.journal.path)))
    label = settings.label or f"llm-{generator.name}"
    if settings.layout == BEIR:
        task = samples.task
        for names in (
            pa.array([label]),
            task.query_ids,
            task.corpus.ids.take(pa.array(task.positives.values)),
        ):
            refuse_breaks(names)
    ask_all(generator, samples, asker, progress)
    passes: list[Tally] = []

    def made(_: Any) -> Iterator[pa.RecordBatch]:
        assembly = Assembly(generator, samples, asker, label, settings.checks, inputs.teacher, inputs.queries)
        passes.append(assembly.tally)
        yield from assembly.rows()
        if not assembly.tally.negatives:
            raise _nothing(label, assembly.tally, asker)

    written = write(Rows("eci", inputs.read_from, made, 1), out, settings.layout, progress=progress)
    tally = passes[-1]
    counts = (f"{what}: {number:,}" for what, number in samples.task.counts.items())
    return GenerateResult(
        source=label,
        queries=samples.queries,
        samples=len(samples),
        answered=tally.answered,
        negatives=tally.negatives,
        fewer=tally.fewer,
        cut=tally.cut,
        rejected=dict(tally.rejected),
        flagged=dict(tally.flagged),
        lengths=dict(sorted(tally.lengths.items())),
        unanswered=tally.unanswered,
        tokens=dict(tally.paid.tokens),
        settings=_described(samples, generator, asker.settings, settings, inputs.teacher),
        notes=[*counts, *written.told(settings.layout)],
    )


def estimated(samples: Samples, generator: Generator, chat: ChatSettings, journal: Path) -> Estimate:
    """What a run would ask, and about what it would take; nothing is asked.

    Of calls that depend on an answer the journal lacks, the prompt is made with a stand-in.

    Parameters
    ----------
    samples : Samples
    generator : Generator
    chat : ChatSettings
    journal : Path
        May be missing.
    """
    with opened(journal) as known:
        return estimate(expected(generator, samples, known, chat), chat, journal)


def crowded(samples: Samples, generator: Generator, max_tokens: int) -> str | None:
    """A warning where answers may be cut off, and lost, for they are to be longer than they can be.

    Parameters
    ----------
    samples : Samples
    generator : Generator
    max_tokens : int
        Of an answer.
    """
    many = sum(generator.words(sample) * _TOKENS > max_tokens for sample in samples)
    if not many:
        return None
    return (
        f"of {many:,} of {count(len(samples), 'sample')} more is asked for than {max_tokens:,} tokens hold: "
        "such answers are paid for, cut off and lost. Ask for fewer negatives (-k), or give a larger "
        "--max-tokens."
    )


def _nothing(label: str, tally: Tally, asker: ChatAsker) -> DataError:
    reasons = [f"{reason} {number:,}" for reason, number in tally.rejected.items()]
    if tally.unanswered:
        reasons.append(f"no answer {len(tally.unanswered):,}, first because {tally.unanswered[0]['reason']}")
    return DataError(
        f"No negative of {label} is usable: {', '.join(reasons) or 'the answers have none'}. Read what "
        f"{asker.settings.model} answered in {asker.journal.path}, or try another model."
    )


def _described(
    samples: Samples,
    generator: Generator,
    chat: ChatSettings,
    settings: GenerateSettings,
    teacher: Reranker | None,
) -> dict[str, Any]:
    """Everything that decides the rows."""
    candidates = samples.candidates.origin if samples.candidates else None
    described: dict[str, Any] = plain(
        {
            "generator": generator.describe(),
            "positives": samples.positives,
            "limit": samples.limit,
            "seed": samples.seed,
            "candidates": candidates,
            "checks": asdict(settings.checks),
            "teacher": teacher.describe() if teacher else None,
            "layout": settings.layout,
            "chat": asdict(chat),
            "versions": {"eci": version("eci")},
        }
    )
    return described
