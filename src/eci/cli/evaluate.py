"""``eci evaluate``: how well encoders and runs retrieve on judged queries, and whether they differ."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.command import command_line, working
from eci.cli.options import SEED, Count, loading_options, result_option
from eci.results import count, listed, number, span

if TYPE_CHECKING:
    from eci.models.sentence_transformer import ModelOptions
    from eci.types import Progress
    from eci.validation.evaluation import Evaluation
    from eci.validation.judged import JudgedCollection
    from eci.validation.retrieval import Run
    from eci.validation.significance import RunComparison

_DECIDED = 0.05
_UNFIT = re.compile(r"[^\w.-]+")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Model to search with: a folder, a hub name, all-MiniLM-L6-v2 (embedded) or 'hashing' (no weights, "
    "for trying out). Several times to compare; --prompt and other loading options hold for all.",
)
@click.option(
    "--run",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A TREC run that is there already, evaluated as it is. Several times to compare; models come first.",
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    default=("nDCG@10", "P@10", "R@100", "RR@10"),
    show_default=True,
    metavar="NAME",
    help="As ir-measures names it; several times. Runs are compared by the first.",
)
@click.option("--split", metavar="NAME", help="Whose judgements.  [default: test, else the only one]")
@click.option(
    "--depth",
    type=Count(1),
    metavar="K",
    help="Documents retrieved for a query.  [default: 100, or the largest cutoff]",
)
@click.option(
    "--runs-to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write what each model retrieves as FOLDER/MODEL.trec.",
)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of the randomisation tests.")
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@result_option
def evaluate(
    *,
    folder: Path,
    measures: tuple[str, ...],
    split: str | None,
    seed: int,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Measure retrieval on the judged queries of FOLDER, a BEIR collection.

    FOLDER holds corpus.jsonl, queries.jsonl and qrels/. Each query is compared with every document by cosine,
    and the run measured by ir-measures, as trec_eval would. Two or more models and runs are compared by the
    first measure: paired randomisation tests, with Holm's correction for all pairs.

    \b
    Examples:
      eci evaluate scifact --model all-MiniLM-L6-v2
      eci evaluate scifact --model all-MiniLM-L6-v2 --model my-model/ --runs-to runs/ -o result.json
      eci evaluate scifact --run bm25.trec --run dense.trec --measure nDCG@10 --measure AP
    """  # noqa: D301
    from eci.validation.evaluation import evaluate_run
    from eci.validation.judged import JudgedCollection
    from eci.validation.measures import depth_for, parse
    from eci.validation.significance import compare

    asked = _Asked(**options)
    parsed = parse(measures)
    depth = depth_for(parsed, asked.depth)
    with working(output) as (progress, keep):
        collection = JudgedCollection.read(folder, split)
        runs = asked.runs(collection, depth, progress)
        found = [evaluate_run(run, collection, measures=measures) for run in runs]
        for entry in found:
            entry.settings["command"] = command_line()
        result = found[0] if len(found) == 1 else compare(found, str(parsed[0]), seed=seed)
        keep(result)
    click.echo(result.to_json() if as_json else _described(result))


