"""The card of a dataset folder: valid for the hub, true to its numbers, safe with texts of others."""

import dataclasses
import json
import re
import shlex
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eci import api
from eci.datasets import from_object, read, write
from eci.datasets.card import Card, escaped, fenced, read_result
from eci.errors import DataError, OutputError
from fakes import make_rows, run_cli

datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
EVIL = "a|b <img src=x onerror=alert(1)>\n# *bold* `code` [l](http://x) ~~s~~ ---"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    made = make_rows(30, {"bm25": 3, "dense": 2})
    made[0]["negatives"] = made[0]["negatives"][:3]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture
def result(rows):
    return api.score([rows], "hashing")


def readme(folder):
    """Front matter as the hub reads it, and the text below."""
    from huggingface_hub import DatasetCard

    card = DatasetCard((folder / "README.md").read_text(encoding="utf-8"))
    return card.data.to_dict(), card.text


def table(text, head):
    """Cells of the table whose first line begins with `head`."""
    lines = text[text.index(head) :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    return cells[2:]


def test_front_matter_is_what_the_hub_reads(tmp_path, rows, result):
    write(read([rows]), tmp_path / "set", "triplet", card=Card(result))
    assert readme(tmp_path / "set")[0] == {
        "pretty_name": "set",
        "task_categories": ["text-retrieval", "sentence-similarity"],
        "size_categories": ["n<1K"],
        "tags": ["sentence-transformers", "hard-negatives", "dense-retrieval", "eci"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data-*.arrow"}]}],
    }
    card = Card(result, title=EVIL, license="cc-by-4.0")
    write(read([rows]), tmp_path / "set", "triplet", card=card)
    data, text = readme(tmp_path / "set")
    assert (data["pretty_name"], data["license"]) == (EVIL, "cc-by-4.0")
    assert text.strip().splitlines()[0] == f"# {escaped(EVIL)}"


def test_the_folder_still_loads(tmp_path, rows, result):
    write(read([rows]), tmp_path / "set", "n-tuple", card=Card(result), negatives=3)
    loaded = datasets.load_from_disk(str(tmp_path / "set"))
    assert loaded.column_names == ["query", "positive", "negative_1", "negative_2", "negative_3"]
    assert read([tmp_path / "set"]).layout == "n-tuple"
    assert sum(map(len, read([tmp_path / "set"]))) == 30
    # What the hub serves: load_dataset refuses the local mark of save_to_disk and nothing else.
    shutil.copytree(tmp_path / "set", tmp_path / "hub")
    (tmp_path / "hub" / "state.json").unlink()
    from_hub = datasets.load_dataset(str(tmp_path / "hub"), split="train", cache_dir=str(tmp_path / "cache"))
    assert from_hub.to_list() == loaded.to_list()


def test_counts_and_scores_are_those_of_the_rows_and_the_result(tmp_path, rows, result):
    summary = write(read([rows]), tmp_path / "set", "triplet", card=Card(result))
    _, text = readme(tmp_path / "set")
    assert f"\n{summary.rows:,} rows in the layout `triplet`" in text
    assert table(text, "| source |") == [["bm25", "30", "90", "3.0"], ["dense", "29", "58", "2.0"]]
    assert table(text, "| column |") == [["query", "string"], ["positive", "string"], ["negative", "string"]]
    for line, source in zip(table(text, "|  | source |"), result.sources, strict=True):
        value = source.values["eci"]
        expected = f"{value.value:.4f} ({value.low:.4f} … {value.high:.4f})"
        assert line[:5] == [str(source.rank), source.source, f"{source.negatives / source.queries:.1f}", f"{source.queries}", expected]  # fmt: skip
        assert line[-1] == f"{source.values['capacity'].value:.3f}"
        assert float(line[-2]) == pytest.approx(100 * source.values["violation_rate"].value, abs=0.05)
    assert f"Verdict: {escaped(result.verdict)}" in text
    for warning in result.warnings:
        assert (f"- {escaped(warning)}" in text) is not warning.startswith("null: ")
    assert "**No metric here is known to predict training.**" in text
    assert "(same SHA-256)" in text


def test_the_digest_of_the_weights_or_that_there_is_none(tmp_path, rows, result):
    result.encoder["weights_blake2b"] = "abc123"
    write(read([rows]), tmp_path / "set", "triplet", card=Card(result))
    assert "BLAKE2b of its weights abc123" in readme(tmp_path / "set")[1]
    del result.encoder["weights_blake2b"]
    write(read([rows]), tmp_path / "set", "triplet", card=Card(result))
    assert "no digest of its weights" in readme(tmp_path / "set")[1]


def test_another_ranking_metric_has_a_column_beside_eci(tmp_path, rows):
    from eci.settings import Settings

    found = api.score([rows], "hashing", settings=Settings(metric="signal"))
    write(read([rows]), tmp_path / "set", "triplet", card=Card(found))
    assert "| queries | signal | eci | P(first) |" in readme(tmp_path / "set")[1]


def test_scores_of_other_rows_are_called_so(tmp_path, rows, result):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in make_rows(5, seed=1)))
    write(read([other]), tmp_path / "set", "triplet", card=Card(result))
    assert "**The scores are of other files than this set was written from" in readme(tmp_path / "set")[1]
    write(from_object(make_rows(5)), tmp_path / "set", "triplet", card=Card(result))
    assert "Whether the scores are of the rows in this set is not recorded." in readme(tmp_path / "set")[1]


