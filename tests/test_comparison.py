from __future__ import annotations

import json
import weakref

import numpy as np
import pytest

import eci
from eci import jobs
from eci.comparison import agreement
from eci.errors import EciError, EncoderError
from eci.models.hashing import HashingEncoder
from fakes import CountingEncoder, make_rows, run_cli

ROWS = make_rows(40, {"bm25": 6, "dense": 3, "llm": 2})
SMALL, LARGE = HashingEncoder(16), HashingEncoder(64)


class Broken(HashingEncoder):
    def describe(self):
        return {**super().describe(), "name": "broken"}

    def encode_query(self, texts):
        raise EncoderError("no such weights.")


@pytest.fixture(scope="module")
def comparison():
    return eci.compare(ROWS, [SMALL, LARGE, "hashing"])


def test_each_result_is_that_of_its_encoder_alone(comparison):
    assert comparison.encoders == ("hashing-16", "hashing-64", "hashing")
    for label, encoder in (("hashing-16", SMALL), ("hashing-64", LARGE), ("hashing", "hashing")):
        assert comparison[label].to_json() == eci.score(ROWS, encoder).to_json()
    with pytest.raises(KeyError, match="no encoder 'e5'; there are hashing-16, hashing-64, hashing"):
        comparison["e5"]


def test_rows_are_read_once(monkeypatch):
    read, times = jobs.rows_of, []
    monkeypatch.setattr(jobs, "rows_of", lambda *arguments: times.append(1) or read(*arguments))
    eci.compare(ROWS, [SMALL, LARGE])
    assert len(times) == 1


def test_agreement_is_kendalls_tau_of_each_metric(comparison):
    assert [entry["encoders"] for entry in comparison.agreement] == [
        ["hashing-16", "hashing-64"],
        ["hashing-16", "hashing"],
        ["hashing-64", "hashing"],
    ]
    rows = make_rows(20, {"bm25": 3, "dense": 3, "llm": 3})
    one, two = (eci.score(rows, CountingEncoder(dimension)) for dimension in (4, 5))
    found = agreement(one, two)
    assert set(found) == set(one.best.values)
    # Three sources: τ from the number of the three pairs that stand the other way round.
    turned = dict.fromkeys(("signal", "infonce_loss", "gradient_norm", "score_variance"), 0)
    for metric in turned:
        values = [
            [result[label].values[metric].value for label in ("bm25", "dense", "llm")]
            for result in (one, two)
        ]
        turned[metric] = sum(
            (values[0][a] - values[0][b]) * (values[1][a] - values[1][b]) < 0
            for a, b in ((0, 1), (0, 2), (1, 2))
        )
        assert found[metric] == pytest.approx(1 - 2 * turned[metric] / 3)
    assert any(turned.values()), "rankings that all agree would test little"
    assert np.isnan(found["reranker_score"])
    assert agreement(one, one)["signal"] == 1.0


def test_json_there_and_back(comparison):
    found = json.loads(comparison.to_json())
    assert found["schema"] == "eci.comparison/1"
    assert found["metric"] == "eci"
    assert found["results"][1] == json.loads(comparison.results[1].to_json())
    assert found["agreement"][0]["kendall"]["reranker_score"] is None
    back = eci.Comparison.from_json(comparison.to_json())
    assert back.encoders == comparison.encoders
    assert back.to_json() == comparison.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected schema 'eci.comparison/1', found 'list'"),
        ('{"schema": "eci.score/1"}', "found 'eci.score/1'"),
        ('{"schema": "eci.comparison/1"}', "has the keys encoders, results too"),
        ('{"schema": "eci.comparison/1", "encoders": [], "results": []}', "at least one"),
    ],
)
def test_other_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        eci.Comparison.from_json(text)


def test_frame_has_a_row_an_encoder_and_source(comparison):
    pytest.importorskip("pandas")
    frame = comparison.to_frame()
    assert frame.index.names == ["encoder", "source"]
    assert len(frame) == 9
    assert frame.loc[("hashing-64", "bm25"), "eci"] == comparison["hashing-64"]["bm25"].values["eci"].value


def test_shown_as_tables_and_agreement(comparison):
    text = repr(comparison)
    assert text.count("95 % interval") == 3
    assert "Kendall's τ of the rankings by eci, of 3 sources:\n  hashing-16  hashing-64  " in text


@pytest.mark.parametrize(
    "encoders",
    [
        ("hashing", "hashing"),
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        (SMALL, LARGE, SMALL),
    ],
)
def test_an_encoder_twice_is_refused_before_anything_is_read(encoders):
    with pytest.raises(EciError, match="is named twice: there is nothing to compare it with"):
        eci.compare("absent.jsonl", encoders)


