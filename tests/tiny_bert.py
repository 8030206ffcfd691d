"""A BERT of two layers with drawn weights: what can be trained in milliseconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fakes import WORDS


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For modules that import it: threads that wait for each other cost more than so little work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_bert(seed: int = 0, dropout: float = 0.1, prompts: dict[str, str] | None = None):
    """A SentenceTransformer on the CPU, the same for the same seed."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from eci.models.pretrained import quiet

    try:
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError:  # before version 6
        from sentence_transformers.models import Pooling, Transformer
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *map(str, range(10)),
        "ask",
        "find",
        ":",
    ]
    with TemporaryDirectory() as folder, quiet():
        (Path(folder) / "vocab.txt").write_text("\n".join(vocabulary))
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = BertConfig(
            vocab_size=len(vocabulary),
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            **sizes,
        )
        BertModel(config).save_pretrained(folder)
        BertTokenizerFast(str(Path(folder) / "vocab.txt")).save_pretrained(folder)
        modules = [Transformer(folder, max_seq_length=32), Pooling(16)]
        return SentenceTransformer(modules=modules, device="cpu", prompts=prompts)


@cache
def saved_bert() -> str:
    """The same in a folder that is there until the tests end."""
    folder = TemporaryDirectory()
    saved_bert.folder = folder
    path = Path(folder.name) / "tiny-bert"
    from eci.models.pretrained import quiet

    with quiet():
        tiny_bert().save_pretrained(str(path))
    return str(path)
