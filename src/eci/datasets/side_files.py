"""The files beside rows: corpora and queries that rows name by id, and BEIR collections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.columns import Documents
from eci.datasets.identity import hashes, holds_query, text_hashes
from eci.datasets.outgoing import Outgoing, digest
from eci.errors import OutputError
from eci.seen import Seen
from eci.types import Flags, Integers


@dataclass(frozen=True)
class Names:
    """How a layout calls its collections and their keys; empty for a collection that it lacks."""

    corpus: str
    document_id: str
    queries: str = ""
    query_id: str = ""


NAMES: Mapping[str, Names] = {
    "id-lists": Names("documents.jsonl", "document_id", "queries.jsonl", "query_id"),
    "tevatron-ids": Names("corpus.jsonl", "docid"),
    "nemo": Names("corpus/train.parquet", "id"),
    "msmarco-hard-negatives": Names("corpus.jsonl", "_id", "queries.jsonl", "_id"),
    "beir": Names("corpus.jsonl", "_id", "queries.jsonl", "_id"),
}

# What Windows opens in the place of files.
_DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)),
}


class Texts:
    """Writes each document and each query once, while rows pass by."""

    def __init__(self, folder: Path, layout: str, stack: ExitStack) -> None:
        self.names = NAMES[layout]
        self._documents, self._queries = Seen(), Seen()
        self._corpus = _appender(folder / self.names.corpus, stack)
        self._asked = _appender(folder / self.names.queries, stack) if self.names.queries else None
        if layout == "nemo":
            (folder / "corpus" / "merlin_metadata.json").write_text(
                '{"class": "TextQADataset", "corpus_id": "corpus"}\n'
            )

    def add(self, out: Outgoing) -> None:
        """Write what the rows bring that is new."""
        sides = (out.positives.fields, out.negatives.fields)
        ids, titles, texts = (
            pa.concat_arrays([side[name] for side in sides]) for name in ("id", "title", "text")
        )
        new = _new(self._documents, ids, text_hashes(titles, texts), "document")
        self._corpus(
            pa.table(
                {
                    self.names.document_id: ids.take(new),
                    "title": pc.fill_null(titles.take(new), ""),
                    "text": texts.take(new),
                }
            )
        )
        if self._asked is not None:
            new = _new(self._queries, out.query_id, hashes(out.query), "query")
            self._asked(pa.table({self.names.query_id: out.query_id.take(new), "text": out.query.take(new)}))


class Judgements:
    """Writes the qrels and the runs of a BEIR collection, while rows pass by."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        for name in ("qrels", "runs"):
            (folder / name).mkdir(parents=True)
        self._runs = folder / "runs"
        self._named: dict[str, str] = {}
        self._seen = Seen()
        self._qrels: IO[bytes] = stack.enter_context((folder / "qrels" / "train.tsv").open("wb"))
        self._qrels.write(b"query-id\tcorpus-id\tscore\n")

    def add(self, out: Outgoing) -> None:
        """Append the judgements and the ranked negatives of the rows."""
        for ids in (
            out.query_id,
            out.positives.fields["id"],
            out.negatives.fields["id"],
            out.negatives.fields["source"],
        ):
            refuse_breaks(ids)
        known, _ = self._seen.add(hashes(out.query_id), np.zeros(len(out.query_id), dtype=np.int64))
        out.note(
            "rows whose query was in an earlier row: {}; they are read back as one query", int(known.sum())
        )
        self._judge(out)
        negatives = _rankable(out)
        source = np.array(negatives.fields["source"].to_pylist(), dtype=object)
        rank = _ranks(out, negatives, source)
        score = _scores(out, negatives, rank)
        names = out.query_id.take(pa.array(negatives.rows)).to_pylist()
        lines = list(
            zip(names, negatives.fields["id"].to_pylist(), rank.tolist(), score.tolist(), strict=True)
        )
        for label in dict.fromkeys(source.tolist()):
            with (self._runs / self._file_name(label)).open("a", encoding="utf-8", newline="") as handle:
                for at in np.flatnonzero(source == label):
                    query, document, place, value = lines[at]
                    handle.write(f"{query}\tQ0\t{document}\t{place}\t{value!r}\t{label}\n")

    def _file_name(self, source: str) -> str:
        """A name that no disk takes for a path, for a device or for the run of another source."""
        name = quote(source, safe=" +,=@()")
        reserved = name.split(".")[0].strip().upper() in _DEVICES
        fits = name.strip(". ") and len(name) <= 120 and not reserved
        # Of names that differ in case alone, the first keeps its own.
        own = self._named.setdefault(name.lower(), source) == source
        return f"{name if fits and own else digest(source)}.trec"

    def _judge(self, out: Outgoing) -> None:
        side = out.positives
        codes = side.fields["id"].dictionary_encode().indices.to_numpy(zero_copy_only=False)
        _, first = np.unique(side.rows * (int(codes.max(initial=0)) + 1) + codes, return_index=True)
        out.lose("repeated positives", len(side) - len(first))
        out.lose("score", len(side) - side.fields["score"].null_count)
        names = out.query_id.take(pa.array(side.rows)).to_pylist()
        documents = side.fields["id"].to_pylist()
        grades = [
            grade
            for extra, many in zip(out.extra, side.lengths, strict=True)
            for grade in _grades(extra, many)
        ]
        for at in np.sort(first):
            self._qrels.write(f"{names[at]}\t{documents[at]}\t{grades[at]}\n".encode())


