"""How BM25 reads words and weighs them, and its index: built, saved, memory-mapped; by bm25s."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import orjson

from eci.atomic import atomic_path
from eci.errors import DataError, EciError, MissingDependency, OutputError
from eci.lexical import words
from eci.ragged import Ragged
from eci.task import Corpus
from eci.types import Progress

Method = Literal["lucene", "robertson", "atire"]
Backend = Literal["auto", "numpy", "numba"]

_SCHEMA = "eci.bm25/1"
_MARK = "eci.json"
_CHUNK = 1 << 14
_BM25S_WORD = r"(?u)\b\w\w+\b"


def _splitter(tokenizer: str) -> Callable[[str], list[str]]:
    if tokenizer == "words":
        return re.compile(_BM25S_WORD).findall
    if tokenizer == "unicode":
        return words
    if re.fullmatch(r"\w*", tokenizer):
        # As a regular expression it would find this one word alone: a slip of the pen.
        raise EciError(
            f"Unknown tokenizer {tokenizer!r}. Known: words, unicode, or a regular expression such as \\w+."
        )
    try:
        pattern = re.compile(tokenizer)
    except re.error as error:
        raise EciError(f"The tokenizer {tokenizer!r} is no regular expression: {error}.") from error
    if pattern.groups > 1:
        raise EciError(
            f"The tokenizer {tokenizer!r} has {pattern.groups} groups; a word is what one of them holds. "
            "Write (?:…) for the others."
        )
    return lambda text: [word for word in pattern.findall(text) if word]


@dataclass(frozen=True)
class BM25Settings:
    """How words are found and weighed; the defaults are those of bm25s.

    Parameters
    ----------
    k1 : float
        How much a repeated word counts, 0 or more; 0 counts it once.
    b : float
        How much long documents are discounted, 0…1.
    method : {"lucene", "robertson", "atire"}
        The variant. ``bm25l`` and ``bm25+`` of bm25s are left out: there, documents that share no word
        with the query have a score above 0 too.
    stopwords : str or tuple of str, optional
        A language whose stopwords bm25s knows (``"en"``, ``"german"``), or the words themselves.
    stemmer : str, optional
        A Snowball language of PyStemmer (``"english"``).
    tokenizer : str
        ``"words"``: runs of two or more letters, digits and underscores, as bm25s has it; ``"unicode"``:
        `eci.lexical.words`, which also takes scripts without spaces apart; else a regular expression of
        one word, with one group at most. Texts are lower-cased first.
    backend : {"auto", "numpy", "numba"}
        What computes. It changes speed alone; ``auto`` takes numba where it is installed and queries ×
        documents exceed 10¹⁰, about where the time it needs to compile is won back.

    Raises
    ------
    EciError
        A value is out of its range.
    """

    k1: float = 1.5
    b: float = 0.75
    method: Method = "lucene"
    stopwords: str | tuple[str, ...] | None = "en"
    stemmer: str | None = None
    tokenizer: str = "words"
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k1) and self.k1 >= 0):
            raise EciError(f"k1 of BM25 is a number of 0 or more, got {self.k1}.")
        if not 0 <= self.b <= 1:
            raise EciError(f"b of BM25 lies between 0 and 1, got {self.b}.")
        for name, known in (("method", get_args(Method)), ("backend", get_args(Backend))):
            if getattr(self, name) not in known:
                raise EciError(f"{name} of BM25 is one of {', '.join(known)}; got {getattr(self, name)!r}.")
        _splitter(self.tokenizer)


def _bm25s() -> Any:
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependency("BM25", "bm25s", "mine") from error
    # It sets its own logger to DEBUG, which would show in every program that logs.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


def tokenizer_of(settings: BM25Settings) -> Any:
    """A tokenizer of bm25s with an empty vocabulary."""
    bm25s = _bm25s()
    stopwords: Any = settings.stopwords
    if stopwords is not None and not isinstance(stopwords, str):
        stopwords = [word.lower() for word in stopwords]
    stemmer, splitter = _stemmer(settings.stemmer), _splitter(settings.tokenizer)
    try:
        return bm25s.tokenization.Tokenizer(splitter=splitter, stopwords=stopwords, stemmer=stemmer)
    except ValueError as error:
        lists = (name for name in dir(bm25s.stopwords) if name.startswith("STOPWORDS_"))
        known = ", ".join(name.removeprefix("STOPWORDS_").lower() for name in lists)
        raise EciError(
            f"No stopwords of {stopwords!r} are known. Known: {known}; or give the words themselves."
        ) from error


def _stemmer(language: str | None) -> Any:
    if language is None:
        return None
    try:
        import Stemmer
    except ImportError as error:
        raise MissingDependency("Stemming for BM25", "PyStemmer", "mine") from error
    known = Stemmer.algorithms()
    if language not in known:
        raise EciError(f"Unknown stemmer {language!r}. Known: {', '.join(known)}.")
    return Stemmer.Stemmer(language)


def versions_of(settings: BM25Settings) -> dict[str, Any]:
    """Versions of what computes."""
    return {"bm25s": version("bm25s"), "PyStemmer": version("PyStemmer") if settings.stemmer else None}


def weighing_of(settings: BM25Settings) -> dict[str, Any]:
    """The settings that decide the index, as JSON values."""
    weighing = {name: value for name, value in asdict(settings).items() if name != "backend"}
    if isinstance(settings.stopwords, tuple):
        weighing["stopwords"] = list(settings.stopwords)
    return weighing


def opened_index(corpus: Corpus, settings: BM25Settings, folder: Path | None, progress: Progress) -> Any:
    """The index of a corpus: built, or memory-mapped from a folder where it lies or is put first."""
    if folder is None:
        return _built(corpus, settings, progress)
    kept = _kept(folder)
    made_of = _made_of(corpus, settings)
    if kept is None or {**kept, "files": None} != {**made_of, "files": None}:
        if kept is not None:
            progress(f"building the BM25 index {folder} anew: other texts, settings or versions", 0, 0)
        with atomic_path(folder) as temporary:
            _save(_built(corpus, settings, progress), temporary, folder)
            files = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
            kept = {**made_of, "files": files}
            (temporary / _MARK).write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    return _loaded(folder, kept)


def _save(index: Any, temporary: Path, folder: Path) -> None:
    try:
        index.save(temporary)
    except OSError as error:
        # NumPy says how much it wrote to a full disk, and has no number for the error.
        if error.errno is not None:
            raise
        raise OutputError(
            f"{folder}: no space left to write it. Free some space, or write to another disk."
        ) from error


def _kept(folder: Path) -> dict[str, Any] | None:
    """What the index in a folder was made of; None where there is nothing."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file. Give the name of a folder for the BM25 index.")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not names:
        return None
    kept: Any = {}
    if _MARK in names:
        try:
            kept = orjson.loads((folder / _MARK).read_bytes())
        except orjson.JSONDecodeError as error:
            raise DataError(_damaged(folder, f"{_MARK} is not JSON")) from error
    if not isinstance(kept, dict) or kept.get("schema") != _SCHEMA or names - {_MARK, *kept.get("files", ())}:
        raise OutputError(
            f"{folder}: holds files that are no BM25 index of eci. Give an empty folder, or a new name."
        )
    return kept


