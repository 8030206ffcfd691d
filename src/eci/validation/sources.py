"""The sources of an experiment as files of rows: mined, mixed, read, or with errors planted."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.atomic import atomic_path, held, let_go
from eci.datasets import ReadOptions, beir, read, write
from eci.datasets.columns import Documents
from eci.datasets.identity import fingerprint
from eci.datasets.rows import Rows
from eci.datasets.trec import read_qrels
from eci.directions import drawn_order
from eci.errors import DataError, EciError, InUseError
from eci.examples import NEGATIVE, ROWS, query_key
from eci.types import Progress
from eci.validation.experiment import CollectionPlan, SourcePlan, expanded

# Seconds between looks at what another run is making.
PAUSE = 2.0


def sources_made(
    plans: tuple[SourcePlan, ...], collection: CollectionPlan, folder: Path, progress: Progress
) -> dict[str, tuple[Path, str]]:
    """Make what is not there yet; a file's name tells how it was made, so none is stale.

    Parameters
    ----------
    plans : tuple of SourcePlan
    collection : CollectionPlan
    folder : Path
        Where the files are, or come to be.
    progress : Progress

    Returns
    -------
    dict of str to (Path, str)
        Of each source its file, and a digest of all that decides its rows.

    Raises
    ------
    EciError
        A source cannot be made; the message names it and its command.
    """
    home = expanded(collection.path)
    base = [{key: entry[key] for key in ("name", "sha256")} for entry in fingerprint(_files_of(home))]
    found: dict[str, tuple[Path, str]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    if collection.queries:
        home = _drawn(home, collection, folder / f"{collection.name}-{digest_of([base, collection.queries])}")
    for place, plan in enumerate(plans):
        progress(f"{collection.name}: sources", place, len(plans))
        given = None
        if plan.rows is not None:
            given = expanded(plan.rows.replace("{collection}", collection.name))
            if not given.is_file():
                raise DataError(f"source {plan.name}: {given}: no such file.")
        inputs = [*shlex.split(plan.make or ""), plan.into]
        parts = [digest for name, (_, digest) in found.items() if name in inputs]
        told = [settled(plan), collection.split, base, parts, fingerprint([given]) if given else None]
        digest = digest_of(told + ([collection.queries] if collection.queries else []))
        out = folder / f"{plan.name}-{digest}.parquet"
        lock = folder / f".{out.name}.lock"
        if out.exists():
            let_go(lock, out)
        while not out.exists():
            try:
                with held(lock, out):
                    # Another run may have made it meanwhile.
                    if not out.exists():
                        _make(plan, collection, home, found, given, out)
            except InUseError:
                time.sleep(PAUSE)
        found[plan.name] = (out, digest)
    progress(f"{collection.name}: sources", len(plans), len(plans))
    return found


def digest_of(value: Any) -> str:
    """Twelve hexadecimal digits that change with any part of a JSON value."""
    told = json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.blake2b(told, digest_size=6).hexdigest()


def settled(plan: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults: new fields change no digest."""
    default = {
        entry.name: entry.default if entry.default_factory is MISSING else entry.default_factory()
        for entry in fields(plan)
    }
    return {name: value for name, value in asdict(plan).items() if value != default[name]}


def planted(rows: Rows, share: float, label: str, seed: int = 0) -> Rows:
    """Rows in which a share of each query's negatives is replaced by positives of the same query.

    Parameters
    ----------
    rows : Rows
        One source.
    share : float
        0…1 of each query's negatives, drawn; rounded up.
    label : str
        The source of the result.
    seed : int
    """
    rng = np.random.default_rng(seed)

    def batches(_: Any) -> Any:
        for batch in rows:
            yield _planted(batch, share, label, rng)

    return Rows("eci", rows.paths, batches, 1)


