"""Embedding against the plain matrix products that the same machine makes in the same run.

    python benchmarks/encode.py     # benchmarks/results/encode.json

Texts of more than 256 tokens, which is what all-MiniLM-L6-v2 reads, through the encoder as `eci score` uses
it: batches planned, tokenized, encoded. Operations are those of the model's matrix products: 2 for each
weight and token, and attention. The peak is a product of two square matrices, in the precision of the
encoder and in bfloat16 and float32.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from mine import words_of
from running import RESULTS, in_turn, surroundings

SIZES, TOKENS, SIDE = (32, 64, 128), 256, 2048


def peak(kind: str) -> float:
    """GFLOP/s of a square product in a precision, the best of five."""
    import torch

    left, right = (torch.randn(SIDE, SIDE).to(getattr(torch, kind)) for _ in range(2))
    taken = []
    for _ in range(6):
        began = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(taken[1:]) / 1e9


def operations(model: Any, texts: int) -> float:
    """Of the matrix products that encoding takes."""
    config = model[0].auto_model.config
    width, wide, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    of_token = layers * (2 * (4 * width**2 + 2 * width * wide) + 4 * TOKENS * width)
    return float(of_token * TOKENS * texts)


def by_operator(encoder: Any, texts: list[str]) -> dict[str, float]:
    """Share of the processor's time that each operator takes itself; the largest ten."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        encoder.encode_document(texts)
    found = profiler.key_averages()
    whole = sum(entry.self_cpu_time_total for entry in found)
    largest = sorted(found, key=lambda entry: -entry.self_cpu_time_total)[:10]
    return {entry.key: round(entry.self_cpu_time_total / whole, 4) for entry in largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="TEXTS")
    parser.add_argument("--result", type=Path, default=RESULTS / "encode.json")
    options = parser.parse_args()
    from eci.models.batching import token_lengths
    from eci.models.sentence_transformer import SentenceTransformerEncoder

    encoder = SentenceTransformerEncoder.load()
    texts = words_of(np.random.default_rng(0), max(options.sizes), TOKENS)
    lengths = token_lengths(encoder.model.tokenizer, texts, encoder.model.max_seq_length)
    if set(lengths.tolist()) != {TOKENS}:
        raise SystemExit(f"the texts have {lengths.min()} to {lengths.max()} tokens, expected {TOKENS}")
    encoder.encode_document(texts[:8])

    def run(size: int) -> dict[str, Any]:
        beside, used = surroundings(), texts[:size]
        began = time.perf_counter()
        plan = encoder.plan(used)
        planned = time.perf_counter()
        for batch in plan:
            encoder.encode_document([used[place] for place in batch.tolist()])
        ended = time.perf_counter()
        began_again = time.perf_counter()
        encoder.model.tokenizer(used, truncation=True, max_length=TOKENS, padding=True)
        tokenized = time.perf_counter() - began_again
        rate = operations(encoder.model, size) / (ended - began) / 1e9
        peaks = {f"{kind}_gflop_s": round(peak(kind), 1) for kind in ("bfloat16", "float32")}
        return {
            "wall_s": round(ended - began, 4),
            "planning_s": round(planned - began, 4),
            "tokenizing_s": round(tokenized, 4),
            "gflop_s": round(rate, 1),
            **peaks,
            "share": round(rate / peaks[f"{encoder.precision}_gflop_s"], 3),
            "share_of_bfloat16": round(rate / peaks["bfloat16_gflop_s"], 3),
            "share_of_float32": round(rate / peaks["float32_gflop_s"], 3),
            "precision": encoder.precision,
            "batches": len(plan),
            "operators": by_operator(encoder, used[: len(plan[0])]),
            **beside,
        }

    in_turn(options.result, options.pairs, options.sizes, {"encode": run})


if __name__ == "__main__":
    main()