def _made_of(corpus: Corpus, settings: BM25Settings) -> dict[str, Any]:
    """Everything that decides an index."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(corpus), _CHUNK):
        digest.update(orjson.dumps(corpus.shown(slice(start, start + _CHUNK))))
    texts = {"documents": len(corpus), "texts_blake2b": digest.hexdigest()}
    return {"schema": _SCHEMA, **versions_of(settings), "settings": weighing_of(settings), **texts}


def _loaded(folder: Path, kept: dict[str, Any]) -> Any:
    try:
        for name, size in kept["files"].items():
            found = (folder / name).stat().st_size
            if found != size:
                raise DataError(_damaged(folder, f"{name} has {found:,} bytes, {size:,} were written"))
        return _bm25s().BM25.load(folder, mmap=True)
    except OSError as error:
        raise DataError(_damaged(folder, f"{Path(error.filename).name}: {error.strerror}")) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(_damaged(folder, str(error))) from error


def _damaged(folder: Path, why: str) -> str:
    return f"The BM25 index {folder} is damaged ({why}). Delete the folder; the index is then built again."


@dataclass(frozen=True)
class _Documents:
    """Word numbers of each document as bm25s reads them, a list at a time out of one array."""

    rows: Ragged

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[int]]:
        offsets = self.rows.offsets.tolist()
        for start, stop in pairwise(offsets):
            yield self.rows.values[start:stop].tolist()


def _built(corpus: Corpus, settings: BM25Settings, progress: Progress) -> Any:
    bm25s, tokenizer = _bm25s(), tokenizer_of(settings)
    flat, lengths = array("i"), array("q")
    for start in range(0, len(corpus), _CHUNK):
        progress("reading documents for BM25", start, len(corpus))
        texts = corpus.shown(slice(start, start + _CHUNK))
        for row in tokenizer.streaming_tokenize(texts, update_vocab=True, allow_empty=False):
            flat.extend(row)
            lengths.append(len(row))
    progress("reading documents for BM25", len(corpus), len(corpus))
    if not flat:
        raise EciError(
            f"None of {len(corpus):,} documents has a word for BM25 (tokenizer {settings.tokenizer!r}, "
            f"stopwords {settings.stopwords!r}). Choose others."
        )
    progress("building the BM25 index", 0, 0)
    rows = Ragged.from_lengths(np.asarray(flat, dtype=np.int32), np.asarray(lengths, dtype=np.int64))
    index = bm25s.BM25(k1=settings.k1, b=settings.b, method=settings.method)
    tokens = bm25s.tokenization.Tokenized(ids=_Documents(rows), vocab=tokenizer.get_vocab_dict())
    index.index(tokens, show_progress=False)
    return index
