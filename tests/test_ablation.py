from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import eci
from eci.ablation import Remembering
from eci.association import Association, Measures
from eci.errors import DataError, EciError, EncoderError
from eci.metrics.eci import eci as score_of
from eci.models.hashing import HashingEncoder
from eci.ranking import kendall
from fakes import CountingEncoder, make_rows, run_cli

GOLDEN = json.loads((Path(__file__).parent / "golden" / "eci_v1_tables.json").read_text())
# Table 2's means over the twelve collections, which the file has to three digits.
NDCG = {
    "LLM": 0.16392,
    "LLM+BM25": 0.31917,
    "Cross-Encoder+LLM": 0.31133,
    "LLM+BM25+Cross-Encoder": 0.30217,
    "BM25": 0.32142,
    "Cross-Encoder": 0.32108,
    "BM25+Cross-Encoder": 0.33725,
}
ROWS = make_rows(40, {"bm25": 6, "dense": 3, "llm": 2, "random": 4})
MEASURES = {"bm25": 0.3, "dense": 0.35, "llm": 0.2, "random": 0.25}
SETTINGS = eci.AblationSettings(measures=Measures(MEASURES, "nDCG@10"))


@pytest.fixture(scope="module")
def ablation():
    return eci.ablate(ROWS, ["hashing", HashingEncoder(32)], settings=SETTINGS)


def table(ablation, choice, place=0):
    return [table for table in ablation.tables if table.choice == choice][place]


def test_every_column_is_what_scoring_gives(ablation):
    base = eci.score(ROWS, "hashing")
    expected = {
        "encoder": [(base, "eci"), (eci.score(ROWS, HashingEncoder(32)), "eci")],
        "fixed_n": [
            (base, "eci"),
            (eci.score(ROWS, "hashing", settings=eci.Settings(fixed_n=3)), "eci"),
            (eci.score(ROWS, "hashing", settings=eci.Settings(fixed_n=3, fixed_n_by="sample")), "eci"),
        ],
        "aggregation": [(base, name) for name in ("eci", "arithmetic", "eci_query", "eci_mean_margin")],
        "temperature": [
            (eci.score(ROWS, "hashing", settings=eci.Settings(temperature=tau)), "eci_sem")
            for tau in (0.05, 0.02, 0.1)
        ],
        "heuristic": [(base, entry.metric) for entry in table(ablation, "heuristic").columns],
    }
    for choice, columns in expected.items():
        found = table(ablation, choice).columns
        assert len(found) == len(columns)
        for column, (result, metric) in zip(found, columns, strict=True):
            assert column.metric == metric
            assert list(column.values) == [entry.source for entry in base.sources]
            for label, estimate in column.values.items():
                assert estimate == result[label].values[metric]


def test_tau_is_that_of_each_ranking_with_the_first(ablation):
    for each in ablation.tables:
        values = [[estimate.value for estimate in column.values.values()] for column in each.columns]
        for column, own in zip(each.columns, values, strict=True):
            assert column.kendall == pytest.approx(kendall(np.array(values[0]), np.array(own)), nan_ok=True)


def test_choices_and_their_columns(ablation):
    assert [each.choice for each in ablation.tables] == [
        "encoder",
        "fixed_n",
        "aggregation",
        *["temperature"] * 4,
        "heuristic",
    ]
    assert [column.name for column in table(ablation, "encoder").columns] == ["hashing", "hashing-32"]
    assert [column.name for column in table(ablation, "temperature", 3).columns] == [
        "τ = 0.05",
        "τ = 0.02",
        "τ = 0.1",
    ]
    assert [column.metric for column in table(ablation, "heuristic").columns] == [
        "eci",
        "signal",
        "gradient_norm",
        "gradient_norm_estimate",
        "score_variance",
        "score_variance_estimate",
        "capacity",
        "arithmetic",
    ]
    assert "Queries with fewer than 3: llm 40." in table(ablation, "fixed_n").notes


def test_each_text_is_embedded_once_without_any_cache():
    encoder = CountingEncoder()
    eci.ablate(ROWS, encoder, cache=False)
    assert len(encoder.seen) == len(set(encoder.seen)) > 100