def test_a_folder_by_two_paths_is_one_encoder(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(EciError, match="is named twice"):
        eci.compare(ROWS, [str(tmp_path / "model"), str(tmp_path / "." / "model" / "..") + "/model"])


def test_one_model_under_two_names_is_refused():
    with pytest.raises(EncoderError, match="encoder counting-1 #2: it is the same model as counting-1. Name"):
        eci.compare(ROWS, [CountingEncoder(), CountingEncoder()])
    assert eci.compare(ROWS, [CountingEncoder(), CountingEncoder(version="2")]).encoders == (
        "counting-1",
        "counting-2",
    )


def test_objects_of_one_name_stay_apart():
    class Own:
        def __init__(self, scale):
            self.scale = scale

        def encode_query(self, texts):
            return np.array([[len(text), self.scale] for text in texts])

        encode_document = encode_query

    assert eci.compare(ROWS, [Own(1.0), Own(9.0), Own(20.0)]).encoders == ("Own", "Own #2", "Own #3")


def test_no_encoder_and_a_single_one():
    with pytest.raises(EciError, match="no encoder is named"):
        eci.compare(ROWS, [])
    alone = eci.compare(ROWS, "hashing")
    assert alone.encoders == ("hashing",)
    assert alone.agreement == ()


def test_a_failure_names_the_encoder_and_what_was_done_before():
    with pytest.raises(EncoderError, match=r"not written: hashing-16 and hashing-64\.$"):
        eci.compare(ROWS, [SMALL, LARGE, Broken()])
    with pytest.raises(EncoderError, match=r"^encoder broken: no such weights\.$"):
        eci.compare(ROWS, [Broken(), SMALL])


def test_each_model_is_released_before_the_next_is_loaded(monkeypatch):
    pytest.importorskip("lmdb", reason="the extra 'encode' is not installed")
    from eci.models import loading

    alive = []

    def load(name, options):
        assert [model() for model in alive] == [None] * len(alive)
        model = CountingEncoder(version=name)
        # Models hold cycles.
        model.itself = model
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(loading.SentenceTransformerEncoder, "load", staticmethod(load))
    found = eci.compare(ROWS, ["a", "b", "c"], loading=eci.ModelOptions(max_seq_length=8))
    assert found.encoders == ("a", "b", "c")
    assert {result.settings["loading"]["max_seq_length"] for result in found.results} == {8}


@pytest.fixture
def rows_file(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


@pytest.fixture
def two_models(monkeypatch):
    """Any name loads a model of its own, but for 'absent'."""
    pytest.importorskip("lmdb", reason="the extra 'encode' is not installed")
    from eci.models import loading

    def load(name, options):
        if name == "absent":
            raise EncoderError("'absent' is no model.")
        return CountingEncoder(version=name)

    monkeypatch.setattr(loading.SentenceTransformerEncoder, "load", staticmethod(load))


def test_command(monkeypatch, capsys, rows_file, tmp_path, two_models):
    arguments = ("score", str(rows_file), "--encoder", "a", "--encoder", "b", "--seed", "3")
    code, out, _ = run_cli(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.startswith("40 of 40 queries, ")
    assert "\na (float32)\n" in out
    assert "\nb (float32)\n" in out
    assert out.count("95 % interval") == 2
    assert "Kendall's τ of the rankings by eci, of 3 sources:\n  a  b  " in out
    assert out.count("for N differs by more than 2×") == 1, "told once, whatever the order of the sources"
    code, out, _ = run_cli(monkeypatch, capsys, *arguments, "--json", "-o", str(tmp_path / "out.json"))
    found = json.loads(out)
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert found["encoders"] == ["a", "b"]
    assert all(result["settings"]["command"].startswith("eci score ") for result in found["results"])
    assert found["results"][0]["settings"]["seed"] == 3


def test_one_encoder_is_as_before(monkeypatch, capsys, rows_file, two_models):
    code, out, _ = run_cli(monkeypatch, capsys, "score", str(rows_file), "--encoder", "a", "--json")
    assert code == 0
    assert json.loads(out)["schema"] == "eci.score/1"


def test_command_failures(monkeypatch, capsys, rows_file, tmp_path, two_models):
    output = tmp_path / "out.json"
    for second, message in (
        (
            "absent",
            "Error: encoder absent: 'absent' is no model. Scored before it, and not written: a; the vectors of models are in the cache,",
        ),
        ("a", "Error: the encoder a is named twice"),
    ):
        code, out, err = run_cli(
            monkeypatch,
            capsys,
            "score",
            str(rows_file),
            "--encoder",
            "a",
            "--encoder",
            second,
            "-o",
            str(output),
        )
        assert (code, out) == (1, "")
        assert message in err.splitlines()[-1]
        assert not output.exists()