def test_a_part_of_what_was_scored_is_called_so(tmp_path, rows, result):
    files = [*result.data["files"], {"name": "other.jsonl", "bytes": 1, "sha256": "0" * 64}]
    more = dataclasses.replace(result, data={**result.data, "files": files})
    write(read([rows]), tmp_path / "set", "triplet", card=Card(more))
    assert "(same SHA-256), beside 1 other file." in readme(tmp_path / "set")[1]


def test_what_was_scored_and_is_not_there_is_said(tmp_path, rows, result):
    from eci.settings import Settings

    for options, said in (({}, False), ({"negatives": 1}, True)):
        write(read([rows]), tmp_path / "set", "n-tuple", card=Card(result), **options)
        assert ("**The set holds less than what was scored:**" in readme(tmp_path / "set")[1]) is said
        assert "drawn at random" not in readme(tmp_path / "set")[1]
    sampled = api.score([rows], "hashing", settings=Settings(sample=20))
    write(read([rows]), tmp_path / "set", "n-tuple", card=Card(sampled))
    assert "Of 30 queries 20 were scored, drawn at random." in readme(tmp_path / "set")[1]


@pytest.mark.parametrize(
    ("layout", "negatives", "words"),
    [
        ("triplet", None, "A query with P positives and N negatives has max(P, N) rows, so none is short."),
        ("n-tuple", None, "A row with fewer negatives than the longest ends in null."),
        ("n-tuple", 2, "Every query has 2 negatives, its first ones; queries with fewer are left out."),
        ("labeled-pair", None, "A row per document, so none is short."),
        ("labeled-list", None, "a query without negatives has an empty one."),
        (
            "flagembedding",
            None,
            "Lists are as long as what was found. Queries without negatives are left out.",
        ),
        ("eci", None, "a query without negatives has an empty one."),
    ],
)
def test_how_short_rows_are_treated(tmp_path, rows, result, layout, negatives, words):
    summary = write(read([rows]), tmp_path / "set", layout, negatives=negatives, card=Card(result))
    _, text = readme(tmp_path / "set")
    assert words in text
    for what, number in summary.losses.items():
        assert escaped(f"{what} ({number:,})") in text
    for note in summary.notes:
        assert f"- {escaped(note)}" in text


def test_columns_of_lists_and_records(tmp_path, rows, result):
    write(read([rows]), tmp_path / "set", "eci", card=Card(result))
    assert table(readme(tmp_path / "set")[1], "| column |")[2][1].startswith("list of {id, title, text")
    write(read([rows]), tmp_path / "set", "n-tuple", card=Card(result))
    assert table(readme(tmp_path / "set")[1], "| column |")[2] == ["negative_1 … negative_5", "string"]


def test_texts_of_the_data_are_no_markup(tmp_path):
    made = make_rows(30, {EVIL.replace("\n", " "): 3, "<b>": 2})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    found = api.score([path], "hashing")
    found.encoder["name"] = EVIL
    write(read([path]), tmp_path / "set", "triplet", card=Card(found, command=f"eci convert '{EVIL}\n```'"))
    _, text = readme(tmp_path / "set")
    prose = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<" not in prose
    assert not re.search(r"^# (?!set$)", prose, re.MULTILINE)
    assert not re.search(r"(?<!\\)[\[`~](?!triplet|\.)", prose.replace("`triplet`", ""))
    assert [line[0] for line in table(text, "| source |")] == ["&lt;b&gt;", escaped(EVIL)]
    assert len(table(text, "|  | source |")) == 2
    assert "````console\n" in text


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text):
    found = escaped(text)
    assert found.isprintable()
    assert "<" not in found
    assert ">" not in found
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]#|~$]", found)


