"""Every command where the wheel and some extras are installed: it works, or names the extra that it lacks.

Run by ``tests/release.py`` in a fresh environment, from an empty folder: ``python release_smoke.py EXTRA…``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import metadata, requires
from importlib.util import find_spec
from pathlib import Path

# Extras for whoever works on eci itself.
DEVELOPMENT = {"test", "docs", "bench", "dev"}
WORDS = "sky sea bread plane wing flour river stone light cloud horse wheel paper glass salt yeast".split()
PLAN = """
name = "smoke"
seeds = [1]
judges = ["hashing"]
[model]
name = "tiny"
[training]
batch_size = 8
[[collections]]
name = "one"
path = "$HERE/beir"
[[sources]]
name = "random"
make = "mine random -k 4"
[[sources]]
name = "bm25"
make = "mine bm25 -k 4"
"""


@dataclass(frozen=True)
class Line:
    """A command line, the extras it needs, and what shows that it worked.

    Parameters
    ----------
    arguments : str
        After ``eci``. ``TINY`` is a small trainable model, ``CHAT`` the address of a chat model's endpoint.
    needs : frozenset of str
        Extras without which it must refuse, naming one of those that are missing.
    shows : str
        Part of what it prints, or the path of what it writes.
    """

    arguments: str
    needs: frozenset[str]
    shows: str


def line(arguments: str, shows: str, *needs: str) -> Line:
    """A line of the table below."""
    return Line(arguments, frozenset(needs), shows)


# In this order: what one writes another reads, where both have what they need.
LINES = (
    line("--version", "eci, version"),
    line("convert rows.jsonl -o rows.parquet", "rows.parquet"),
    line("convert rows.jsonl -o saved --to triplet", "saved/dataset_info.json", "datasets"),
    line("convert on-disk -o back.csv --to triplet", "back.csv", "datasets"),
    line("filter rows.jsonl -o filtered.jsonl", "filtered.jsonl"),
    line("filter rows.jsonl --teacher TINY --max-score 0.99 -o taught.jsonl", "taught.jsonl", "encode"),
    line("mix rows.jsonl more.jsonl --mode concat -o both.jsonl", "both.jsonl"),
    line("score rows.jsonl more.jsonl --encoder hashing -o result.json", "result.json"),
    line("score rows.jsonl --encoder TINY --no-shortcuts", "violations", "encode"),
    line("score rows.jsonl --no-shortcuts", "violations", "encode", "offline"),
    line("score rows.jsonl --encoder hashing --no-shortcuts --engine ray", "violations", "ray"),
    line("score rows.jsonl --encoder hashing --report page.html", "page.html", "report"),
    line("report result.json -o summary.md", "summary.md", "report"),
    line("report result.json -o page2.html --figures figures", "figures", "report"),
    line("ablate rows.jsonl more.jsonl --encoder hashing -o ablation.json", "ablation.json"),
    line("probe rows.jsonl more.jsonl --encoder hashing -o probe.json", "probe.json"),
    line("audit rows.jsonl --encoder hashing", "likely_false_negative"),
    line("audit rows.jsonl", "likely_false_negative", "encode", "offline"),
    line("select rows.jsonl --k 1 --encoder TINY -o selected.jsonl", "selected.jsonl", "encode"),
    line("mine random beir --split train -k 3 -o random.parquet", "random.parquet"),
    line("mine counterfactual beir --split train -k 1 -o edited.parquet", "edited.parquet"),
    line("mine bm25 beir --split train -k 3 -o bm25.parquet", "bm25.parquet", "mine"),
    line("mine bm25 beir --split train -k 3 --stemmer english -o stems.parquet", "stems.parquet", "mine"),
    line("mine bm25 beir --split train -k 3 --backend numba -o n.parquet", "n.parquet", "mine", "numba"),
    line(
        "mine dense beir --split train -k 3 --encoder TINY -o dense.parquet",
        "dense.parquet",
        "mine",
        "encode",
    ),
    line(
        "mine rerank beir --split train -k 3 -o ranked.parquet", "ranked.parquet", "mine", "encode", "offline"
    ),
    line("generate attribute pairs.jsonl --model m --dry-run -o llm.jsonl", "calls"),
    line("generate attribute pairs.jsonl --model m --base-url CHAT -o llm.jsonl", "llm.jsonl", "chat"),
    line(
        "audit rows.jsonl --encoder hashing --judge m --base-url CHAT --judge-limit 1",
        "answered: 1 of 1",
        "chat",
    ),
    line("train rows.jsonl --source rows --model TINY -o tuned", "tuned/modules.json", "train"),
    line("evaluate beir --model TINY -o evaluation.json", "evaluation.json", "validate"),
    line("validate plan.toml -o experiment", "experiment/result.json", "validate"),
    line("cache info", "vectors", "encode"),
    line("cache clear --yes", "Freed"),
    line("demo -o demo", "demo/report.html", "encode", "mine", "offline", "report"),
)


def everything_in(extras: Iterable[str]) -> set[str]:
    """The extras, and those of which they bring every distribution (extras that name extras are flattened)."""
    brings: dict[str, set[str]] = {}
    for requirement in requires("eci") or []:
        for extra in re.findall(r"extra == ['\"]([^'\"]+)", requirement):
            brings.setdefault(extra, set()).add(requirement.partition(";")[0].strip())
    brought = set().union(*(brings[extra] for extra in extras))
    return {extra for extra, wanted in brings.items() if wanted <= brought}


def write_inputs() -> None:
    """Rows, pairs, a BEIR folder and a plan, here."""
    count = len(WORDS) * 3
    topics = [f"{WORDS[n % len(WORDS)]} {WORDS[(n * 7 + 3) % len(WORDS)]} number {n}" for n in range(count)]
    asked = [f"what is known of {topic}" for topic in topics]
    told = [
        f"Known of {topic}: found in Paris in {1900 + n}, of {n} parts." for n, topic in enumerate(topics)
    ]
    beir = Path("beir")
    (beir / "qrels").mkdir(parents=True)
    _write(
        beir / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(told)]
    )
    _write(beir / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(asked)])
    for split, places in (("train", range(30)), ("test", range(30, count))):
        judged = "".join(f"q{n}\td{n}\t1\n" for n in places)
        (beir / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    for name, step in (("rows", 5), ("more", 11)):
        rows = [
            {
                "query": asked[n],
                "pos": [told[n]],
                "neg": [told[(n + step) % count], told[(n + 2 * step) % count]],
            }
            for n in range(count)
        ]
        _write(Path(f"{name}.jsonl"), rows)
    _write(Path("pairs.jsonl"), [{"query": asked[n], "positive": told[n]} for n in range(3)])
    Path("plan.toml").write_text(PLAN)
    write_saved(Path("on-disk"), {"query": asked, "positive": told, "negative": told[1:] + told[:1]})


def write_saved(folder: Path, columns: dict[str, list[str]]) -> None:
    """A dataset as its ``save_to_disk`` leaves it, written without the library."""
    import pyarrow as pa

    folder.mkdir()
    table = pa.table(columns)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as out:
        out.write_table(table)
    features = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "0", "_split": None}
    state |= {
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
    }
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_model() -> None:
    """A trainable model of word vectors, in the folder ``tiny``."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [
        "[UNK]",
        "[PAD]",
        *WORDS,
        *"what is known of found in parts number".split(),
        *map(str, range(2000)),
    ]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).standard_normal((len(words), 24)).astype(np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    model.save("tiny")


def fault_of(tried: Line, installed: set[str], address: str) -> str:
    """What is wrong with how a line went; empty if nothing is."""
    arguments = tried.arguments.replace("TINY", "tiny").replace("CHAT", address).split()
    command = [str(Path(sysconfig.get_path("scripts")) / "eci"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    said = done.stdout + done.stderr
    missing = tried.needs - installed
    if not missing:
        if done.returncode == 0 and (Path(tried.shows).exists() or tried.shows in said):
            return ""
        return f"exit {done.returncode}, expected 0 and {tried.shows!r}:\n{said}"
    named = {
        name for found in re.findall(r"pip install 'eci\[([^\]]+)\]'", said) for name in found.split(",")
    }
    if done.returncode != 1 or not named:
        return (
            f"exit {done.returncode}, expected 1 and how to install {' or '.join(sorted(missing))}:\n{said}"
        )
    if not everything_in(named) & missing:
        return f"names {', '.join(sorted(named))}, which does not bring {', '.join(sorted(missing))}:\n{said}"
    return ""


def metrics_fault() -> str:
    """What is wrong with the package itself; empty if nothing is."""
    import eci

    if not Path(eci.__file__).is_relative_to(sys.prefix):
        return f"eci is imported from {eci.__file__}, not from the installed wheel"
    value = eci.evaluate(positive=[[0.9], [0.8]], negative=[[0.5, 0.7], [0.3, 0.5]])["eci"]
    return "" if round(value, 12) == 0.366204096223 else f"eci.evaluate gives {value!r}"


def main(extras: list[str]) -> int:
    """Try every line; the number of those that went wrong is the exit code."""
    from chat_server import ChatServer
    from writer_script import well

    offered = set(metadata("eci").get_all("Provides-Extra") or ()) - DEVELOPMENT
    installed = everything_in(extras)
    needed = set().union(*(tried.needs for tried in LINES))
    faults = [
        f"no line of {__file__} needs the extra {name!r}: add one"
        for name in sorted(offered - needed - {"all"})
    ]
    faults += [fault for fault in [metrics_fault()] if fault]
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": "hub",
        "ECI_CACHE": "cache",
        "OPENAI_API_KEY": "none",
        "HERE": os.getcwd(),
    }
    write_inputs()
    if find_spec("sentence_transformers"):
        write_model()
    with ChatServer(well) as server:
        for tried in LINES:
            fault = fault_of(tried, installed, server.url)
            faults += [f"eci {tried.arguments}\n{fault}"] if fault else []
    works = sum(tried.needs <= installed for tried in LINES)
    sys.stdout.write("".join(f"{fault}\n" for fault in faults))
    sys.stdout.write(
        f"eci[{','.join(extras)}]: {works} commands that it has what they need for, {len(LINES) - works} that "
        f"name what they lack; {len(faults)} faults\n"
    )
    return min(len(faults), 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
