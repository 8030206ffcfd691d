"""How well `eci audit` finds faults that were planted, and answers that were hidden.

    ECI_DATA=/path/to/collections python benchmarks/audit.py planted
    ECI_DATA=/path/to/collections python benchmarks/audit.py hidden nfcorpus
    ECI_DATA=/path/to/collections python benchmarks/audit.py fallback
    python benchmarks/audit.py speed

`planted` spoils BM25 negatives of SciFact and counts what is found. `hidden` hides half of each query's
answers before mining, and ranks the negatives by every detector. `fallback` fits the weights of
eci/audit/fallback.py, and tries on each collection those that the others alone give. `speed` audits
synthetic rows with cached vectors.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eci.audit.collecting import Collected, Collector, Judgements
from eci.audit.combination import StandIns, Weights, fit, stand_ins
from eci.audit.features import NAMES, features
from eci.audit.issues import DETECTORS, FLAGGED
from eci.audit.material import Candidates
from eci.audit.running import audit, by_query
from eci.datasets import ReadOptions, read
from eci.datasets.tasks import read_task
from eci.examples import ROWS
from eci.lexical import words
from eci.miners.bm25 import BM25Miner
from eci.miners.dense import DenseMiner
from eci.miners.filters import Filters
from eci.mining import MineSettings, mine
from eci.models.loading import prepared_encoder
from false_negatives import hide
from running import beir_folder

HERE = Path(__file__).parent
RANKED = ("likely_false_negative", *DETECTORS, "near_positive")
STOP = frozenset(
    words("a an and are as at be by for from in is it of on or that the this to was were which with")
)


def mined(name: str, qrels: Path, work: Path, encoder: Any, k: int) -> dict[str, Path]:
    """BM25's and the encoder's first k documents that these judgements do not call relevant."""
    folder = beir_folder(name)
    reading = ReadOptions(corpus=folder / "corpus.jsonl", queries=folder / "queries.jsonl")
    task = read_task((), reading, [qrels]).task
    found = {}
    for miner in (BM25Miner(task), DenseMiner(task, encoder)):
        found[miner.label] = work / f"{miner.label}.parquet"
        mine(task, miner, found[miner.label], MineSettings(k, Filters(range_max=k, near_copy=None)))
    return found


def judgements(name: str) -> Path:
    """Of the train queries, or of all where there is one set."""
    folder = beir_folder(name) / "qrels"
    return next(path for path in (folder / "train.tsv", folder / "test.tsv") if path.exists())


def average_precision(scores: np.ndarray, answers: np.ndarray) -> float:
    """Mean over answers of the precision down to them; equal scores come together."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(answers[order])[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / answers.sum())


def roc_auc(scores: np.ndarray, answers: np.ndarray) -> float:
    """Probability that an answer scores above another negative, ties counting one half."""
    _, back, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[back]
    ones = answers.sum()
    return float((ranks[answers].sum() - ones * (ones + 1) / 2) / (ones * (len(answers) - ones)))