def test_metric_temperature_and_sample_hold_for_every_run():
    scoring = eci.Settings(metric="violation_rate", temperature=0.07, sample=20)
    found = eci.ablate(ROWS, "hashing", settings=eci.AblationSettings(fixed_n=2, scoring=scoring))
    runs = [found.base, *found.fixed_n.values(), *found.temperatures.values()]
    assert {run.settings["queries_scored"] for run in runs} == {20}
    assert set(found.temperatures) == {"0.02", "0.05", "0.1"}
    assert table(found, "encoder").columns[0].metric == "violation_rate"
    assert table(found, "heuristic").columns[0].metric == "violation_rate"
    assert found.fixed_n["top"].settings["fixed_n"] == 2
    assert found.measures is None
    assert found.associations == ()


def test_rows_of_few_negatives_say_that_nothing_was_cut():
    found = eci.ablate(make_rows(30, {"a": 2, "b": 1}), "hashing")
    assert table(found, "fixed_n").notes[0] == (
        "No query has more than 3 negatives of a source: nothing was cut."
    )
    assert table(found, "fixed_n").columns[1].kendall == 1.0


def test_json_there_and_back(ablation):
    text = ablation.to_json()
    found = json.loads(text)
    assert found["schema"] == "eci.ablation/1"
    assert found["tables"][0]["columns"][0]["values"]["bm25"]["low"] < 1
    assert found["runs"]["fixed_n"]["sample"]["schema"] == "eci.score/1"
    assert found["measures"]["sources"] == 4
    eci_first = found["measures"]["associations"][0]
    assert eci_first["low"]["pearson"] == min(eci_first["without"].values())
    back = eci.Ablation.from_json(text)
    assert back.to_json() == text
    assert repr(back) == repr(ablation)
    with pytest.raises(ValueError, match="expected schema 'eci.ablation/1', found 'eci.score/1'"):
        eci.Ablation.from_json(ablation.base.to_json())


def test_text_fits_the_width_and_ends_each_table_with_tau(ablation):
    for width in (60, 100):
        assert max(len(line) for line in ablation.text(width).splitlines()[:20]) <= width
        assert all(
            len(line) <= width
            for each in ablation.tables
            for line in each.text(width).splitlines()
            if line not in (each.title, *(f"  {note}" for note in each.notes))
        )
    narrow, wide = (table(ablation, "heuristic").text(width) for width in (60, 400))
    assert narrow.count("Kendall's τ with the first") > wide.count("Kendall's τ with the first") == 1


def test_one_encoder_says_how_to_get_more():
    found = table(eci.ablate(ROWS, "hashing"), "encoder").text()
    assert found.endswith("  One encoder. Name others, to see whether they agree: --encoder NAME")
    assert "Kendall" not in found


def test_undefined_values_are_shown_as_such():
    """One query: no intervals; its negatives all above the positive."""
    rows = [
        {
            "query": "a",
            "positives": [{"text": "b c"}],
            "negatives": [{"source": source, "text": "a"} for source in ("x", "y")],
        }
    ]
    text = eci.ablate(rows, "hashing").text()
    assert "±" not in text
    assert "–" in text


# Measures


def published(figure):
    """Figures of table 1: ECI as printed, or recomputed from S, D and N."""
    rows = GOLDEN["table1_bge_base"]
    computed = {row["name"]: float(score_of(row["n"], row["s"], row["d"])) for row in rows}
    return {
        "eci": computed if figure == "recomputed" else {row["name"]: row["eci"] for row in rows},
        "capacity": {row["name"]: math.log1p(row["n"]) for row in rows},
        "signal": {row["name"]: row["s"] for row in rows},
    }


@pytest.mark.parametrize(
    ("figure", "ndcg", "eci_r", "without_llm", "capacity_r"),
    [
        ("recomputed", NDCG, 0.905, 0.5205, 0.902),
        ("printed", GOLDEN["table2_mean_ndcg10"], 0.906, 0.507, 0.901),
    ],
    ids=["from S, D, N and means", "from printed figures"],
)
def test_table_6_from_the_published_figures(figure, ndcg, eci_r, without_llm, capacity_r):
    measures = Measures(ndcg, "nDCG@10")
    found = {name: Association.of(name, values, measures) for name, values in published(figure).items()}
    near = {"abs": 6e-4}
    assert found["eci"].pearson == pytest.approx(eci_r, **near)
    assert found["eci"].without["LLM"] == pytest.approx(without_llm, **near)
    assert found["capacity"].pearson == pytest.approx(capacity_r, **near)
    assert found["eci"].range[0] == ("LLM", found["eci"].without["LLM"])
    assert found["eci"].lever == "LLM"
    assert found["signal"].pearson == pytest.approx(-0.77, abs=6e-3)
    if figure == "recomputed":
        assert found["eci"].kendall == pytest.approx(0.62, abs=6e-3)


