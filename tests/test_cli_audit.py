"""``eci audit`` as a user meets it: the summary, the table, limits, fixes and their undoing."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eci.audit.fixing import LOG
from eci.datasets import read, write
from eci.datasets.reading import from_object
from eci.datasets.rows import ReadOptions
from eci.examples import ROWS
from fakes import batch_of, make_rows, run_cli


@pytest.fixture
def audit(monkeypatch, capsys):
    def run(*arguments):
        given = [str(argument) for argument in arguments]
        models = [] if "--undo" in given else ["--encoder", "hashing"]
        return run_cli(monkeypatch, capsys, "audit", *given, *models)

    return run


def spoiled():
    """Rows with a copy of a positive, a repetition, an empty text and an answer of a row that asks the same."""
    rows = make_rows(12, {"bm25": 4, "dense": 3})
    for number, each in enumerate(rows):
        for place, negative in enumerate(each["negatives"]):
            negative |= {"id": f"d{number}-{place}", "score": 1 / (1 + place), "scorer": "bm25"}
        each["positives"][0] |= {"id": f"p{number}", "title": "Title"}
    first, second = rows[0]["negatives"], rows[1]["negatives"]
    first[1] |= {"text": rows[0]["positives"][0]["text"], "title": "Title"}
    first[3] |= {"text": first[2]["text"]}
    second[0] |= {"text": "  "}
    rows.append({**rows[2], "query_id": "again", "positives": [{"text": rows[2]["negatives"][0]["text"]}]})
    rows[-1]["negatives"] = rows[3]["negatives"]
    return rows


@pytest.fixture
def file(tmp_path):
    """The spoiled rows as a canonical file."""

    def made(ending=".jsonl"):
        path = tmp_path / f"rows{ending}"
        batch = batch_of(spoiled())
        write(from_object(batch, ReadOptions(layout="eci")), path, "eci")
        return path

    return made


def negatives_of(path):
    return [
        [negative["text"] for negative in row["negatives"]]
        for batch in read([path])
        for row in batch.to_pylist()
    ]


def test_the_summary_names_issues_checks_and_the_worst_rows(audit, file):
    code, told, err = audit(file())
    assert code == 0, err
    lines = {line.split()[0]: line.split()[1] for line in told.splitlines() if line and " " in line.strip()}
    assert told.startswith("13 rows, 91 negatives; encoder hashing")
    assert (lines["identical_to_positive"], lines["duplicate_in_row"], lines["empty"]) == ("1", "1", "1")
    assert lines["known_positive"] == "1"
    assert "✗ unique question ids: 2 rows share their query" in told
    assert "✗ no known positive among the negatives: 2 negatives" in told
    assert "✓ finite scores: none fails" in told
    assert "row 0 q0, negative 1 of bm25: identical_to_positive 0.00" in told
    assert "weights from other collections" in told


def test_the_result_as_json_and_the_table_as_parquet(audit, file, tmp_path):
    out = tmp_path / "scores.parquet"
    code, told, err = audit(file(), "--json", "--scores", out, "--worst", "2")
    assert code == 0, err
    result = json.loads(told)
    assert result["schema"] == "eci.audit/1"
    assert len(result["worst"]) == 2
    assert result["settings"]["command"].startswith("eci audit")
    table = pq.read_table(out)
    assert len(table) == result["negatives"] == 91
    for entry in result["summary"]:
        assert sum(table[f"is_{entry['issue']}"].to_pylist()) == entry["negatives"]


def test_limits_decide_the_exit_code(audit, file):
    path = file()
    assert audit(path, "--fail-on", "empty=0.5")[0] == 0
    code, told, err = audit(path, "--fail-on", "empty=0.001", "--fail-on", "repeated_query_id=0")
    assert code == 1
    assert "Failed: empty: 1.0989% of the negatives, more than 0.1000%" in err
    assert "Failed: repeated_query_id: 15.3846% of the rows" in err
    assert "13 rows" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail-on", "empty"], "takes ISSUE=SHARE"),
        (["--fail-on", "empty=2"], "share from 0 to 1"),
        (["--fail-on", "dull=0.1"], "no issue 'dull'"),
        (["--fix", "drop"], "give both"),
        (["-o", "x.jsonl"], "-o is where --fix and --undo write rows"),
        (["--issue", "empty"], "--fix mends"),
        (["--undo", "log.jsonl"], "--undo takes the log alone"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(audit, file, arguments, words):
    code, _, err = audit(file(), *arguments)
    assert code == 2
    assert words in err
    assert audit()[0] == 2


def test_refusals_come_before_the_work(audit, file, tmp_path):
    path = file()
    code, _, err = audit(path, "--fix", "drop", "-o", path)
    assert (code, "is read from" in err) == (1, True)
    code, _, err = audit(path, "--fix", "drop", "-o", tmp_path / "x.jsonl", "--issue", "dull")
    assert (code, "no issue 'dull'" in err) == (1, True)
    code, _, err = audit(path, "--scores", tmp_path / "none" / "t.parquet")
    assert (code, "does not exist" in err) == (1, True)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("action", ["drop", "relabel", "demote"])
def test_what_a_fix_did_can_be_undone_byte_for_byte(audit, file, tmp_path, action, ending):
    path, clean, back = file(ending), tmp_path / f"clean{ending}", tmp_path / f"back{ending}"
    code, told, err = audit(path, "--fix", action, "-o", clean)
    assert code == 0, err
    assert "clean" in told.splitlines()[-1]
    assert clean.read_bytes() != path.read_bytes()
    code, told, err = audit("--undo", tmp_path / f"clean{ending}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert "byte for byte" in told
    assert back.read_bytes() == path.read_bytes()


def test_each_action_does_what_it_says(audit, file, tmp_path):
    path = file()
    before = negatives_of(path)
    made = {}
    for action in ("drop", "relabel", "demote"):
        clean = tmp_path / f"{action}.jsonl"
        assert (
            audit(path, "--fix", action, "-o", clean, "--issue", "known_positive", "--issue", "empty")[0] == 0
        )
        made[action] = negatives_of(clean)
    known = before[2][0]
    assert made["drop"][1] == made["relabel"][1] == before[1][1:]
    assert made["demote"][1] == [*before[1][1:], before[1][0]]
    assert made["drop"][2] == made["relabel"][2] == before[2][1:]
    assert made["demote"][2] == [*before[2][1:], known]
    positives = [
        row["positives"] for batch in read([tmp_path / "relabel.jsonl"]) for row in batch.to_pylist()
    ]
    assert [p["text"] for p in positives[2]][-1] == known
    # The score of a negative is its miner's, that of a positive its judge's.
    assert positives[2][-1]["score"] is None
    assert positives[2][-1]["id"] == "d2-0"
    assert len(positives[1]) == 1
    untouched = [number for number in range(len(before)) if number not in (1, 2)]
    assert all(made[action][n] == before[n] for action in made for n in untouched)


def test_the_log_says_what_was_done_and_why(audit, file, tmp_path):
    assert audit(file(), "--fix", "drop", "-o", tmp_path / "clean.jsonl")[0] == 0
    header, *changes = map(json.loads, (tmp_path / "clean.jsonl.changes.jsonl").read_text().splitlines())
    assert (header["schema"], header["action"], header["fixed"]) == (LOG, "drop", "clean.jsonl")
    first = next(each for each in changes if each["row"] == 0)
    why = {change["place"]: change["issues"] for change in first["changes"]}
    assert why[1] == ["identical_to_positive"]
    assert "duplicate_in_row" in why[3]
    assert first["query_id"] == "q0"


def test_rows_of_several_files_are_mended_as_one_row_a_query(audit, tmp_path):
    rows = make_rows(6, {"bm25": 3, "dense": 3})
    for source in ("bm25", "dense"):
        lines = [
            {
                "query": r["query"],
                "pos": [r["positives"][0]["text"]],
                "neg": [n["text"] for n in r["negatives"] if n["source"] == source],
            }
            for r in rows
        ]
        # Both sources bring the positive: it is dropped from both.
        lines[0]["neg"][0] = lines[0]["pos"][0]
        (tmp_path / f"{source}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    clean, back = tmp_path / "clean.jsonl", tmp_path / "back.jsonl"
    code, told, err = audit(tmp_path / "bm25.jsonl", tmp_path / "dense.jsonl", "--fix", "drop", "-o", clean)
    assert code == 0, err
    assert "rows that ask the same were brought together" in told
    assert len(negatives_of(clean)[0]) == 4
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert "in the canonical layout" in told
    assert len(negatives_of(back)[0]) == 6


def test_an_answer_that_two_sources_bring_is_labelled_once(audit, tmp_path):
    rows = make_rows(2, {"bm25": 2, "dense": 2})
    rows[0]["negatives"][0]["text"] = rows[0]["negatives"][2]["text"] = "an answer"
    rows.append(
        {
            "query_id": "other",
            "query": rows[0]["query"],
            "positives": [{"text": "an answer"}],
            "negatives": [],
        }
    )
    path, clean = tmp_path / "rows.jsonl", tmp_path / "clean.jsonl"
    write(from_object(batch_of(rows), ReadOptions(layout="eci")), path, "eci")
    code, told, err = audit(path, "--fix", "relabel", "-o", clean)
    assert code == 0, err
    positives = [row["positives"] for batch in read([clean]) for row in batch.to_pylist()]
    assert [p["text"] for p in positives[0]].count("an answer") == 1
    assert "1 negative dropped, 1 negative relabelled" in told
    assert audit("--undo", f"{clean}.changes.jsonl", "-o", tmp_path / "back.jsonl")[0] == 0
    assert (tmp_path / "back.jsonl").read_bytes() == path.read_bytes()


def test_a_log_that_does_not_fit_is_refused(audit, file, tmp_path):
    clean, back = tmp_path / "clean.jsonl", tmp_path / "back.jsonl"
    assert audit(file(), "--fix", "drop", "-o", clean)[0] == 0
    log = tmp_path / "clean.jsonl.changes.jsonl"
    lines = clean.read_text().splitlines()
    clean.write_text("\n".join(lines[::-1]) + "\n")
    code, _, err = audit("--undo", log, "-o", back)
    assert (code, "the fixed rows were changed since" in err) == (1, True)
    clean.write_text(lines[0] + "\n")
    code, _, err = audit("--undo", log, "-o", back)
    assert (code, "the fixed rows are 1" in err) == (1, True)
    assert not back.exists()
    for content, words in (
        ("nothing", "no log of changes"),
        ('{"schema": "x"}', "expected 'eci.audit-log/1'"),
    ):
        log.write_text(content + "\n")
        code, _, err = audit("--undo", log, "-o", back)
        assert (code, words in err) == (1, True)
    code, _, err = audit("--undo", tmp_path / "none", "-o", back)
    assert (code, "cannot be read" in err) == (1, True)


def test_judgements_name_known_positives(audit, file, tmp_path):
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq5\td5-2\t1\nq5\td5-3\t0\n")
    code, told, _ = audit(file(), "--qrels", qrels, "--json")
    assert code == 0
    counts = {entry["issue"]: entry["negatives"] for entry in json.loads(told)["summary"]}
    assert counts["known_positive"] == 2


@pytest.mark.parametrize("groups", [None, [5000, 600], [100, 5500]])
def test_the_groups_of_a_parquet_file_come_back_too(audit, tmp_path, groups):
    # More rows than readers take at a time.
    rows = [
        {
            "query_id": f"q{number}",
            "query": f"query {number}",
            "positives": [{"text": f"answer {number}"}],
            "negatives": [{"source": "bm25", "text": f"no answer {number}" if number != 5000 else ""}],
        }
        for number in range(5600)
    ]
    path, clean, back = (tmp_path / f"{name}.parquet" for name in ("rows", "clean", "back"))
    read_rows = from_object(pa.Table.from_pylist(rows, schema=ROWS), ReadOptions(layout="eci"))
    if groups is None:
        write(read_rows, path, "eci")
    else:
        table = pa.Table.from_batches(list(read_rows)).combine_chunks()
        with pq.ParquetWriter(path, ROWS, compression="zstd") as writer:
            writer.write_table(table.slice(0, groups[0]).combine_chunks())
            writer.write_table(table.slice(groups[0]).combine_chunks())
    assert audit(path, "--fix", "drop", "-o", clean, "--issue", "empty")[0] == 0
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert "byte for byte" in told
    assert back.read_bytes() == path.read_bytes()
