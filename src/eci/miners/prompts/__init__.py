"""What chat models are told to write: prompts with a version, and the form of their answers.

The wording is our own; fields and steps are those that the papers name. A prompt that changes gets another
version, for what was written under the old one.
"""

from eci.miners.prompts.attribute import ATTRIBUTE, DOMAINS, EDUCATION, LENGTHS
from eci.miners.prompts.causal import ANALYSIS, FACETS, GENERATION, STRATEGIES
from eci.miners.prompts.form import Prompt
from eci.miners.prompts.query_only import PASSAGE_QUERY, QUERY_ONLY, QUERY_POSITIVE

__all__ = [
    "ANALYSIS",
    "ATTRIBUTE",
    "DOMAINS",
    "EDUCATION",
    "FACETS",
    "GENERATION",
    "LENGTHS",
    "PASSAGE_QUERY",
    "QUERY_ONLY",
    "QUERY_POSITIVE",
    "STRATEGIES",
    "Prompt",
]
