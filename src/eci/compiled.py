"""Dot products of pairs in one pass over memory, compiled by numba: the same bits as numpy's einsum.

numpy takes documents out and compares them afterwards, one at a time; each sum waits for the one before. Here
four pairs are summed at once, while later documents are fetched. The sums of a pair are taken in the order in
which einsum takes them where it has four lanes and no fused operation (x86-64).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np

# queries (B, d) and documents (D, d), float32; of each of n pairs its query and its document, int64; its
# product, float32, which is written. All contiguous. Nothing looks whether a query or a document exists.
Kernel: TypeAlias = Callable[[Any, Any, Any, Any, Any], None]

# Numbers that are compared between two fetches: a line of the processor's cache. Dimensions are multiples.
BLOCK = 16
# Beyond, einsum adds up parts of a vector.
MOST = 8192
_LANES, _PAIRS = 4, 4
# Pairs between the one that is compared and the one that is fetched.
_AHEAD = 8


@cache
def kernel() -> Kernel | None:
    """The compiled kernel; None without a numba that can, or where einsum sums in another order."""
    try:
        return _tried(_compiled())
    except Exception:  # noqa: BLE001  whatever this numba cannot do, numpy can
        return None


def _tried(found: Kernel) -> Kernel | None:
    rng = np.random.default_rng(0)
    queries, documents = (rng.standard_normal((size, 5 * BLOCK)).astype(np.float32) for size in (4, 9))
    rows, chosen = np.divmod(np.arange(35), 9)
    products = np.empty(35, dtype=np.float32)
    found(queries, documents, rows, chosen, products)
    expected = np.einsum("ij,ij->i", queries[rows], documents[chosen])
    return found if (products == expected).all() else None


def _compiled() -> Kernel:
    from numba import njit

    several, single = _products(_PAIRS), _products(1)

    @njit(nogil=True)
    def compare(queries: Any, documents: Any, rows: Any, chosen: Any, out: Any) -> None:
        whole = len(chosen) - len(chosen) % _PAIRS
        for place in range(0, whole, _PAIRS):
            several(queries, documents, rows, chosen, out, place)
        for place in range(whole, len(chosen)):
            single(queries, documents, rows, chosen, out, place)

    return compare


def _products(pairs: int) -> Any:
    """What numba turns into instructions for so many pairs from a place on."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    long, number, byte = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
    lanes = ir.VectorType(ir.FloatType(), _LANES)

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kinds = zip(signature.args[:5], given[:5], strict=True)
        arrays = [context.make_array(kind)(context, builder, value) for kind, value in kinds]
        queries, documents, rows, chosen, out = arrays
        dimension = builder.extract_value(queries.shape, 1)
        last = builder.sub(builder.extract_value(chosen.shape, 0), long(1))
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        )

        def vector(matrix: Any, of: Any, place: Any) -> Any:
            """Where the vector begins that a list of numbers names at a place."""
            row = builder.load(builder.gep(of.data, [place]))
            return builder.gep(matrix.data, [builder.mul(row, dimension)])

        def loaded(start: Any, place: Any) -> Any:
            pointer = builder.bitcast(builder.gep(start, [place]), lanes.as_pointer())
            return builder.load(pointer, align=4)

        places = [builder.add(given[5], long(pair)) for pair in range(pairs)]
        sides = []
        for place in places:
            later = builder.add(place, long(_AHEAD))
            later = builder.select(builder.icmp_signed("<", later, last), later, last)
            zeros = ir.Constant(lanes, [0.0] * _LANES)
            total = cgutils.alloca_once_value(builder, zeros)  # type: ignore[no-untyped-call]
            ahead = vector(documents, chosen, later)
            sides.append((vector(queries, rows, place), vector(documents, chosen, place), ahead, total))
        with cgutils.for_range(builder, builder.sdiv(dimension, long(BLOCK))) as loop:
            start = builder.mul(loop.index, long(BLOCK))
            for query, document, ahead, total in sides:
                line = builder.bitcast(builder.gep(ahead, [start]), byte)
                # To be read, to be kept near, data.
                builder.call(fetch, [line, number(0), number(3), number(1)])
                for step in reversed(range(0, BLOCK, _LANES)):
                    at = builder.add(start, long(step))
                    product = builder.fmul(loaded(query, at), loaded(document, at))
                    builder.store(builder.fadd(product, builder.load(total)), total)
        for place, (*_, total) in zip(places, sides, strict=True):
            held = builder.load(total)
            one, two, three, four = (builder.extract_element(held, number(lane)) for lane in range(_LANES))
            sum_ = builder.fadd(builder.fadd(one, two), builder.fadd(three, four))
            builder.store(sum_, builder.gep(out.data, [place]))
        return context.get_dummy_value()

    @intrinsic
    def products(_: Any, queries: Any, documents: Any, rows: Any, chosen: Any, out: Any, place: Any) -> Any:
        return types.void(queries, documents, rows, chosen, out, place), emit

    return products