@dataclass(frozen=True)
class _Asked:
    """What is to be evaluated, and how models are to be loaded for it."""

    models: tuple[str, ...]
    files: tuple[Path, ...]
    depth: int | None
    runs_to: Path | None
    loading: ModelOptions
    cache: bool

    def __post_init__(self) -> None:
        from eci.models.sentence_transformer import ModelOptions

        if not self.models and not self.files:
            raise click.UsageError(
                "Nothing to evaluate: give a --model, such as all-MiniLM-L6-v2, or a --run."
            )
        if not self.models and (self.depth or self.runs_to or self.loading != ModelOptions()):
            raise click.UsageError(
                "Runs are evaluated as they are. Leave out --depth, --runs-to and what loads models, or give "
                "a --model."
            )

    def runs(self, collection: JudgedCollection, depth: int, progress: Progress) -> list[Run]:
        """All runs, those of models first."""
        from eci.models.loading import prepared_encoder
        from eci.validation.retrieval import Run, refuse_spaces, search

        names = self._names()
        files = self._files(names)
        if self.runs_to is not None:
            refuse_spaces(collection.query_ids, self.runs_to)
        # Read before anything is encoded: what is wrong with a file is told at once.
        read = [Run.read(path, collection) for path in self.files]
        searched = []
        for place, (model, name) in enumerate(zip(self.models, names, strict=False)):
            with prepared_encoder(model, self.loading, self.cache, progress) as encoder:
                run = search(encoder, collection, depth=depth, progress=progress)
            searched.append(replace(run, name=name))
            if files:
                run.refuse_spaces(files[place])
                files[place].parent.mkdir(parents=True, exist_ok=True)
                searched[-1].write(files[place])
        return [
            *searched,
            *(replace(run, name=name) for run, name in zip(read, names[len(searched) :], strict=True)),
        ]

    def _files(self, names: Sequence[str]) -> list[Path]:
        """Where the run of each model goes, refused before there is one; none if it goes nowhere."""
        if self.runs_to is None:
            return []
        # Names on the hub have a slash.
        found = [self.runs_to / f"{_UNFIT.sub('-', name)}.trec" for name in names[: len(self.models)]]
        for file in found:
            if found.count(file) > 1:
                same = [name for name, other in zip(names, found, strict=False) if other == file]
                raise click.UsageError(
                    f"The runs of {listed([repr(name) for name in same])} would be one file, {file}. Give "
                    "one of the models another name, as by a link to its folder, or evaluate it apart."
                )
            if file.resolve() in [path.resolve() for path in self.files]:
                raise click.UsageError(
                    f"{file} is given as --run, and would be replaced. Choose another --runs-to."
                )
        _require_writable(self.runs_to)
        return found

    def _names(self) -> list[str]:
        """What to call each run, no two the same: short, unless that names two."""
        from eci.datasets.files import stem
        from eci.models.pretrained import shown_name

        given = [*self.models, *map(str, self.files)]
        short = [*map(shown_name, self.models), *(stem(file).removesuffix(".trec") for file in self.files)]
        names = [long if short.count(brief) > 1 else brief for long, brief in zip(given, short, strict=True)]
        for name in names:
            if names.count(name) > 1:
                raise click.UsageError(f"{name} is named twice: there is nothing to compare it with.")
        return names


def _require_writable(folder: Path) -> None:
    """Raise an `OutputError` unless the folder is one, or can be made, and files in it."""
    from eci.errors import OutputError

    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: {there} is a file, and runs go into a folder. Give another --runs-to.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: {there} may not be written to. Give another --runs-to.")


def _described(result: Evaluation | RunComparison) -> str:
    """The figures for a person: a table, differences to the first run, what to be careful of."""
    from eci.validation.significance import RunComparison

    found = result.evaluations if isinstance(result, RunComparison) else (result,)
    told = found[0].settings
    parts = [
        f"{told['collection']}, {told['split']}: {count(found[0].queries, 'query')}, "
        f"{count(told['documents'], 'document')}, {count(told['judgements'], 'judgement')}",
        _table(found),
    ]
    if isinstance(result, RunComparison):
        parts.append(_differences(result))
    notes = _notes(found)
    return "\n\n".join([*parts, notes] if notes else parts)


def _table(found: Sequence[Evaluation]) -> str:
    rows = [("run", *found[0].measures)]
    for entry in found:
        cells = (
            number(each.value) + ("" if isnan(each.low) else f" ± {number(each.high - each.value, 3)}")
            for each in entry.measures.values()
        )
        rows.append((entry.run, *cells))
    lines = _aligned(rows)
    rule = "─" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], "± is half of a 95 % interval over queries"])


def _differences(result: RunComparison) -> str:
    """Each run minus the first one."""
    first = result.evaluations[0]
    rows: list[tuple[str, ...]] = [("run", "difference", "95 % interval", "p", "p by Holm", "")]
    for entry in result.differences:
        if entry.against == first.run:
            verdict = (
                "undecided" if entry.p_holm >= _DECIDED else "better" if entry.difference > 0 else "worse"
            )
            interval = f"{entry.low:+.4f} … {entry.high:+.4f}"
            p_values = (number(entry.p), number(entry.p_holm))
            rows.append((entry.run, f"{entry.difference:+.4f}", interval, *p_values, verdict))
    pairs = len(result.differences)
    corrected = f"; Holm over all {pairs} pairs, which are in the JSON" if pairs > len(rows) - 1 else ""
    head = f"{result.measure}, difference to {first.run}: paired randomisation test"
    return "\n".join([head + corrected, *_aligned(rows)])


def _notes(found: Sequence[Evaluation]) -> str:
    """What to know of the figures: of all runs once, others with their run."""
    everywhere = [note for note in found[0].notes if all(note in entry.notes for entry in found)]
    own = [f"{entry.run}: {note}" for entry in found for note in entry.notes if note not in everywhere]
    # The fourth digit of a measure depends on it.
    used = [f"{each.run}: {each.encoder['precision']}" for each in found if "precision" in each.encoder]
    return "\n".join(f"· {note}" for note in [*used, *everywhere, *own])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(span, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - span(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
