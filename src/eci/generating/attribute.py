"""Negatives of a sampled domain, education level and length, after ECI v1 and SyNeg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from eci.chat.messages import ChatRequest
from eci.errors import DataError, EciError
from eci.generating.samples import Sample
from eci.generating.steps import Answers, Drafts, listed, refuse_count, request
from eci.lexical import words
from eci.miners.prompts import ATTRIBUTE, DOMAINS, EDUCATION, LENGTHS


@dataclass(frozen=True)
class Attribute:
    """Writes negatives as an expert of a domain would; satisfies ``eci.generating.steps.Generator``.

    Domain, education level and length are drawn for each sample by its own number, so they do not depend on
    what else is written.

    Parameters
    ----------
    count : int
        Negatives of a sample.
    domains : tuple of str
    """

    count: int = 3
    domains: tuple[str, ...] = DOMAINS
    name: ClassVar[str] = "attribute"

    def __post_init__(self) -> None:
        refuse_count(self.count)
        if not self.domains:
            raise EciError("There is no domain to draw from. Name at least one.")

    def describe(self) -> dict[str, Any]:
        """Name, prompt and domains."""
        return {
            "name": self.name,
            "prompts": [ATTRIBUTE.version],
            "count": self.count,
            "domains": list(self.domains),
        }

    def attributes(self, sample: Sample) -> dict[str, str]:
        """What is drawn for a sample: ``domain``, ``education_level`` and ``length``."""
        rest, domain = divmod(sample.drawn, len(self.domains))
        rest, level = divmod(rest, len(EDUCATION))
        return {
            "domain": self.domains[domain],
            "education_level": EDUCATION[level],
            "length": list(LENGTHS)[rest % len(LENGTHS)],
        }

    def request(self, sample: Sample, answers: Answers) -> ChatRequest | None:
        """The one call."""
        if answers:
            return None
        drawn = self.attributes(sample)
        own, target = len(words(sample.positive)), self._target(sample)
        told = f"about {target:,} words; the positive has {own:,}"
        material = {**drawn, "length": told, "count": self.count}
        material |= {"query": sample.query, "positive": sample.positive}
        return request("negatives by attributes", sample, ATTRIBUTE, material)

    def words(self, sample: Sample) -> int:
        """Words of the negatives as long as drawn."""
        return self.count * self._target(sample)

    def _target(self, sample: Sample) -> int:
        share = LENGTHS[self.attributes(sample)["length"]]
        return max(10, round(share * len(words(sample.positive))))

    def drafts(self, sample: Sample, answers: Answers) -> Drafts:
        """The negatives, each with what was drawn."""
        record = {"attributes": self.attributes(sample), "of": sample.positive_id}
        return listed(answers[-1], record)

    def stand_in(self, step: int) -> Mapping[str, Any]:  # noqa: ARG002
        """Of the one call, after which there is none."""
        return {"reasoning": "", "negatives": []}


def domains_of(path: Path) -> tuple[str, ...]:
    """Domains that a file names: one a line, or a JSON list of texts.

    Raises
    ------
    DataError
        The file cannot be read as that, or names none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read: {error}. Give a text file with one domain a line."
        ) from None
    listing: Any = text.splitlines()
    if text.lstrip().startswith("["):
        try:
            listing = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path}: is no JSON list of texts ({error}).") from None
    if not all(isinstance(each, str) for each in listing):
        raise DataError(f"{path}: a domain is a text. Give one a line, or a JSON list of texts.")
    named = tuple(dict.fromkeys(" ".join(each.split()) for each in listing if each.strip()))
    if not named:
        raise DataError(f"{path}: names no domain. Give one a line.")
    return named