def _planted(batch: pa.RecordBatch, share: float, label: str, rng: np.random.Generator) -> pa.RecordBatch:
    negatives = []
    for positives, own in zip(
        batch.column("positives").to_pylist(), batch.column("negatives").to_pylist(), strict=True
    ):
        chosen = set(rng.permutation(len(own))[: int(np.ceil(share * len(own)))].tolist())
        order = rng.permutation(len(positives))
        found = []
        for place, negative in enumerate(own):
            entry = {**negative, "source": label}
            if place in chosen:
                right = positives[order[place % len(order)]]
                entry.update({name: right[name] for name in ("id", "title", "text")})
                entry.update(score=None, scorer=None, extra='{"planted": true}')
            found.append(entry)
        negatives.append(found)
    made = pa.array(negatives, pa.list_(NEGATIVE))
    arrays = [made if name == "negatives" else batch.column(name) for name in ROWS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS)


def _relabelled(rows: Rows, label: str) -> Rows:
    """The rows with one label for all their negatives."""

    def batches(_: Any) -> Any:
        for batch in rows:
            documents = Documents.of(batch.column("negatives"))
            labels = pa.array([label] * len(documents), pa.string())
            documents = replace(documents, fields={**documents.fields, "source": labels})
            arrays = [
                documents.records(NEGATIVE) if name == "negatives" else batch.column(name)
                for name in ROWS.names
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=ROWS)

    return Rows("eci", rows.paths, batches, 1)


def _make(
    plan: SourcePlan,
    collection: CollectionPlan,
    home: Path,
    found: dict[str, tuple[Path, str]],
    given: Path | None,
    out: Path,
) -> None:
    if given is not None:
        write(_relabelled(read([given], ReadOptions()), plan.name), out, "eci")
        return
    if plan.into is not None:
        write(planted(read([found[plan.into][0]], ReadOptions()), plan.share, plan.name), out, "eci")
        return
    words = shlex.split(plan.make or "")
    if words[0] == "mine":
        if len(words) < 2:
            raise DataError(f"source {plan.name}: mine lacks a miner, as in: mine bm25 -k 10.")
        arguments = [*words[:2], str(home), "--split", collection.split, *words[2:]]
    else:
        arguments = [str(found[word][0]) if word in found else word for word in words]
    arguments += ["--label", plan.name, "-o", str(out)]
    program = "from eci.cli import run; run()"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        told = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise EciError(
            f"source {plan.name} of {collection.name}: 'eci {shlex.join(arguments)}' failed: {told}"
        )


def _drawn(home: Path, collection: CollectionPlan, made: Path) -> Path:
    """The collection with so many of its training queries, drawn by digest; nothing is mined for others."""
    if made.exists():
        return made
    files = beir.find(home, (), collection.split, None, None)
    table = read_qrels(files.qrels)
    relevant = table.filter(pc.greater(table["score"], 0))
    names = pc.unique(relevant["query"]).to_pylist()
    order = drawn_order([query_key(name, "") for name in names], 0)
    chosen = pa.array([names[place] for place in order[: collection.queries].tolist()])
    kept = relevant.filter(pc.is_in(relevant["query"], chosen)).select(["query", "document", "score"])
    with atomic_path(made) as temporary:
        (temporary / "qrels").mkdir(parents=True)
        for path in (files.corpus, files.queries):
            (temporary / path.name).symlink_to(path.resolve())
        for path in files.other_qrels:
            (temporary / "qrels" / path.name).symlink_to(path.resolve())
        with (temporary / "qrels" / f"{collection.split}.tsv").open("w", encoding="utf-8") as out:
            out.write("query-id\tcorpus-id\tscore\n")
            out.writelines(
                f"{row['query']}\t{row['document']}\t{row['score']:g}\n" for row in kept.to_pylist()
            )
    return made


def _files_of(home: Path) -> list[Path]:
    """Everything of a collection that decides which negatives are mined."""
    files = [*home.glob("corpus.jsonl*"), *home.glob("queries.jsonl*"), *home.glob("qrels/*.tsv*")]
    if not files:
        raise DataError(f"{home}: is no BEIR folder: it has no corpus.jsonl, queries.jsonl and qrels/.")
    return sorted(files)
