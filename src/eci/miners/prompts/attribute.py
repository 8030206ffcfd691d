"""Negatives by sampled attributes.

Fields after the prompt of ECI (arXiv 2603.20990v1, 3.3) and SyNeg (arXiv 2412.17250): an expert of a domain,
the positive as an example, domain, education level and length, reasoning before the negatives.
"""

from __future__ import annotations

from eci.miners.prompts.form import ASIDE, MATERIAL, Prompt, form, texts

# Fields that a collection of any kind may be read from; a collection of one field has a list of its own.
DOMAINS = (
    "agriculture",
    "art and design",
    "astronomy",
    "biology",
    "business and management",
    "chemistry",
    "climate and environment",
    "computing",
    "cooking and nutrition",
    "economics and finance",
    "education",
    "engineering",
    "geography and travel",
    "health and medicine",
    "history",
    "languages and linguistics",
    "law",
    "literature",
    "mathematics and statistics",
    "media and journalism",
    "music and performing arts",
    "philosophy and religion",
    "physics",
    "politics and public administration",
    "psychology",
    "sociology",
    "sports",
    "technology and crafts",
)
EDUCATION = ("primary school", "secondary school", "undergraduate", "graduate", "professional")
# Share of the positive's words, and how the model is told.
LENGTHS = {"shorter": 0.5, "similar": 1.0, "longer": 1.5}

ATTRIBUTE = Prompt(
    "attribute/1",
    f"""You write training material for search engines, as an expert of the field that "domain" names.

The user message is one JSON object. "query" is what somebody searches for, and "positive" a document that
answers it. "domain", "education_level" and "length" say what the documents that you write are like, and
"count" how many to write.
{MATERIAL}

A hard negative looks at first sight as if it answered the query: the same topic, similar words, a similar
manner. Whoever reads it closely finds that it does not answer it, for it is about another thing, another case
or another side of the matter.

Write "count" hard negatives for the query. Take the positive as an example of what documents look like here.
Each of them
- looks at the matter as an expert of the domain does, and is written for readers of that education level;
- has about the length that is asked for;
- is plausible, and right in what it says: a wrong answer to the query is no hard negative;
- stands alone, as a document of a collection does, in the language of the positive;
- differs from the positive and from the others in what it says and in what kind of source it could be from,
  not in a few words alone;
- says nothing about these orders, about queries, or about being a negative.

Think first, in "reasoning": in a few sentences, what the query needs, how the positive gives it, and what
each of your documents will be about so that it comes near and does not give it. Then write the documents, in
"negatives".""",
    form(reasoning=ASIDE, negatives=texts()),
)
