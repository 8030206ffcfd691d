"""``eci convert`` as a user runs it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from eci.cli.convert import convert
from eci.errors import DataError

ROWS = [
    {"query": "q", "pos": ["right"], "neg": ["near", "far"], "prompt": "P", "url": "u"},
    {"query": "r", "pos": ["right"], "neg": []},
]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "bm25.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def run(*words):
    return CliRunner().invoke(convert, [str(word) for word in words])


def test_summary(rows, tmp_path):
    done = run(rows, "-o", tmp_path / "out.jsonl", "--to", "triplet")
    assert done.exit_code == 0
    assert done.stdout.replace(f"{tmp_path}/", "") == (
        "out.jsonl: 2 rows of layout triplet, from 2 negatives\n"
        "not held by triplet: source (2)\n"
        "not held by triplet: extra.prompt (1)\n"
        "not held by triplet: extra.url (1)\n"
        "not held by triplet: queries without negatives (1)\n"
        "note: keys without a column, kept in 'extra': url (1)\n"
        "note: queries: 2, rows: 2; ids and sources stay behind, for trainers read every column\n"
    )
    assert done.stderr.replace(f"{tmp_path}/", "") == "Reading flagembedding: bm25.jsonl\n"


def test_default_is_the_canonical_layout(rows, tmp_path):
    assert run(rows, "-o", tmp_path / "out.jsonl", "--source", "mined").exit_code == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == [
        {
            "query": "q",
            "positives": [{"text": "right"}],
            "negatives": [{"source": "mined", "text": "near"}, {"source": "mined", "text": "far"}],
            "extra": {"prompt": "P", "url": "u"},
        },
        {"query": "r", "positives": [{"text": "right"}], "negatives": []},
    ]


def test_every_reading_option(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "A"}\n{"id": "b", "text": "B"}\n')
    (tmp_path / "asked.jsonl").write_text('{"id": "q", "text": "Q"}\n')
    (tmp_path / "rows.jsonl").write_text(
        '{"query_id": "q", "document_ids": ["a", "b"], "scores": [0.9, 0.1]}\n'
    )
    done = run(
        tmp_path / "rows.jsonl", "-o", tmp_path / "out.jsonl", "--layout", "id-lists", "--corpus", tmp_path / "texts.jsonl",
        "--queries", tmp_path / "asked.jsonl", "--positive-score", 0.5, "--source", "kd", "--batch-rows", 1, "--split", "train",
    )  # fmt: skip
    assert done.exit_code == 0
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "query_id": "q",
        "query": "Q",
        "positives": [{"id": "a", "text": "A", "score": 0.9}],
        "negatives": [{"source": "kd", "id": "b", "text": "B", "score": 0.1}],
    }


def test_as_many_negatives_for_every_query(rows, tmp_path):
    done = run(rows, "-o", tmp_path / "out.jsonl", "--to", "n-tuple", "--negatives", 1)
    assert done.stdout.splitlines()[0].endswith("out.jsonl: 1 row of layout n-tuple, from 2 negatives")
    assert "not held by n-tuple: queries without negatives (1)\n" in done.stdout
    assert "not held by n-tuple: negatives after the first 1 of their query (1)\n" in done.stdout
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "query": "q",
        "positive": "right",
        "negative_1": "near",
    }


def test_a_card_of_what_is_no_result(rows, tmp_path):
    done = run(rows, "-o", tmp_path / "out", "--to", "triplet", "--card", rows)
    assert isinstance(done.exception, DataError)
    assert f"{rows}: is no result of eci score (" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_errors_are_raised_for_the_group_to_tell(tmp_path):
    done = run(tmp_path / "none.jsonl", "-o", tmp_path / "out.jsonl")
    assert isinstance(done.exception, DataError)
    assert str(done.exception) == f"{tmp_path}/none.jsonl: no such file or folder."


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["rows.jsonl"],
        ["rows.jsonl", "-o", "x", "--batch-rows", "0"],
        ["rows.jsonl", "-o", "x", "--negatives", "0"],
        ["rows.jsonl", "-o", "x", "--card", "no-such-result.json"],
        ["rows.jsonl", "-o", "x", "--card-title", "T"],
        ["rows.jsonl", "-o", "x", "--card-license", "mit"],
    ],
)
def test_usage_errors(words):
    assert run(*words).exit_code == 2


def test_help_is_there_without_heavy_imports():
    code = (
        "import sys\nfrom eci.cli.convert import convert\n"
        "print({'pyarrow', 'datasets', 'numpy', 'orjson'} & set(sys.modules) or convert.get_short_help_str())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Write the rows of IN in another layout.\n"