def ranked(scores: np.ndarray, flags: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """How scores (high is suspicious) and flags fare."""
    return {
        "average_precision": round(average_precision(scores, answers), 4),
        "roc_auc": round(roc_auc(scores, answers), 4),
        "flagged": round(float(flags.mean()), 4),
        "precision": round(float(answers[flags].mean()), 4) if flags.any() else 0.0,
        "recall": round(float(flags[answers].mean()), 4),
    }


def hidden(name: str, seed: int) -> dict[str, Any]:
    """Each detector against the answers that were hidden."""
    told: dict[str, Any] = {"collection": name, "seed": seed, "settings": []}
    with tempfile.TemporaryDirectory() as folder, prepared_encoder() as encoder:
        work = Path(folder)
        gone = hide(judgements(name), work / "kept.tsv", seed)
        told["hidden"] = sum(map(len, gone.values()))
        for k in (10, 50):
            files = mined(name, work / "kept.tsv", work, encoder, k)
            for sources in (("bm25",), ("dense",), ("bm25", "dense")):
                scores = work / "scores.parquet"
                result = audit(read([files[each] for each in sources]), encoder, table=scores)
                table = pq.read_table(scores).to_pandas()
                asked = table.query_id.map(lambda each: bool(gone[each])).to_numpy()
                table = table[asked].drop_duplicates(["query_id", "id"])
                answers = np.array([d in gone[q] for q, d in zip(table.query_id, table.id, strict=True)])
                entry = {
                    "sources": "+".join(sources),
                    "k": k,
                    "negatives": len(table),
                    "base_rate": round(float(answers.mean()), 4),
                    "weights_from": result.data["learned"]["from"],
                    "stand_ins": result.data["learned"]["stand_ins"],
                    "detectors": {
                        issue: ranked(
                            1 - table[f"{issue}_score"].to_numpy(dtype=np.float64),
                            table[f"is_{issue}"].to_numpy(),
                            answers,
                        )
                        for issue in RANKED
                        if issue != "teacher_above_positive"
                    },
                }
                told["settings"].append(entry)
                print(entry["sources"], k, entry["base_rate"], entry["weights_from"], entry["stand_ins"])
                for issue, found in entry["detectors"].items():
                    print(f"  {issue:24s} {found}", flush=True)
    return told


def jumbled(text: str, rng: np.random.Generator) -> str:
    """The text with half of its stop words gone or exchanged, and a third of its words moved a little."""
    kept = []
    for word in text.split():
        if word.lower() in STOP and rng.random() < 0.5:
            if rng.random() < 0.5:
                kept.append(str(rng.choice(sorted(STOP))))
            continue
        kept.append(word)
    places = np.arange(len(kept)) + np.where(rng.random(len(kept)) < 0.33, rng.uniform(-4, 4, len(kept)), 0)
    return " ".join(kept[place] for place in np.argsort(places, kind="stable"))


def spoiled(rows: list[dict[str, Any]], seed: int) -> dict[tuple[int, int], str]:
    """Put faults among the negatives; gives row, place and kind of each."""
    rng = np.random.default_rng(seed)
    counts = {"known positive": 500, "near copy": 500, "duplicate": 200, "empty": 100}
    for kind, number in counts.items():
        for row in rng.choice(len(rows), size=number, replace=number > len(rows)).tolist():
            own, negatives = rows[row]["positives"], rows[row]["negatives"]
            if kind == "duplicate":
                held = [each for each in negatives if each.get("kind") is None]
                made = {**held[int(rng.integers(len(held)))]}
            else:
                chosen = own[int(rng.integers(len(own)))]
                made = {**negatives[0], "id": chosen["id"], "title": chosen["title"], "text": chosen["text"]}
                if kind == "near copy":
                    made |= {"id": f"copy-{row}-{len(negatives)}", "text": jumbled(chosen["text"], rng)}
                if kind == "empty":
                    made |= {"id": None, "title": None, "text": " "}
            # Behind what it repeats, so that the later one is the duplicate.
            negatives.append({**made, "kind": kind})
    places = {}
    for number, row in enumerate(rows):
        for place, negative in enumerate(row["negatives"]):
            kind = negative.pop("kind", None)
            if kind is not None:
                places[number, place] = kind
    return places


def planted(seed: int) -> dict[str, Any]:
    """Recall and precision of each issue on faults that were planted."""
    with tempfile.TemporaryDirectory() as folder, prepared_encoder() as encoder:
        work = Path(folder)
        files = mined("scifact", judgements("scifact"), work, encoder, 10)
        rows = pq.read_table(files["bm25"]).to_pylist()
        kinds = spoiled(rows, seed)
        # A positive that only the judgements know: one of two leaves its row where it was planted.
        apart = 0
        for (number, place), kind in kinds.items():
            own, planted_one = rows[number]["positives"], rows[number]["negatives"][place]
            if kind == "known positive" and len(own) > 1 and any(p["id"] == planted_one["id"] for p in own):
                rows[number]["positives"] = [p for p in own if p["id"] != planted_one["id"]]
                apart += 1
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), work / "spoiled.parquet")
        known = Judgements.read([judgements("scifact")])
        audit(read([work / "spoiled.parquet"]), encoder, known=known, table=work / "scores.parquet")
        table = pq.read_table(work / "scores.parquet").to_pandas()
    kind = np.array([kinds.get(at, "") for at in zip(table.row, table.place, strict=True)])
    identical, known_one = (table[f"is_{each}"] for each in ("identical_to_positive", "known_positive"))
    found = {
        # Planted twice in a row it is a duplicate too; copies of one text are one text.
        "known positive": (identical | known_one).to_numpy(),
        "near copy": table.is_near_positive.to_numpy(),
        "duplicate": table.is_duplicate_in_row.to_numpy(),
        "empty": table.is_empty.to_numpy(),
    }
    told: dict[str, Any] = {"seed": seed, "negatives": len(table), "known_by_judgements_alone": apart}
    for name, flags in found.items():
        truth = kind == name
        told[name] = {
            "planted": int(truth.sum()),
            "recall": round(float(flags[truth].mean()), 4),
            "precision": round(float(truth[flags].mean()), 4),
            "flagged_others": {
                str(other) or "mined": int((flags & (kind == other)).sum())
                for other in np.unique(kind)
                if other != name and (flags & (kind == other)).any()
            },
        }
    asked = np.isin(kind, ["", "near copy"])
    suspicion = 1 - table.likely_false_negative_score.to_numpy(dtype=np.float64)[asked]
    answers = kind[asked] == "near copy"
    told["likely_false_negative on near copies"] = {
        "base_rate": round(float(answers.mean()), 4),
        **ranked(suspicion, suspicion >= 1 - FLAGGED, answers),
    }
    print(json.dumps(told, indent=1))
    return told


