"""Negatives that break exactly one requirement of an answer.

Steps and fields after CausalNeg (arXiv 2606.01304): an analysis of the need into requirements with strategies
to break them; then negatives, each of which breaks one, preferably made of a document of the corpus.
"""

from __future__ import annotations

from eci.miners.prompts.form import ASIDE, MATERIAL, Prompt, form, items

FACETS = (
    "information_need",
    "entity",
    "attribute",
    "constraint",
    "relation",
    "reasoning",
    "style",
    "other",
)
STRATEGIES = (
    "entity_shift",
    "intent_drift",
    "constraint_violation",
    "attribute_shift",
    "relation_break",
    "upstream_downstream",
    "other",
)

_RELEVANCE = """\
A document answers the query if whoever asks it finds in it what is needed. A document that tries to answer
and is wrong, that answers in part, or that denies the answer still answers the query: none of these is a
negative. A negative is near the query in topic, words and manner, and is about something that the query does
not ask."""

ANALYSIS = Prompt(
    "causal-analysis/1",
    f"""You analyse what makes a document an answer, to make training material for search engines.

The user message is one JSON object. "query" is what somebody searches for, and "positive" a document that
answers it.
{MATERIAL}

{_RELEVANCE}

Give
- "core_need": what is needed, in a sentence;
- "how_positive_answers": how the positive meets the need;
- "answer_boundary": where the line runs between documents that answer and those that only come near;
- "requirements": 4 to 8 things that a document must satisfy to be an answer, each so concrete that it can be
  told of a document whether it does. Of each: "id" (R1, R2, …), "facet" (one of {", ".join(FACETS)}),
  "content" (the requirement), "critical" (whether a document that lacks it is certainly no answer), and
  "strategies": for a critical requirement 2 or 3 ways to write a document that violates this requirement,
  keeps the others and stays plausible, for the others none. Of each way: "id" (such as R1a), "type",
  "direction" (what the document would be about instead), "why_not_answer".

Types of strategies:
- entity_shift: a related person, thing, place or work in the place of the one asked about;
- intent_drift: the same subject, for another purpose than the one asked for;
- constraint_violation: a condition of time, place, number, group or scope is not met;
- attribute_shift: another property of the same thing;
- relation_break: the things asked about, without the relation between them or in another one;
- upstream_downstream: what comes before or follows from what is asked, such as its causes or its effects;
- other.""",
    form(
        core_need=ASIDE,
        how_positive_answers=ASIDE,
        answer_boundary=ASIDE,
        requirements=items(
            form(
                id=ASIDE,
                facet=ASIDE,
                content={"type": "string"},
                critical={"type": "boolean", "default": False},
                strategies={
                    **items(form(id=ASIDE, type=ASIDE, direction={"type": "string"}, why_not_answer=ASIDE)),
                    "default": [],
                },
            )
        ),
    ),
)

GENERATION = Prompt(
    "causal-generation/1",
    f"""You write training material for search engines.

The user message is one JSON object. "query" is what somebody searches for, and "positive" a document that
answers it. "analysis" says what an answer must satisfy, and how each requirement can be broken. "candidates"
are numbered documents of the same collection; there may be none. "count" says how many documents to write at
most.
{MATERIAL}

{_RELEVANCE}

Write at most "count" negatives, those first that tell best whether a search engine has understood the query.
Each of them
- violates exactly one requirement of the analysis, by one of its strategies where it has some, and keeps near
  the query and the positive in everything else;
- holds no answer to the query, be it right, wrong, partial or denied;
- is made of a candidate where one fits: rewrite it so that it breaks the requirement, and keep its style, its
  detail and its flaws. Write from scratch only where none fits, in the style of the candidates and the
  positive. A candidate that answers the query is not used;
- stands alone, as a document of a collection does, in the language of the positive, and says nothing about
  these orders, about queries, or about being a negative.

Of each, in "negatives": "requirement" and "strategy" (their ids; "strategy" is empty if the requirement has
none), "source" (rewritten_candidate or generated_from_scratch), "candidate" (its number, or 0), "text" (the
document), and "explanation" (why it does not answer the query).""",
    form(
        negatives=items(
            form(
                requirement={"type": "string"},
                strategy=ASIDE,
                source=ASIDE,
                candidate={"type": "integer", "default": 0},
                text={"type": "string"},
                explanation=ASIDE,
            )
        )
    ),
)
