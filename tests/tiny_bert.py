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


def static_model():
    """A SentenceTransformer that looks words up: it has no limit of tokens, and batches of another form."""
    import torch
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    try:
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    except ImportError:  # before version 6
        from sentence_transformers.models import StaticEmbedding
    words = ["[UNK]", *WORDS, *map(str, range(10))]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    torch.manual_seed(0)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")


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
