"""The card of a published dataset: a README.md that says what the rows are and how they were scored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any

import pyarrow as pa

from eci.datasets.layouts import LAYOUTS
from eci.datasets.trainable import NEEDY
from eci.errors import DataError
from eci.results import Estimate, ScoreResult, count, number

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10**7: "1M<n<10M"}
_SHORT = {
    "triplet": "A query with P positives and N negatives has max(P, N) rows, so none is short. "
    "Queries without negatives are left out.",
    "n-tuple": "A row with fewer negatives than the longest ends in null.",
    "labeled-pair": "A row per document, so none is short. Queries without negatives have positives alone.",
}
_LEFT_OUT = "Lists are as long as what was found. Queries without negatives are left out."
_AS_FOUND = "Lists are as long as what was found; a query without negatives has an empty one."
_NEEDED = ("eci", "signal", "margin_max", "margin_mean", "violation_rate", "capacity")
_UNPROVEN = (
    "**No metric here is known to predict training.** The figures describe these negatives for this encoder "
    "before training; whether they help or hurt is settled only by training on them and evaluating."
)


@dataclass(frozen=True)
class Card:
    """What a card says beside the rows themselves.

    Parameters
    ----------
    result : ScoreResult
        The scores of the rows.
    title : str, optional
        The name of the folder if not given.
    license : str, optional
        An identifier of the hub, such as ``cc-by-4.0``; left out if not given.
    command : str, optional
        The command that writes the rows.
    """

    result: ScoreResult
    title: str | None = None
    license: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Contents:
    """What was written: the counts of a finished output.

    Parameters
    ----------
    name, layout : str
        The folder and its layout.
    columns : pyarrow.Schema
    rows : int
    sources : mapping of str to (int, int)
        Queries with negatives of a source, and these negatives.
    per_row : int, optional
        How many negatives every query was given.
    lost : mapping of str to int
        Values that the layout cannot hold.
    notes : sequence of str
    files : sequence of dict
        ``name`` and ``sha256`` of every file that was read.
    """

    name: str
    layout: str
    columns: pa.Schema
    rows: int
    sources: Mapping[str, tuple[int, int]]
    per_row: int | None
    lost: Mapping[str, int]
    notes: Sequence[str]
    files: Sequence[Mapping[str, Any]]


def read_result(path: Path) -> ScoreResult:
    """A result as ``eci score -o`` writes it.

    Raises
    ------
    DataError
        The file is no such result.
    """
    try:
        result = ScoreResult.from_json(path.read_bytes())
        _check(result)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: is no result of eci score ({error}). Write one with: eci score ROWS -o result.json"
        ) from error
    return result


def _check(result: ScoreResult) -> None:
    """Raise ValueError where a value is missing that the card needs."""
    kinds = {"encoder": result.encoder, "settings": result.settings, "data": result.data}
    if wrong := [name for name, value in kinds.items() if not isinstance(value, dict)]:
        raise ValueError(f"{', '.join(wrong)} must be an object")
    if not all(isinstance(file, dict) and "name" in file for file in result.data.get("files", ())):
        raise ValueError("files must be objects with a name")
    needed = {*_NEEDED, str(result.settings.get("metric", "eci"))}
    lacking = sorted({name for source in result.sources for name in needed - source.values.keys()})
    if lacking or not result.sources:
        raise ValueError(f"no values of {', '.join(lacking)}" if lacking else "no sources")


def render(card: Card, contents: Contents) -> str:
    """The text of ``README.md``: YAML front matter and Markdown; texts out of the data are escaped."""
    title = card.title or contents.name
    parts = [
        f"---\n{_front_matter(card, title, contents.rows)}\n---",
        f"# {escaped(title)}",
        "Training rows for dense retrieval: queries, their labelled positives and hard negatives. Written by "
        f"eci {version('eci')}.",
        fenced("python", f"from datasets import load_from_disk\n\nrows = load_from_disk({contents.name!r})"),
        *_rows(contents),
        *_scores(card.result, contents),
        *_again(card),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    r"""Text of the data as inline Markdown: one line, and nothing in it is markup.

    Examples
    --------
    >>> print(escaped("a|b <i>*c*"))
    a\|b &lt;i&gt;\*c\*
    """
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    plain = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", plain)


def fenced(language: str, text: str) -> str:
    """A block of code whose fence no run of backticks in `text` can end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def bullets(texts: Iterable[str]) -> list[str]:
    """Texts of the data as one list; nothing without any."""
    lines = "\n".join(f"- {escaped(text)}" for text in texts)
    return [lines] if lines else []


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells, which are Markdown already, as a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _front_matter(card: Card, title: str, rows: int) -> str:
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=title,
        license=card.license,
        task_categories=["text-retrieval", "sentence-similarity"],
        size_categories=[next((name for most, name in _SIZES.items() if rows < most), "n>10M")],
        tags=["sentence-transformers", "hard-negatives", "dense-retrieval", "eci"],
        # Without it the hub may take the JSON files of the folder for the rows.
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data-*.arrow"}]}],
    )
    return str(data.to_yaml())


def _rows(contents: Contents) -> list[str]:
    sources = [
        (escaped(source), f"{queries:,}", f"{negatives:,}", f"{negatives / queries:.1f}")
        for source, (queries, negatives) in contents.sources.items()
    ]
    return [
        "## Rows",
        f"{contents.rows:,} rows in the layout `{contents.layout}`: {LAYOUTS[contents.layout].keys}.",
        table(("column", "type"), _columns(contents.columns)),
        "Negatives by where they come from, each query counted once:",
        table(("source", "queries", "negatives", "per query"), sources),
        _short(contents),
        *(
            [f"Left out, and how many there were: {escaped(lost)}."]
            if (lost := ", ".join(f"{what} ({n:,})" for what, n in contents.lost.items()))
            else []
        ),
        *bullets(contents.notes),
    ]