@given(st.text("`ab\n"))
def test_a_fence_ends_where_it_should(text):
    fence, *inside, last = fenced("", text).split("\n")
    assert fence == last
    assert "\n".join(inside) == text
    assert fence not in text


def test_commands_to_obtain_it_again(tmp_path, rows, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    score = ["score", "rows.jsonl", "--encoder", "hashing", "-o", "result.json"]
    assert run_cli(monkeypatch, capsys, *score)[0] == 0
    convert = ["convert", "rows.jsonl", "-o", "my set", "--to", "triplet", "--card", "result.json", "--card-title", "T"]  # fmt: skip
    code, out, _ = run_cli(monkeypatch, capsys, *convert)
    assert (code, out.splitlines()[0]) == (0, "my set: 148 rows of layout triplet, from 148 negatives")
    before = (tmp_path / "my set" / "README.md").read_text(encoding="utf-8")
    commands = re.search(r"```console\n(.*?)```", before, re.DOTALL).group(1).splitlines()
    assert [shlex.split(line) for line in commands] == [["eci", *score], ["eci", *convert]]
    for name in ("my set", "result.json"):
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for line in commands:
        assert run_cli(monkeypatch, capsys, *shlex.split(line)[1:])[0] == 0
    assert (tmp_path / "my set" / "README.md").read_text(encoding="utf-8") == before


def test_a_result_from_python_gives_its_settings(tmp_path, rows, result):
    write(read([rows]), tmp_path / "set", "triplet", card=Card(result))
    _, text = readme(tmp_path / "set")
    settings = json.loads(re.search(r"```json\n(.*?)\n```", text, re.DOTALL).group(1))
    assert settings["seed"] == result.settings["seed"]
    assert f"- rows.jsonl, SHA-256 {result.data['files'][0]['sha256']}" in text


def test_no_card_no_readme(tmp_path, rows, result):
    write(read([rows]), tmp_path / "set", "triplet", card=Card(result))
    write(read([rows]), tmp_path / "set", "triplet")
    assert not (tmp_path / "set" / "README.md").exists()


@pytest.mark.parametrize(("name", "layout"), [("out.jsonl", "triplet"), ("out.parquet", "eci"), ("out", "beir"), ("out", "id-lists"), ("out", "nemo")])  # fmt: skip
def test_only_a_saved_dataset_has_a_card(tmp_path, rows, result, name, layout):
    with pytest.raises(
        OutputError, match=rf"{name}: only a saved Hugging Face dataset has a card\. Name a folder"
    ):
        write(read([rows]), tmp_path / name, layout, card=Card(result))
    assert not (tmp_path / name).exists()


def broken(result, change):
    plain = json.loads(result.to_json())
    change(plain)
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda plain: plain.update(schema="eci.score/9"), r"expected schema 'eci\.score/1', found 'eci\.score/9'"),
        (lambda plain: plain.pop("verdict"), "has the keys verdict too"),
        (lambda plain: plain["sources"].clear(), "no sources"),
        (lambda plain: plain["sources"][0]["values"].pop("signal"), "no values of signal"),
        (lambda plain: plain["settings"].update(metric="fame"), "no values of fame"),
        (lambda plain: plain.update(sources=3), "int"),
        (lambda plain: plain.update(encoder="x"), "encoder"),
        (lambda plain: plain["data"].update(files=[3]), "files"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path, result, change, why):
    path = tmp_path / "result.json"
    path.write_text(broken(result, change))
    with pytest.raises(
        DataError, match=rf"result\.json: is no result of eci score \(.*{why}.*\)\. Write one with: eci score"
    ):
        read_result(path)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\udcff"])
def test_what_is_no_json_is_refused(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"result\.json: is no result of eci score"):
        read_result(path)


def test_a_result_comes_back_from_its_file(tmp_path, result):
    (tmp_path / "result.json").write_text(result.to_json())
    assert read_result(tmp_path / "result.json").to_json() == result.to_json()