def test_r_equals_numpys_and_leaves_out_each_source():
    rng = np.random.default_rng(0)
    labels = list("abcdef")
    one, two = rng.random(6), rng.random(6)
    found = Association.of(
        "eci", dict(zip(labels, one, strict=True)), Measures(dict(zip(labels, two, strict=True)))
    )
    assert found.pearson == pytest.approx(np.corrcoef(one, two)[0, 1])
    for place, label in enumerate(labels):
        rest = np.arange(6) != place
        assert found.without[label] == pytest.approx(np.corrcoef(one[rest], two[rest])[0, 1])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_sources_have_no_range_and_two_no_r(count):
    values = {str(number): float(number) for number in range(count)}
    found = Association.of("eci", values, Measures(values))
    assert found.without == {}
    assert found.range is None
    assert found.lever is None
    assert math.isnan(found.pearson) == (count < 3)
    assert found.to_dict()["low"] is None


def test_a_constant_figure_goes_together_with_nothing(ablation):
    found = Association.of("capacity", dict.fromkeys(MEASURES, 1.0), ablation.measures)
    assert math.isnan(found.pearson)
    assert math.isnan(found.kendall)


def test_associations_are_of_the_values_in_the_table(ablation):
    assert [entry.metric for entry in ablation.associations] == [
        column.metric for column in ablation.tables[-1].columns
    ]
    values = {entry.source: entry.values["eci"].value for entry in ablation.base.sources}
    assert ablation.associations[0] == Association.of("eci", values, ablation.measures)
    text = repr(ablation)
    assert "Beside nDCG@10 of 4 sources: Pearson's r, Kendall's τ, and r when one source is left out" in text
    assert "predict" not in text.replace("None of them is known to predict training", "")


@pytest.mark.parametrize(
    ("name", "content", "measure"),
    [
        ("m.csv", 'source,nDCG@10\nbm25,0.3\n"a,b",2e-1\n\n', "nDCG@10"),
        ("m.tsv", "\ufeffsource\tnDCG@10\nbm25\t0.3\na,b\t0.2\n", "nDCG@10"),
        ("ndcg.json", '{"bm25": 0.3, "a,b": 0.2}', "ndcg"),
    ],
)
def test_measures_are_read(tmp_path, name, content, measure):
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = Measures.read(tmp_path / name)
    assert found == Measures({"bm25": 0.3, "a,b": 0.2}, measure)
    assert Measures.given(str(tmp_path / name), ["a,b", "bm25"]).values == {"a,b": 0.2, "bm25": 0.3}


BAD = {
    "m.txt": ("", "measures are a .csv, .tsv or .json file"),
    "header.csv": (
        "bm25,0.3\n",
        "header.csv: line 1 is no header. Expected source and a name: source,nDCG@10",
    ),
    "cells.csv": ("source,x\nbm25,0.3,1\n", "cells.csv: line 2 has 3 cells. Expected source and number"),
    "number.tsv": ("source\tx\nbm25\thigh\n", "number.tsv: line 2: 'high' is no number"),
    "nan.csv": ("source,x\nbm25,nan\n", "nan.csv: the x of 'bm25' is no finite number: nan"),
    "twice.csv": ("source,x\na,1\na,2\n", "twice.csv: line 3: 'a' stands there twice"),
    "twice.json": ('{"a": 1, "a": 2}', "twice.json: 'a' stands there twice"),
    "list.json": ("[1]", "list.json: expected an object of numbers by source"),
    "text.json": ('{"a": "1"}', "text.json: the text of 'a' is no finite number: '1'"),
    "broken.json": ("{", "broken.json: cannot be read as JSON in UTF-8"),
    "latin.csv": (b"source,x\n\xe9,1\n", "latin.csv: cannot be read as CSV in UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_measures_are_refused_by_place(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        Measures.read(tmp_path / name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ({"bm25": 1.0, "dense": 1.0}, "measure: no number for llm and random. The sources are "),
        ({**MEASURES, "colbert": 1.0}, "measure: colbert in the measures is no source of the rows."),
        ({"bm25": math.inf}, "the measure of 'bm25' is no finite number: inf"),
    ],
)
def test_measures_that_do_not_fit_are_refused_before_the_work(measures, message):
    encoder = CountingEncoder()
    with pytest.raises(DataError) as caught:
        eci.ablate(ROWS, encoder, settings=eci.AblationSettings(measures=measures))
    assert message in str(caught.value)
    assert encoder.seen == []