def _grades(extra: dict[str, Any], many: int) -> list[float]:
    """The grades of the positives of a row; 1 where there are none, or not one for each."""
    grades = extra.get("grades")
    fits = (
        isinstance(grades, list)
        and len(grades) == many
        and all(type(g) in (int, float) and g > 0 for g in grades)
    )
    return grades if isinstance(grades, list) and fits else [1] * int(many)


def _rankable(out: Outgoing) -> Documents:
    """The negatives that a run can hold: each document once a source, no positive, not the query itself."""
    side = out.negatives
    rows = side.rows
    ids = pa.concat_arrays([side.fields["id"], out.positives.fields["id"]]).dictionary_encode().indices
    codes = ids.to_numpy(zero_copy_only=False).astype(np.int64)
    sources = side.fields["source"].dictionary_encode().indices.to_numpy(zero_copy_only=False)
    width, many = int(codes.max(initial=0)) + 1, int(sources.max(initial=0)) + 1
    pair = rows * width + codes[: len(side)]
    positive = np.isin(pair, out.positives.rows * width + codes[len(side) :])
    itself = np.asarray(pc.equal(side.fields["id"], out.query_id.take(pa.array(rows))), dtype=bool)
    for at in np.flatnonzero(itself):
        itself[at] = holds_query(side.fields["text"][at].as_py(), out.query[rows[at]].as_py())
    once: Flags = np.zeros(len(side), dtype=bool)
    once[np.unique(pair * many + sources, return_index=True)[1]] = True
    out.lose("negatives that are positives of their query", int(positive.sum()))
    out.lose("negatives that are their query", int((itself & ~positive).sum()))
    out.lose("repeated negatives", int((~once & ~itself & ~positive).sum()))
    kept = side.keep(once & ~positive & ~itself)
    other = pc.not_equal(kept.fields["scorer"], kept.fields["source"])
    out.lose("scorer", int(pc.sum(other).as_py() or 0))
    return kept


def _ranks(out: Outgoing, side: Documents, source: Any) -> Integers:
    """The rank that a negative has, or its place among those of its source."""
    rank = side.fields["rank"]
    missing = np.asarray(rank.is_null())
    out.note("negatives without a rank: {}; they got their place in the list", int(missing.sum()))
    if not missing.any():
        return np.asarray(rank, dtype=np.int64)
    code = side.rows * (len(source) + 1) + np.unique(source.astype(str), return_inverse=True)[1]
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    place = np.empty(len(code), dtype=np.int64)
    place[order] = np.arange(len(code)) - np.repeat(starts, np.diff(np.append(starts, len(code)))) + 1
    return np.where(missing, place, np.asarray(pc.fill_null(rank, 0), dtype=np.int64))


def _scores(out: Outgoing, side: Documents, rank: Integers) -> Any:
    score = side.fields["score"].to_numpy(zero_copy_only=False).astype(np.float64)
    missing = np.isnan(score)
    out.note("negatives without a score: {}; they got 1 / rank", int(missing.sum()))
    return np.where(missing, 1.0 / np.maximum(rank, 1), score)


def _appender(path: Path, stack: ExitStack) -> Callable[[pa.Table], None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = stack.enter_context(path.open("wb"))
    if path.suffix != ".parquet":
        return lambda table: _append(handle, table)
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in ("id", "title", "text")])
    writer = stack.enter_context(pq.ParquetWriter(handle, schema, compression="zstd"))
    return lambda table: writer.write_table(table) if len(table) else None


def _append(handle: IO[bytes], table: pa.Table) -> None:
    for row in table.to_pylist():
        handle.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _new(seen: Seen, ids: pa.Array, texts: Any, what: str) -> pa.Array:
    """Where the entries stand that no earlier row had."""
    keys = hashes(ids)
    known, differs = seen.add(keys, texts)
    if differs.any():
        clash = ids[int(np.flatnonzero(differs)[0])]
        raise OutputError(
            f"the {what} id '{clash}' has two different texts. One id, one text: correct the ids first."
        )
    first: Flags = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return pa.array(np.flatnonzero(first & ~known))


def refuse_breaks(names: pa.Array) -> None:
    """Raise an `OutputError` if a run or qrels cannot hold these ids or sources; null is not looked at."""
    bad = names.filter(pc.match_substring_regex(names, r"[\t\r\n]"))
    if len(bad):
        raise OutputError(
            f"the id or source {bad[0].as_py()!r} holds a tab or a line break, which no run can."
        )
