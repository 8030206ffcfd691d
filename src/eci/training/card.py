"""The card of a fine-tuned model: that of sentence-transformers, without texts of the rows, and more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

from eci.datasets.card import bullets, escaped, fenced, table
from eci.results import ScoreResult, count, listed, number

_BELOW = "## Citation"


@dataclass(frozen=True)
class ModelCard:
    """What a card says beside the training itself.

    Parameters
    ----------
    score : ScoreResult, optional
        The scores of the rows before training.
    command : str, optional
        The command that trains.
    """

    score: ScoreResult | None = None
    command: str | None = None


def prepare(model: Any, told: Mapping[str, Any]) -> None:
    """Give a trained model's card its names, and take out what would be wrong or not ours to publish.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
        As `eci.training.finetune` leaves it.
    told : mapping
        As ``eci.train/1``.
    """
    card = model.model_card_data
    card.add_tags(["hard-negatives", "dense-retrieval", "eci"])
    sources = [escaped(source) for source in told["sources"]]
    for data in card.train_datasets:
        lengths = str(data.get("name") or "").split("-")
        named = [
            f"{source} × {length}" if length else source for source, length in zip_longest(sources, lengths)
        ]
        data["name"] = " + ".join(named)
        # Whose rows these are may be known, but not whether they may be shown.
        for shown in ("examples", "examples_table", "_example_columns"):
            data.pop(shown, None)
    # The trainer knows of these what happened after the last checkpoint alone; the section has all of it.
    card.training_logs, card.eval_results_dict, card._training_start_time = [], {}, None


def complete(folder: Path, told: Mapping[str, Any], card: ModelCard) -> None:
    """Put the section of `eci` into the ``README.md`` that sentence-transformers wrote in a folder."""
    path = folder / "README.md"
    written = path.read_text(encoding="utf-8")
    above, below, rest = written.partition(f"\n{_BELOW}\n")
    path.write_text(f"{above.rstrip()}\n\n{section(told, card)}\n{below}{rest}", encoding="utf-8")


def section(told: Mapping[str, Any], card: ModelCard) -> str:
    """Markdown on rows, settings, held-out measures and scores; texts out of the data are escaped."""
    trained, rows, settings = told["trained"], told["rows"], told["settings"]
    each, generated = settings["hard_negatives"], settings["training"]["generated"]
    negatives = " and ".join(f"{count(each, 'hard negative')} of {escaped(name)}" for name in told["sources"])
    term = f"Those of {escaped(listed(generated))} have CausalNeg's entropy term (arXiv:2606.01304). "
    files = [f"{file['name']}, SHA-256 {file['sha256']}" for file in told["data"]["files"]]
    parts = [
        "## How it was trained",
        f"By eci {version('eci')} from {escaped(told['model']['name'])} on {count(rows['rows'], 'row')} of "
        f"{count(rows['queries'], 'query')}: a query, a positive, "
        f"{negatives if each else 'and nothing else'}. {term if generated else ''}"
        "No two rows of a batch share a text, and their documents are negatives of each other. "
        f"{trained['steps']:,} steps in {trained['seconds']:,.0f} s; mean loss {number(trained['loss'])}.",
        *bullets(told["notes"]),
        *_dev(trained, rows),
        "Settings:",
        fenced("json", orjson.dumps(settings, option=orjson.OPT_INDENT_2).decode()),
        *(["Files of the rows:", *bullets(files)] if files else []),
        *([fenced("console", card.command)] if card.command else []),
        *(_scores(card.score, told) if card.score else []),
    ]
    return "\n\n".join(parts)


def _dev(trained: Mapping[str, Any], rows: Mapping[str, Any]) -> list[str]:
    if not trained["dev"]:
        return []
    lines = [
        (f"**{step:,}**" if step == trained["best"] else f"{step:,}", number(value))
        for step, value in trained["dev"]
    ]
    return [
        f"nDCG@10 on {count(rows['held_out'], 'query')} held out of training, among the "
        f"{count(rows['documents'], 'document')} of the rows. The step in bold was kept because it is the "
        "best of these, so what it has is too good to expect of other queries:",
        table(("step", "nDCG@10"), lines),
    ]


def _scores(score: ScoreResult, told: Mapping[str, Any]) -> list[str]:
    scored = {str(file["sha256"]) for file in score.data.get("files", ()) if "sha256" in file}
    read = {file["sha256"] for file in told["data"]["files"]}
    if not scored or not read:
        origin = "Whether these are scores of the rows trained on is not recorded."
    elif scored == read:
        origin = "The scores are of the files trained on (same SHA-256)."
    else:
        origin = "**The scores are of other files than those trained on (SHA-256 differs).**"
    return [
        "## The negatives before training",
        f"Scored by the frozen encoder {escaped(str(score.encoder.get('name', 'without a name')))}. {origin}",
        fenced("text", score.table()),
        f"Verdict: {escaped(score.verdict)}",
        "**No metric here is known to predict training.**",
    ]
