"""``eci audit`` as a user meets it: the summary, the table, limits, fixes and their undoing."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eci.audit.changes import LOG
from eci.datasets import read, write
from eci.datasets.reading import from_object
from eci.datasets.rows import ReadOptions
from eci.datasets.sinks import parquet
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
    assert f"every change in {clean}.changes.jsonl" in told
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


@pytest.fixture
def fixed(audit, file, tmp_path):
    """A fixed file, its log, and what undoing says."""
    clean, log, back = (
        tmp_path / name for name in ("clean.jsonl", "clean.jsonl.changes.jsonl", "back.jsonl")
    )
    assert audit(file(), "--fix", "demote", "-o", clean)[0] == 0

    def undone():
        code, told, err = audit("--undo", log, "-o", back)
        assert back.exists() == (code == 0)
        return code, told + err

    return clean, log, undone


@pytest.mark.parametrize("change", ["turned", "first", "one word", "id"])
def test_a_fixed_file_that_was_changed_is_refused(fixed, change):
    clean, _, undone = fixed
    lines = clean.read_text().splitlines()
    made = {
        "turned": lines[::-1],
        "first": lines[:1],
        # A row that no fix touched.
        "one word": [*lines[:-1], lines[-1].replace("negative", "changed", 1)],
        "id": [line.replace('"query_id":"q5"', '"query_id":"q50"') for line in lines],
    }[change]
    assert made != lines
    clean.write_text("\n".join(made) + "\n")
    code, told = undone()
    assert code == 1
    assert "clean.jsonl: is not what eci audit --fix wrote" in told


def test_a_fixed_file_that_is_gone_and_a_log_that_is_none(fixed, audit, tmp_path):
    clean, _, undone = fixed
    clean.unlink()
    assert undone()[0] == 1
    code, _, err = audit("--undo", tmp_path / "none", "-o", tmp_path / "back.jsonl")
    assert (code, "cannot be read: No such file" in err) == (1, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], "has no last line, so it was cut off"),
        (lambda lines: lines[:2], "has no last line, so it was cut off"),
        (lambda lines: [lines[0], *lines[2:]], "its last line says"),
        (lambda lines: [*lines[:-1], lines[-1][:40]], "is no line of a log"),
        (lambda lines: [*lines, lines[-1]], "comes after the last line"),
        (lambda lines: [lines[0], lines[1], *lines[1:]], ":3: is no change of a further row"),
        (lambda _: ["nothing"], ":1: is no line of a log"),
        (lambda _: [], "has the schema None"),
        (lambda _: ['{"schema": "x"}'], "expected 'eci.audit-log/1'"),
        (lambda _: [json.dumps({"schema": LOG})], ":1: is no first line"),
        (lambda lines: [lines[0].replace("clean.jsonl", "../clean.jsonl"), *lines[1:]], ":1: is no first line"),
        (lambda lines: [lines[0], '{"row": 0}', *lines[2:]], ":2: is no change"),
        (lambda lines: [lines[0], "[1]", *lines[2:]], ":2: is no line of a log"),
        (lambda lines: [lines[0], lines[1].replace('"done":"demoted"', '"done":"gone"'), *lines[2:]], ":2:"),
        (lambda lines: [*lines[:-2], lines[-2].replace('"row":', '"row":9'), lines[-1]], "the fixed rows are 13"),
        (lambda lines: [lines[0], lines[1].replace('"query_id":"q0"', '"query_id":"x"'), *lines[2:]], "does not fit"),
        (lambda lines: [lines[0], lines[1].replace('"text":', '"words":5,"text":[1],"t":'), *lines[2:]], "does not fit"),
        (lambda lines: [lines[0], lines[1].replace('"place":3', '"place":99'), *lines[2:]], "does not fit"),
    ],
)  # fmt: skip
def test_a_log_that_was_changed_is_refused(fixed, change, words):
    _, log, undone = fixed
    lines = log.read_text().splitlines()
    made = change(lines)
    assert made != lines
    log.write_text("".join(line + "\n" for line in made))
    code, told = undone()
    assert code == 1, told
    assert words in told


def test_a_log_that_was_tampered_with_is_not_called_what_was_audited(fixed):
    _, log, undone = fixed
    text = log.read_text()
    # The text of a negative that the log puts back.
    changed = text.replace("    ", "words ", 1) if "    " in text else text.replace('"rank":', '"rank":9', 1)
    assert changed != text
    log.write_text(changed)
    code, told = undone()
    assert code == 0
    assert "some value is not as it was in what was audited" in told


def test_rows_without_ids_come_back_value_for_value(audit, tmp_path):
    rows = [{**row, "query_id": None} for row in spoiled()]
    path, clean, back = tmp_path / "rows.jsonl", tmp_path / "clean.jsonl.gz", tmp_path / "back.jsonl"
    write(from_object(batch_of(rows), ReadOptions(layout="eci")), path, "eci")
    # Another layout of the same bytes: a blank line is no row.
    path.write_text(path.read_text() + "\n")
    assert audit(path, "--fix", "drop", "-o", clean)[0] == 0
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert "the rows that were audited, value for value, in the canonical layout" in told
    assert next(iter(read([back]))).equals(next(iter(read([path]))))


@pytest.mark.parametrize("name", ["input", "qrels", "log", "corpus", "link"])
def test_no_output_replaces_an_input(audit, file, tmp_path, name):
    path, qrels = file(), tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq5\td5-2\t1\n")
    (tmp_path / "link.jsonl").hardlink_to(path)
    clean = tmp_path / "clean.jsonl"
    scores = {
        "input": tmp_path / "." / path.name,
        "qrels": qrels,
        "log": tmp_path / "clean.jsonl.changes.jsonl",
        "corpus": clean,
        "link": tmp_path / "link.jsonl",
    }[name]
    before = path.read_bytes(), qrels.read_bytes()
    code, _, err = audit(path, "--qrels", qrels, "--fix", "drop", "-o", clean, "--scores", scores)
    assert code == 1
    assert "Write to another name." in err
    assert (path.read_bytes(), qrels.read_bytes()) == before
    assert not clean.exists()


def test_the_journal_of_a_judge_is_an_input_too(audit, file, tmp_path):
    kept = tmp_path / "answers.sqlite"
    code, _, err = audit(file(), "--judge", "some-model", "--journal", kept, "--scores", kept)
    assert (code, "answers.sqlite: is read from" in err) == (1, True)


def test_a_fix_is_told_in_the_result_by_issue(audit, file, tmp_path):
    code, told, err = audit(file(), "--fix", "drop", "-o", tmp_path / "clean.jsonl", "--json")
    assert code == 0, err
    done = json.loads(told)["data"]["fix"]
    assert done["issues"]["empty"] == 1
    assert done["issues"]["identical_to_positive"] == 1
    assert sum(done["issues"].values()) >= done["dropped"]


def test_a_log_does_not_replace_an_input(audit, file, tmp_path):
    path = file().rename(tmp_path / "clean.jsonl.changes.jsonl")
    code, _, err = audit(path, "--fix", "drop", "-o", tmp_path / "clean.jsonl")
    assert (code, "clean.jsonl.changes.jsonl: is read from" in err) == (1, True)


def test_issues_of_rows_are_nothing_to_mend(audit, file, tmp_path):
    code, _, err = audit(file(), "--fix", "drop", "-o", tmp_path / "x.jsonl", "--issue", "repeated_query_id")
    assert (code, "repeated_query_id is said of rows" in err) == (1, True)


def answers():
    """Rows whose first negative has the words of the query: a likely answer, but no copy of a positive."""
    rows = make_rows(8, {"bm25": 5})
    for number, each in enumerate(rows):
        each["query"] = f"red fox number {number} of the north"
        each["positives"] = [{"text": f"a red fox number {number} of the north lives far up there"}]
        each["negatives"][0]["text"] = f"north of us the red fox number {number} was seen by a hunter"
    return rows


def test_a_guess_is_relabelled_only_by_name(audit, tmp_path):
    path = tmp_path / "rows.jsonl"
    write(from_object(batch_of(answers()), ReadOptions(layout="eci")), path, "eci")
    likely = ("--false-negative", "0.2")
    code, told, err = audit(path, "--fix", "relabel", "-o", tmp_path / "a.jsonl", *likely)
    assert code == 0, err
    assert "8 likely false negatives left in place: nobody has judged them" in told
    assert "nothing to mend" in told
    assert negatives_of(tmp_path / "a.jsonl") == negatives_of(path)
    code, told, _ = audit(
        path, "--fix", "relabel", "-o", tmp_path / "b.jsonl", *likely, "--issue", "likely_false_negative"
    )
    assert "8 negatives relabelled in 8 rows" in told
    assert "  likely_false_negative: 8" in told
    # Beside the counts, where it is read.
    assert "weights from other collections" in told[told.index("relabelled") :]
    code, told, _ = audit(path, "--fix", "drop", "-o", tmp_path / "c.jsonl", *likely)
    assert "8 negatives dropped" in told


def test_judgements_that_match_nothing_are_told(audit, file, tmp_path):
    qrels, queries = tmp_path / "qrels.tsv", tmp_path / "queries.jsonl"
    qrels.write_text("query-id\tcorpus-id\tscore\nother\td5-2\t1\n")
    queries.write_text('{"_id": "x", "text": "nobody asks this"}\n')
    code, told, err = audit(file(), "--qrels", qrels, "--test-qrels", qrels, "--test-queries", queries)
    assert code == 0, err
    assert "Judgements: 0 of 13 rows have a query id that is in them (1 query)" in told
    assert "0 rows and 0 negatives" not in told
    qrels.write_text("query-id\tcorpus-id\tscore\nother\tnone\t1\n")
    told = audit(file(), "--test-qrels", qrels, "--test-queries", queries)[1]
    assert "Of the test set's 1 query and 1 document no id occurs here" in told
    assert "None of the 1 test query is asked here" in audit(file(), "--test-queries", queries)[1]
    bare = [{**row, "query_id": None} for row in make_rows(4)]
    write(from_object(batch_of(bare), ReadOptions(layout="eci")), tmp_path / "bare.jsonl", "eci")
    told = audit(tmp_path / "bare.jsonl", "--qrels", qrels)[1]
    assert "Judgements go by ids, and 4 rows and 44 negatives have none" in told


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


@pytest.mark.parametrize("apart", [False, True])
def test_what_eci_mine_wrote_comes_back_byte_for_byte(audit, tmp_path, apart):
    """More rows than mining has in a batch, and more text than Parquet puts on a page."""
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["fox", "hen", "oak", "elm", "sea"], 300)) for _ in range(700)]
    batches = [
        batch_of(
            [
                {
                    "query_id": f"q{number}",
                    "query": f"query {number}",
                    "positives": [{"text": f"answer {number}"}],
                    "negatives": [{"source": "bm25", "text": f"{number} {part} {words[number]}"} for part in "abcde"]
                    + [{"source": "bm25", "text": "" if number == 300 else f"no {number}"}],
                }
                for number in range(start, min(start + 256, 700))
            ]
        )
        for start in range(0, 700, 256)
    ]  # fmt: skip
    path, clean, back = (tmp_path / f"{name}.parquet" for name in ("rows", "clean", "back"))
    if apart:
        # As it was written before the writer joined batches.
        with pq.ParquetWriter(path, ROWS, compression="zstd") as writer:
            writer.write_table(pa.Table.from_batches(batches))
    else:
        parquet(path, iter(batches), ROWS)
        whole = tmp_path / "whole.parquet"
        parquet(whole, iter(pa.Table.from_batches(batches).combine_chunks().to_batches()), ROWS)
        assert path.read_bytes() == whole.read_bytes()
    assert sum(batch.nbytes for batch in batches) > 4_000_000
    assert audit(path, "--fix", "drop", "-o", clean, "--issue", "empty")[0] == 0
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert "byte for byte" in told
    assert back.read_bytes() == path.read_bytes()


def test_a_saved_data_set_comes_back_value_for_value(audit, file, tmp_path):
    pytest.importorskip("datasets")
    path, clean, back = file(), tmp_path / "clean", tmp_path / "back.jsonl"
    assert audit(path, "--fix", "drop", "-o", clean)[0] == 0
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert back.read_bytes() == path.read_bytes()
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", tmp_path / "back")
    assert "value for value" in told
    (clean / "state.json").write_text((clean / "state.json").read_text() + " ")
    code, _, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert (code, "clean: is not what eci audit --fix wrote" in err) == (1, True)


def test_parquet_of_another_writer_comes_back_value_for_value(audit, file, tmp_path):
    path, clean, back = (tmp_path / f"{name}.parquet" for name in ("rows", "clean", "back"))
    file(".parquet")
    pq.write_table(pq.read_table(path), path, compression="snappy")
    assert audit(path, "--fix", "drop", "-o", clean)[0] == 0
    code, told, err = audit("--undo", f"{clean}.changes.jsonl", "-o", back)
    assert code == 0, err
    assert "value for value" in told
    assert pq.read_table(back).equals(pq.read_table(path))
