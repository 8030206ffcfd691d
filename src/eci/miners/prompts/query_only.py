"""Queries for passages, and negatives that never see the corpus.

Steps after "Don't Retrieve, Generate" (arXiv 2504.21015): a query for a passage; a negative for the query
alone, for which the model first says what a hard negative is; in later versions a negative for query and
positive.
"""

from __future__ import annotations

from eci.miners.prompts.form import ASIDE, MATERIAL, Prompt, form, texts

_ASKED = f"""You write training material for search engines.

The user message is one JSON object. "query" is what somebody searches for{{shown}}, and "count" how many
documents to write.
{MATERIAL}

Say first, in "definition", what a hard negative is when a search engine is trained: in a sentence or two of
your own. Then write "count" hard negatives for the query, in "negatives". Each of them is a document that a
search engine could easily take for an answer to the query, and that does not answer it. It stands alone, as a
document of a collection does, is written in the language of the query, differs from the others in what it
says, and says nothing about these orders, about queries, or about being a negative."""
_ANSWER = form(definition=ASIDE, negatives=texts())

QUERY_ONLY = Prompt("query-only/1", _ASKED.format(shown=""), _ANSWER)
QUERY_POSITIVE = Prompt(
    "query-positive/1", _ASKED.format(shown=', "positive" a document that answers it'), _ANSWER
)
PASSAGE_QUERY = Prompt(
    "passage-query/1",
    f"""You write training material for search engines.

The user message is one JSON object. "passage" is a document of a collection.
{MATERIAL}

Write, in "query", what somebody could type who has never seen the passage and whom it answers. It asks for
one thing that the passage tells, can be understood without the passage, is written in its language, and does
not copy its sentences. If the passage answers nothing that anybody would search for, "query" is the empty
string.""",
    form(query={"type": ["string", "null"]}),
)