def collected(files: list[Path], encoder: Any, work: Path) -> Collected:
    """The material of rows."""
    work.mkdir()
    collector = Collector(encoder, work, 0.8, Judgements())
    for batch in by_query(read(files), work)[0]({}):
        collector.add(batch)
    return collector.done()


def with_positives(held: Collected, most: int) -> Collected:
    """The rows with the first so many positives of each, by a hash."""
    own = held.material.positives
    draw = (held.material.digests[own.values] * 0x5851F42D4C957F2D) ^ held.material.group[own.rows]
    order = np.lexsort((draw, own.rows))
    ordered = own.with_values(own.values[order])
    positives = ordered.keep(ordered.within < most)
    return replace(held, material=replace(held.material, positives=positives))


def fitted(shown: dict[str, StandIns], popular: np.ndarray) -> Weights:
    """Weights from collections, each counting the same; none for how often a document occurs."""
    table, answers, times = [], [], []
    for each in shown.values():
        table.append(np.where(popular, 0, each.table).astype(np.float32))
        answers.append(each.answers)
        times.append(each.times / np.where(each.answers, each.answers.sum(), (~each.answers).sum()))
    return fit(*(np.concatenate(part) for part in (table, answers, times)))


def fallback() -> dict[str, Any]:
    """Weights from collections with several positives, for rows with one; and how they fare elsewhere."""
    shown, told = {}, {}
    popular = np.isin(NAMES, ["labelled elsewhere", "negative elsewhere"])
    with tempfile.TemporaryDirectory() as folder, prepared_encoder() as encoder:
        for name in ("nfcorpus", "scifact"):
            work = Path(folder) / name
            work.mkdir()
            files = mined(name, judgements(name), work, encoder, 50)
            held = with_positives(collected(list(files.values()), encoder, work / "v"), 2)
            shown[name] = stand_ins(held.material, np.ones(len(held.source), dtype=np.bool_))
        weights = fitted(shown, popular)
        told["weights"] = weights.to_dict()
        told["stand_ins"] = {name: len(each.rows) for name, each in shown.items()}
        for name in ("cranfield", "scifact", "nfcorpus"):
            others = fitted({each: shown[each] for each in shown if each != name}, popular)
            work = Path(folder) / f"{name}-test"
            work.mkdir()
            gone = hide(judgements(name), work / "kept.tsv", 0)
            files = mined(name, work / "kept.tsv", work, encoder, 50)
            rows = pq.read_table(files["bm25"]).to_pylist()
            held = with_positives(collected([files["bm25"]], encoder, work / "v"), 1)
            own = held.material
            seen = features(own, Candidates(np.arange(len(own)), own.negatives, own.positives))
            asked = np.array([bool(gone[r["query_id"]]) for r in rows for _ in r["negatives"]])
            truth = np.array([n["id"] in gone[r["query_id"]] for r in rows for n in r["negatives"]])[asked]
            chance = others.probability(seen.table)[asked]
            margin = (seen.similarity - seen.best + 0.05 * np.abs(seen.best))[asked]
            told[f"{name}, bm25 50, one positive"] = {
                "base_rate": round(float(truth.mean()), 4),
                "combined": ranked(chance, chance >= 0.8, truth),
                "above_95": ranked(margin, margin >= 0, truth),
            }
    print(json.dumps(told, indent=1))
    print([round(value, 4) for value in weights.coefficients.tolist()], round(weights.intercept, 4))
    return told


