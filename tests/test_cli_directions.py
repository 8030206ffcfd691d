"""What `eci score` prints of directions and shortcuts, and the corpora it can be given."""

from __future__ import annotations

import json
import re

import pytest

from fakes import make_rows, run_cli


@pytest.fixture
def eci(monkeypatch, capsys):
    return lambda *arguments: run_cli(monkeypatch, capsys, *map(str, arguments), "--encoder", "hashing")


def written(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def rows_file(tmp_path):
    return written(tmp_path / "rows.jsonl", make_rows(60, {"bm25": 7, "dense": 3}))


@pytest.fixture
def corpus(tmp_path):
    documents = [{"_id": f"d{n}", "title": f"Title {n}", "text": f"margin of query {n}"} for n in range(40)]
    return written(tmp_path / "corpus.jsonl", documents)


def block(out, heading):
    (found,) = [part for part in out.split("\n\n") if part.startswith(heading)]
    return found.splitlines()


def test_effects_directions_and_shortcuts_are_printed(eci, rows_file):
    _, out, _ = eci("score", rows_file)
    assert re.search(r"; without hard negatives (–|-?\d\.\d{3}) \((–|-?\d\.\d{3}) … ", out)
    effects = block(out, "Expected beyond in-batch negatives alone")
    assert effects.pop().endswith("that of 'eci probe' in 42: docs/validation.md.")
    assert re.match(
        r"  Held-out queries rank the \d+ texts of the rows; --candidates ranks a corpus", effects.pop()
    )
    assert [line.split()[0] for line in effects[1:]] in (
        ["source", "bm25", "dense"],
        ["source", "dense", "bm25"],
    )
    # So few queries may leave the cosines undefined.
    assert all(re.search(r" undecided +(–|[+-]\d\.\d{3}).* [+-]\d\.\d{3} \(", line) for line in effects[2:])
    semantic = block(out, "eci_sem/open-1, our own definition")
    assert "within queries" in semantic[1]
    assert semantic[-1].startswith("  Kendall's τ with its order at temperature 0.05: ")
    shortcuts = block(out, "Source shortcuts")
    assert re.match(r"  bm25 / dense +clear +probe 0\.\d\d \(", shortcuts[1])


def test_one_source_has_no_pairs_and_no_tau(eci, tmp_path):
    _, out, _ = eci("score", written(tmp_path / "one.jsonl", make_rows(60, {"bm25": 3})))
    assert "Source shortcuts" not in out
    assert "Kendall's τ with its order" not in out


def test_of_many_pairs_only_those_are_printed_that_are_not_clear(eci, tmp_path):
    rows = make_rows(60, dict.fromkeys("abcdef", 5))
    for row in rows:
        for negative in row["negatives"]:
            if negative["source"] == "f":
                negative["text"] = "in summary the following holds " + negative["text"]
    _, out, _ = eci("score", written(tmp_path / "six.jsonl", rows))
    lines = block(out, "Source shortcuts")
    assert lines[0].endswith("10 of 15 pairs clear")
    assert sorted(line.split()[0] for line in lines[1:]) == list("abcde")
    assert all(line.split()[2:4] == ["f", "separable"] for line in lines[1:])
    assert "! a and f differ in " in out


def test_a_corpus_of_candidates_and_one_for_words(eci, rows_file, corpus):
    (_, plain, _), (code, out, err) = (
        eci("score", rows_file, "--json", *more)
        for more in ((), ("--candidates", corpus, "--idf-corpus", corpus, "--tokenizer", "trigrams"))
    )
    assert code == 0, err
    plain, found = json.loads(plain), json.loads(out)
    assert found["data"]["alignment"]["candidates"] == 60 + 40
    assert found["data"]["word_frequencies_over"] == 40
    assert found["settings"]["tokenizer"] == "trigrams"
    assert found["settings"]["reading"]["candidates"] == str(corpus)
    assert [file["name"] for file in found["data"]["corpora"]] == ["corpus.jsonl"]
    for name, changed in (
        ("eci", False),
        ("alignment_dot", True),
        ("lexical_overlap_query", True),
        ("eci_sem", True),
    ):
        values = [each["sources"][0]["values"][name]["value"] for each in (plain, found)]
        assert (values[0] != values[1]) == changed, name


def test_the_folder_of_a_collection_stands_for_its_corpus(eci, rows_file, corpus):
    by_file, by_folder = (
        json.loads(eci("score", rows_file, "--json", "--no-shortcuts", "--candidates", given)[1])
        for given in (corpus, corpus.parent)
    )
    assert by_folder["sources"] == by_file["sources"]
    assert by_folder["data"]["alignment"]["candidates"] == 60 + 40


def test_a_folder_that_holds_no_corpus_is_not_digested(eci, rows_file, tmp_path, monkeypatch):
    """It may be as large as a disk."""
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "disk" / "notes.json").write_text('"no corpus"')
    monkeypatch.setattr("eci.jobs.fingerprint", lambda paths: pytest.fail(f"digested {paths}"))
    code, _, err = eci("score", rows_file, "--candidates", tmp_path / "disk")
    assert code == 1
    assert "notes.json: " in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--candidates", "absent.jsonl"), 1, "absent.jsonl"),
        (
            ("--candidates", "rows.jsonl"),
            1,
            "rows.jsonl: holds training rows (with 'positives'), no documents",
        ),
        (("--idf-corpus", "empty.jsonl"), 1, "empty.jsonl: has no documents"),
        (("--candidates", "bad.jsonl"), 1, "bad.jsonl:1"),
        (("--tokenizer", "encoder"), 1, "no tokenizer of its own"),
        (("--tokenizer", "bytes"), 2, "'bytes' is not one of"),
        (("--fixed-n", "0"), 2, "0 is not in the range"),
        (("--fixed-n-by", "sample"), 2, "says which negatives --fixed-n keeps"),
        (("--metric", "eci_semantic"), 2, "Known: eci, "),
    ],
)
def test_what_cannot_be_used_is_told(eci, rows_file, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text('{"_id": "1", "body": "x"}\n')
    found, out, err = eci("score", rows_file, *arguments)
    assert (found, out) == (code, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("metric", ["alignment_dot_gain", "eci_sem_query", "alignment_dot"])
def test_sources_can_be_ranked_by_them(eci, rows_file, metric):
    code, out, _ = eci("score", rows_file, "--metric", metric, "--until", "decided", "--json")
    found = json.loads(out)
    assert code == 0
    values = [entry["values"][metric]["value"] for entry in found["sources"]]
    assert values == sorted(values, reverse=True)
    assert metric in found["verdict"]


def test_a_gain_that_no_cosine_tells_is_null_with_its_reason_and_undecided(eci, tmp_path):
    """Of vectors that are all alike no gradient is left."""
    rows = make_rows(60, {"a": 2, "b": 2})
    for row in rows:
        for text in (row, *row["positives"], *row["negatives"]):
            text["query" if "query" in text else "text"] = "?"
    _, out, _ = eci("score", written(tmp_path / "alike.jsonl", rows), "--metric", "alignment_gain", "--json")
    found = json.loads(out)
    assert [entry["values"]["alignment_gain"]["value"] for entry in found["sources"]] == [None, None]
    assert {entry["verdict"] for entry in found["effects"]} == {"undecided"}
    assert not found["decided"]
    assert any(
        text.startswith("null: alignment_gain of a and b: a gradient vanishes") for text in found["warnings"]
    )
