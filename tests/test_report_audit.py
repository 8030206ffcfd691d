"""The page of an audit: what it says, which rows it holds, that it is the same from JSON, what the command refuses."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from eci.audit.fixing import fix
from eci.audit.issues import FAULTS, AuditSettings
from eci.audit.result import AuditResult
from eci.audit.running import audit
from eci.audit.summing import CHANCES
from eci.datasets import from_object, read
from eci.examples import is_label
from eci.models.hashing import HashingEncoder
from eci.report.auditing import audited
from eci.report.cases import cases
from eci.report.measured import RIGHT
from eci.report.mending import decision, share
from eci.report.render import markdown, page
from fakes import make_rows, run_cli
from test_report import HOSTILE, alike, rounded

for module in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(module, reason="the extra 'report' is not installed")

GOLDEN = Path(__file__).parent / "golden" / "report-audit.json"
JUDGE = {
    "model": "judge",
    "by": "rlhn",
    "pairs": 9,
    "asked": 8,
    "answered": 7,
    "verdicts": {"better": 2, "worse": 1, "irrelevant": 4},
    "agreement": 2 / 7,
    "unanswered": {"no answer": 1},
    "open": 0,
    "retries": {},
    "calls": 3,
    "strangers": 0,
    "kept": 1,
    "prompt_tokens": 1200,
    "completion_tokens": 90,
    "cost": 0.0123,
    "labelled_shortened": 0,
}


def faulty(queries=24, sources=None):
    """Rows with a copy of a positive, a repetition and an empty text here and there."""
    made = make_rows(queries, sources or {"bm25": 4, "dense": 3}, seed=3)
    for number, row in enumerate(made):
        if number % 3 == 0:
            row["negatives"][0]["text"] = row["positives"][0]["text"]
        if number % 4 == 0:
            row["negatives"][2]["text"] = row["negatives"][1]["text"]
        if number % 6 == 0:
            row["negatives"][-1]["text"] = "  "
    return made


def run(made, **settings) -> AuditResult:
    return audit(from_object(made), HashingEncoder(), AuditSettings(**settings))


@pytest.fixture(scope="module")
def result():
    found = run(faulty(), worst=200)
    found.settings["command"] = "eci audit rows.jsonl"
    return found


def table(report, key):
    held = [told for section in report.sections for told in section.tables]
    held += [figure.table for figure in report.figures if figure.table]
    return next(told for told in held if told.key == key)


def test_the_report_of_a_tiny_audit_is_the_golden_one(result):
    small = dataclasses.replace(result, settings={**result.settings, "versions": {"eci": "0"}})
    told = rounded(audited(small).to_dict())
    alike(json.loads(GOLDEN.read_text(encoding="utf-8")), told)


def test_what_a_fix_takes_out_is_what_it_takes_out(tmp_path):
    made = faulty(12, {"bm25": 3})
    for negative in made[0]["negatives"]:
        negative["text"] = ""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
    found = audit(read([file]), HashingEncoder())
    done = fix(read([file]), found.findings, tmp_path / "clean.parquet", "drop")
    told = found.data["mendable"]
    assert (told["negatives"], told["rows"], told["emptied"]) == (done.dropped, done.rows, done.emptied)
    assert told["issues"] == done.issues
    assert done.emptied >= 1
    assert (
        f"takes out {done.dropped} negatives of {done.rows} rows"
        in dict(decision(found).sentences)["What a fix takes out"]
    )


def test_sources_add_up_to_the_whole(result):
    assert sum(told["mendable"] for told in result.sources.values()) == result.data["mendable"]["negatives"]
    for told in result.sources.values():
        assert len(told["chances"]) == CHANCES
        assert sum(told["chances"]) <= told["negatives"]
        bound = round(CHANCES * result.settings["false_negative"])
        flagged = round(told["shares"]["likely_false_negative"] * told["negatives"])
        assert sum(told["chances"][bound:]) == flagged


def test_the_headline_counts_and_names_what_is_wrong(result):
    told = result.data["mendable"]
    found = decision(result)
    assert found.headline.startswith(f"{told['negatives']} of {result.negatives} negatives (")
    first = max(told["issues"], key=lambda issue: told["issues"][issue])
    assert f"{first.replace('_', ' ')} {told['issues'][first]}" in found.headline
    assert "No score is proof" in found.caution
    most = found.leaderboard.rows[0]
    assert most[2][0] == max(row[2][0] for row in found.leaderboard.rows)


def test_nothing_wrong_is_told_so():
    clean = run(make_rows(4, {"bm25": 2}, seed=1), false_negative=0.999)
    told = decision(clean)
    assert told.headline == "None of 8 negatives looks wrong by what a fix mends."
    assert dict(told.sentences)["What a fix takes out"].startswith("Nothing: ")
    assert audited(clean).explorer is None
    assert page(audited(clean)).startswith("<!DOCTYPE html>")


def test_what_was_not_looked_for_is_told(result):
    told = dict(decision(result).sentences)
    assert told["Leaks of a test set"].startswith("Not looked for")
    assert told["What was known"].startswith("No judgements were given")
    known = {"relevant pairs": 3, "test queries by id": 2, "test queries by text": 0}
    given = dict(decision(dataclasses.replace(result, data={**result.data, "known": known})).sentences)
    assert given["Leaks of a test set"].startswith("None: ")
    assert "What was known" not in given


def test_what_was_measured_is_what_the_documentation_says():
    text = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")
    text = text[text.index("| negatives | hidden answers among them") : text.index("ECI_DATA=DIR")]
    right = {"these rows": [], "other collections": []}
    for line in text.splitlines():
        if found := re.search(r"%; (\d+)% \|$", line):
            right["other collections" if "(of " in line or "(weights" in line else "these rows"].append(
                int(found[1]) / 100
            )
    assert {name: (min(shares), max(shares)) for name, shares in right.items()} == RIGHT


def test_intervals_are_wilsons():
    value, low, high = share(9, 10)
    assert (value, round(low, 3), round(high, 3)) == (0.9, 0.596, 0.982)


def test_all_six_checks_have_their_names_and_lights(result):
    rows = table(audited(result), "checks").rows
    assert [row[0] for row in rows] == [check.name for check in result.checks]
    assert len(rows) == 6
    assert {row[1] for row in rows} == {"passed", "failed"}


def test_issues_that_occur_are_marked_by_whether_a_fix_mends_them(result):
    rows = {row[0]: row for row in table(audited(result), "issues").rows}
    assert all((rows[issue][5] == "yes") == (issue in FAULTS) for issue in rows)
    assert rows["identical_to_positive"][2] == 8
    assert "None: " in table(audited(result), "issues").note


def test_a_judge_has_a_section_with_verdicts_agreement_and_cost(result):
    asked = audited(dataclasses.replace(result, data={**result.data, "judge": JUDGE}))
    rows = dict(table(asked, "judge").rows)
    assert rows["Verdict: better"] == "2"
    assert rows["Likely false negatives that it confirms"] == "29%"
    assert rows["Cost, in this run"] == "0.0123"
    assert "judge answered 7 of 8 pairs" in dict(asked.decision.sentences)["The judge"]
    tried = audited(dataclasses.replace(result, data={**result.data, "judge": {"dry_run": "x"}}))
    assert dict(tried.decision.sentences)["The judge"] == "Nothing was asked (--dry-run)."
    assert "judge" not in [section.key for section in tried.sections]


def test_the_worst_rows_are_there_with_texts_scores_and_verdicts(result):
    entry = {**result.worst[0], "verdict": {"word": "better", "snippet": "says so"}}
    told = cases(dataclasses.replace(result, worst=(entry, *result.worst[1:])))
    assert len(told["cases"]) == len(result.worst)
    first = told["cases"][0]
    assert (first["row"], first["place"], first["query"]) == (entry["row"], entry["place"], entry["query"])
    assert first["verdict"] == ["better", "says so"]
    assert {told["issues"][at][0]: score for at, score in first["issues"]} == entry["issues"]
    assert told["sources"][first["source"]] == entry["source"]
    assert told["verdicts"] == ["better"]


@pytest.mark.parametrize("room", [300, 3_000, 20_000, 10**7])
def test_texts_of_rows_stay_within_their_room(result, room):
    long = [{**entry, "negative": entry["negative"] + " w" * 1500} for entry in result.worst]
    told = cases(dataclasses.replace(result, worst=tuple(long)), room)
    assert len(told["cases"]) + told["left"] == len(long)
    assert len(json.dumps([entry["negative"] for entry in told["cases"]])) <= room
    if told["left"]:
        assert told["characters"] == 250


def test_from_json_comes_the_same_page(result):
    assert page(audited(AuditResult.from_json(result.to_json()))) == page(audited(result))


def test_hostile_texts_are_data_on_the_page():
    made = faulty(len(HOSTILE))
    for text, row in zip(HOSTILE, made, strict=True):
        row["query"] = f"{text} {row['query']}"
        # Sources that do not print are refused where rows are read.
        source = text[:200] if is_label(text[:200]) else "bm25"
        row["negatives"][0] = {"text": row["positives"][0]["text"], "source": source, "id": text}
    assert sum(is_label(text[:200]) for text in HOSTILE) > len(HOSTILE) / 2
    text = page(audited(run(made, worst=50)))
    parts = re.split(r"<script[^>]*>", text)
    data = parts[1].split("</script>")[0]
    outside = "".join([parts[0], *(part.split("</script>", 1)[1] for part in parts[1:])])
    assert len(parts) == 4  # data, Vega, and the page's own
    for bad in ("<script>window.bad", "<img src=", "<svg onload", "\u202e", "\x00"):
        assert bad not in outside
        assert bad not in data
    assert len(json.loads(data)["explorer"]["cases"]) == len(HOSTILE)


def test_markdown_has_the_decision_the_issues_and_the_checks(result):
    text = markdown(audited(result))
    assert text.startswith(f"## {result.data['mendable']['negatives']} of ")
    for part in ("### Issues that occur", "### The six checks", "eci audit rows.jsonl", "docs/audit.md"):
        assert part in text or part == "docs/audit.md"


# ---- the commands


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, faulty())), encoding="utf-8")
    return tmp_path


def cli(monkeypatch, capsys, *arguments):
    return run_cli(monkeypatch, capsys, *arguments)


def test_report_beside_the_audit_and_from_its_json_are_the_same(rows, monkeypatch, capsys):
    given = ("audit", "rows.jsonl", "--encoder", "hashing")
    code, out, err = cli(monkeypatch, capsys, *given, "--report", "a.html", "--json")
    assert code == 0, err
    assert err.endswith("Page: a.html\n")
    Path("audit.json").write_text(out, encoding="utf-8")
    assert json.loads(out)["settings"]["worst"] == 200
    assert cli(monkeypatch, capsys, "report", "audit.json", "-o", "b.html")[0] == 0
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    assert cli(monkeypatch, capsys, "report", "audit.json", "--figures", "drawn")[0] == 0
    assert {"shares.svg", "chances.png"} <= {path.name for path in Path("drawn").iterdir()}


def test_a_terminal_shows_ten_rows_whatever_the_page_holds(rows, monkeypatch, capsys):
    _, out, _ = cli(monkeypatch, capsys, "audit", "rows.jsonl", "--encoder", "hashing", "--report", "a.html")
    assert out.count("\n  query ") == 10
    assert len(re.findall(r'"place":', Path("a.html").read_text(encoding="utf-8"))) > 10


def test_a_page_is_written_where_a_limit_fails(rows, monkeypatch, capsys):
    given = ("audit", "rows.jsonl", "--encoder", "hashing", "--report", "a.html", "--fail-on", "empty=0")
    assert cli(monkeypatch, capsys, *given)[0] == 1
    assert Path("a.html").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--report", "rows.jsonl"), "ends in .html"),
        (("--report", "no/a.html"), "the folder no does not exist"),
        (("--report", "a.html", "--scores", "a.html"), "is to be written twice"),
        (("--report", "a.html", "--judge", "m", "--dry-run"), "--dry-run asks nothing"),
    ],
)
def test_what_would_stop_a_page_is_told_before_the_work(rows, monkeypatch, capsys, arguments, told):
    code, _, err = cli(monkeypatch, capsys, "audit", "rows.jsonl", "--encoder", "hashing", *arguments)
    assert code in (1, 2)
    assert told in err
    assert not Path("a.html").exists()


def test_a_page_never_replaces_what_is_read(rows, monkeypatch, capsys):
    Path("known.html").write_text("q1 0 d1 1", encoding="utf-8")
    given = ("rows.jsonl", "--encoder", "hashing", "--qrels", "known.html", "--report", "known.html")
    code, _, err = cli(monkeypatch, capsys, "audit", *given)
    assert code == 1
    assert "is read from" in err
    assert Path("known.html").read_text(encoding="utf-8") == "q1 0 d1 1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[]", "names no schema of eci"),
        ('{"schema": "eci.probe/1"}', "has the schema 'eci.probe/1'"),
    ],
)
def test_other_files_are_refused_by_what_is_read(tmp_path, monkeypatch, capsys, text, told):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    code, _, err = cli(
        monkeypatch, capsys, "report", str(tmp_path / "x.json"), "-o", str(tmp_path / "x.html")
    )
    assert code == 1
    assert told in err
    assert all(name in err for name in ("eci score", "eci audit", "eci validate"))


def test_results_that_lack_what_a_page_needs_are_refused(result, tmp_path, monkeypatch, capsys):
    old = json.loads(result.to_json())
    del old["data"]["mendable"]
    (tmp_path / "old.json").write_text(json.dumps(old), encoding="utf-8")
    code, _, err = cli(
        monkeypatch, capsys, "report", str(tmp_path / "old.json"), "-o", str(tmp_path / "x.html")
    )
    assert code == 1
    assert "lacks what this eci writes into eci.audit/1" in err
    assert "mendable" in err
    assert not (tmp_path / "x.html").exists()


def test_rows_belong_to_a_score(result, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.json").write_text(result.to_json(), encoding="utf-8")
    (tmp_path / "a.parquet").write_bytes(b"")
    given = (str(tmp_path / "a.json"), "--rows", str(tmp_path / "a.parquet"), "-o", str(tmp_path / "x.html"))
    code, _, err = cli(monkeypatch, capsys, "report", *given)
    assert code == 2
    assert "belong to a result of eci score" in err
