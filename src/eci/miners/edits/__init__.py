"""Single facts that a text states, and what could be stated in their place: one module per kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from eci.miners.edits.date import dates
from eci.miners.edits.entity import Entities
from eci.miners.edits.negation import negations
from eci.miners.edits.number import numbers
from eci.miners.edits.page import Fact, Page
from eci.miners.edits.unit import units

Rule = Callable[[Page], Iterable[Fact]]

# Entities need a pool of names and are made by who has one.
RULES: dict[str, Rule] = {"number": numbers, "date": dates, "unit": units, "negation": negations}
KINDS = (*RULES, "entity")

__all__ = ["KINDS", "RULES", "Entities", "Fact", "Page", "Rule"]