class Drawn:
    """Vectors drawn for each text by a hash of it: an encoder that costs next to nothing."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.table = rng.standard_normal((4096, 384)).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        return {"name": "drawn"}

    def encode_query(self, texts: list[str]) -> np.ndarray:
        places = np.array([hash(text) % 4096 for text in texts])
        return self.table[places] + 0.5 * self.table[(places * 7 + 1) % 4096]

    encode_document = encode_query


def speed(queries: int, k: int, documents: int) -> dict[str, Any]:
    """Seconds and memory of an audit of synthetic rows, reading and writing included, encoding not."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{number}" for number in range(20_000)])
    corpus = [" ".join(vocabulary[rng.zipf(1.2, 120) % 20_000]) for _ in range(documents)]
    rows = [
        {
            "query_id": f"q{number}",
            "query": " ".join(rng.choice(vocabulary, 8)),
            "positives": [{"text": corpus[int(rng.integers(documents))]}],
            "negatives": [
                {"source": "bm25", "id": f"d{place}", "text": corpus[place]}
                for place in rng.choice(documents, k, replace=False).tolist()
            ],
        }
        for number in range(queries)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), file)
        del rows, corpus
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, used = time.perf_counter(), time.process_time()
        result = audit(read([file]), Drawn(), table=Path(folder) / "scores.parquet")
        told = {
            "pairs": result.negatives,
            "documents": documents,
            "seconds": round(time.perf_counter() - began, 1),
            "processor_seconds": round(time.process_time() - used, 1),
            "peak_mib_before": before >> 10,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }
    print(told)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["planted", "hidden", "fallback", "speed"])
    parser.add_argument("collection", nargs="?", default="nfcorpus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--documents", type=int, default=50_000)
    options = parser.parse_args()
    command = f"python benchmarks/audit.py {options.what}"
    if options.what == "hidden":
        told, name = hidden(options.collection, options.seed), f"audit-hidden-{options.collection}"
        command += f" {options.collection} --seed {options.seed}"
    elif options.what == "planted":
        told, name = planted(options.seed), "audit-planted"
        command += f" --seed {options.seed}"
    elif options.what == "fallback":
        told, name = fallback(), "audit-fallback"
    else:
        told, name = speed(options.queries, options.k, options.documents), "audit-speed"
        command += f" --queries {options.queries} -k {options.k} --documents {options.documents}"
    out = HERE / "results" / f"{name}.json"
    out.write_text(json.dumps({"command": command, **told}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