def _short(contents: Contents) -> str:
    if contents.per_row:
        return (
            f"Every query has {contents.per_row} negatives, its first ones; queries with fewer are left out."
        )
    if contents.layout in _SHORT:
        return _SHORT[contents.layout]
    return _LEFT_OUT if contents.layout in NEEDY else _AS_FOUND


def _scores(result: ScoreResult, contents: Contents) -> list[str]:
    encoder, settings = result.encoder, result.settings
    name, target = str(encoder.get("name", "without a name")), encoder.get("target")
    digest, precision = encoder.get("weights_blake2b"), str(encoder.get("precision", "unknown precision"))
    metric = str(settings.get("metric", "eci"))
    metrics = [*dict.fromkeys((metric, "eci"))]
    heads = ("", "source", "N", "queries", *metrics, "P(first)", "signal", "margin", "mean margin")
    rows = [
        (
            str(entry.rank),
            escaped(entry.source),
            f"{entry.negatives / entry.queries:.1f}" if entry.queries else "–",
            f"{entry.queries:,}",
            *(_interval(entry.values[each]) for each in metrics),
            number(entry.probability_best, 2),
            *(number(entry.values[each].value, 3) for each in ("signal", "margin_max", "margin_mean")),
            number(100 * entry.values["violation_rate"].value, 1),
            number(entry.values["capacity"].value, 3),
        )
        for entry in result.sources
    ]
    careful = [text for text in result.warnings if not text.startswith("null: ")]
    return [
        "## Scores before training",
        f"By the frozen encoder {escaped(name)} ({escaped(precision)}, "
        + (f"BLAKE2b of its weights {escaped(str(digest))}" if digest else "no digest of its weights")
        + f"){f', to fine-tune {escaped(str(target))}' if target not in (None, name) else ''}. "
        + _provenance(result, contents)
        + _coverage(result, contents),
        table((*heads, "above positive, %", "ln(1+N)"), rows),
        "Intervals are 95 %. N: negatives per query that has any; signal: their mean cosine with the query; "
        "margin: the best positive's cosine minus the hardest negative's, 0 at least; mean margin: minus "
        "their mean; eci: ln(1+N) times the harmonic mean of signal and margin; P(first): probability of "
        "ranking first.",
        f"Verdict: {escaped(result.verdict)}",
        _UNPROVEN,
        *bullets([*careful, *map(str, result.data.get("notes", ()))]),
    ]


def _provenance(result: ScoreResult, contents: Contents) -> str:
    """Whether the scores are of the files that the rows came from, by digest."""
    scored, read = (
        {str(file["sha256"]) for file in files if "sha256" in file}
        for files in (result.data.get("files", ()), contents.files)
    )
    if not scored or not read:
        return "Whether the scores are of the rows in this set is not recorded."
    if scored == read:
        return "The scores are of the files that this set was written from (same SHA-256)."
    if read < scored:
        return (
            "The scores are of the files that this set was written from (same SHA-256), beside "
            f"{count(len(scored - read), 'other file')}."
        )
    return "**The scores are of other files than this set was written from (SHA-256 differs).**"


def _coverage(result: ScoreResult, contents: Contents) -> str:
    """What was not scored of the files, and what was scored and is not in the set."""
    words = ""
    scored, there = result.settings.get("queries_scored"), result.data.get("queries")
    if scored != there:
        words += f" Of {there} queries {scored} were scored, drawn at random."
    here = {source: negatives for source, (_, negatives) in contents.sources.items()}
    if contents.per_row or any(here.get(entry.source, 0) < entry.negatives for entry in result.sources):
        words += " **The set holds less than what was scored:** compare N here with the negatives above."
    return words


def _again(card: Card) -> list[str]:
    settings = dict(card.result.settings)
    command = settings.pop("command", None)
    lines = [str(each) for each in (command, card.command) if each]
    parts = ["## To obtain it again"]
    if lines:
        parts.append(fenced("console", "\n".join(lines)))
    if not command:
        parts += [
            "The result names no command; these are its settings:",
            fenced("json", json.dumps(settings)),
        ]
    files = [
        f"{escaped(str(file['name']))}, SHA-256 {escaped(str(file['sha256']))}"
        for file in card.result.data.get("files", ())
        if "sha256" in file
    ]
    return [*parts, *(["Files that were scored:", "\n".join(f"- {line}" for line in files)] if files else [])]


def _interval(value: Estimate) -> str:
    if isnan(value.low):
        return number(value.value)
    return f"{number(value.value)} ({number(value.low)} … {number(value.high)})"


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    """Names and types; numbered columns in one line."""
    numbered = [name for name in schema.names if re.fullmatch(r"negative_\d+", name)]
    rows = [(field.name, _type(field.type)) for field in schema if field.name not in numbered]
    if numbered:
        rows.insert(2, (" … ".join(dict.fromkeys((numbered[0], numbered[-1]))), "string"))
    return rows


def _type(type_: pa.DataType) -> str:
    if pa.types.is_list(type_):
        return f"list of {_type(type_.value_type)}"
    return f"{{{', '.join(field.name for field in type_)}}}" if pa.types.is_struct(type_) else str(type_)