# Refusals


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(EciError, match="scores the same queries: use sample, not until_decided"):
        eci.AblationSettings(scoring=eci.Settings(until_decided=True))
    with pytest.raises(EciError, match="temperatures lie between"):
        eci.AblationSettings(temperatures=(0.0,))
    with pytest.raises(EciError, match="fixed N is a whole number"):
        eci.AblationSettings(fixed_n=0)
    with pytest.raises(EciError, match="an ablation cuts the rows itself"):
        eci.AblationSettings(scoring=eci.Settings(fixed_n=3))
    with pytest.raises(EciError, match="is named twice"):
        eci.ablate(ROWS, ["hashing", "hashing"])


def test_an_encoder_that_fails_after_the_first_is_named():
    class Flat(HashingEncoder):
        def encode_query(self, texts):
            return np.zeros(len(texts))

    with pytest.raises(
        EncoderError, match=r"encoder hashing-256: .*shape \(40,\) for 40 texts.* not written: hashing"
    ):
        eci.ablate(ROWS, ["hashing", Flat()])
    with pytest.raises(EncoderError, match=r"^The encoder gave an array of shape \(40,\) for 40 texts"):
        eci.ablate(ROWS, Flat())


def test_what_is_remembered_is_what_was_given():
    encoder = HashingEncoder(8)
    kept = Remembering(encoder)
    first = kept.encode_document(["a", "b", "a"])
    assert np.array_equal(first, encoder.encode_document(["a", "b", "a"]))
    assert np.array_equal(kept.encode_document(["b", "c"]), encoder.encode_document(["b", "c"]))
    assert kept.describe() == encoder.describe()

    class Own:
        def encode_query(self, texts):
            return np.array([[len(text), 1.0] for text in texts])

        def encode_document(self, texts):
            return -self.encode_query(texts)

    own = Remembering(Own())
    assert own.describe() == {"name": "Own"}
    assert np.array_equal(own.encode_query(["a"]), -own.encode_document(["a"]))


# The command


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *arguments: run_cli(
        monkeypatch, capsys, "ablate", str(file), "--encoder", "hashing", *map(str, arguments)
    )


def test_command_prints_tables_and_writes_json(run, tmp_path):
    (tmp_path / "m.tsv").write_text("source\tnDCG@10\n" + "".join(f"{k}\t{v}\n" for k, v in MEASURES.items()))
    code, out, err = run("--measures", tmp_path / "m.tsv", "-o", tmp_path / "out.json", "--fixed-n", 2)
    assert code == 0
    assert out.startswith("40 of 40 queries, ")
    for part in ("Encoder (table 3)", "Fixed N (table 4)", "Aggregation (table 5)", "Heuristics (table 6)"):
        assert part in out
    assert "N ≤ 2, sample" in out
    assert "Beside nDCG@10 of 4 sources" in out
    assert "N differs by more than 2×" in out
    assert "runs: 5 of 5" in err
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["settings"]["command"].startswith("eci ablate ")
    assert found["settings"]["fixed_n"] == 2
    assert (
        max(len(line) for line in out.splitlines() if line.startswith(("source", "bm25  ", "Kendall"))) <= 100
    )


def test_command_prints_json(run):
    code, out, _ = run("--json", "--sample", 20, "--seed", 2, "--temperature", 0.1, "--target", "e5")
    found = json.loads(out)
    assert code == 0
    base = found["runs"]["encoders"]["hashing"]
    assert (base["settings"]["queries_scored"], base["settings"]["seed"]) == (20, 2)
    assert base["encoder"]["target"] == "e5"
    assert set(found["runs"]["temperatures"]) == {"0.02", "0.05"}
    assert found["measures"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "ecy"), "Unknown metric 'ecy'. Known: eci,"),
        (("--fixed-n", "0"), "0 is not in the range"),
        (("--measures", "absent.tsv"), "'absent.tsv' does not exist"),
    ],
)
def test_usage_errors_exit_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_refusals_exit_1_and_leave_nothing(run, tmp_path):
    (tmp_path / "m.csv").write_text("source,x\nbm25,0.3\n")
    for arguments, message in (
        (("--measures", tmp_path / "m.csv"), "m.csv: x: no number for dense, llm and random."),
        (("--encoder", "hashing"), "Error: the encoder hashing is named twice"),
    ):
        code, out, err = run(*arguments, "-o", tmp_path / "out.json")
        assert (code, out) == (1, "")
        assert message in err.splitlines()[-1]
        assert not (tmp_path / "out.json").exists()
    code, _, err = run("-o", tmp_path / "absent" / "out.json")
    assert code == 1
    assert "runs" not in err, "told before the work, not after it"
