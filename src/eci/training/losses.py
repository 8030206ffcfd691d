"""The losses that a model is fine-tuned with: those of sentence-transformers, and CausalNeg's term on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eci.errors import EciError
from eci.models.sentence_transformer import ModelOptions, SentenceTransformerEncoder

if TYPE_CHECKING:
    from eci.training.finetune import Training

ENTROPY_TEMPERATURE = 0.1


def loss_of(model: Any, training: Training, columns: Mapping[str, Sequence[bool]]) -> Any:
    """The loss of a training run.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
    training : Training
    columns : mapping of str to sequence of bool
        For each part of the rows, by its name, which columns of negatives are generated.

    Returns
    -------
    torch.nn.Module, or dict of str to torch.nn.Module
        One for all rows, or one for each part: a part without mined or without generated negatives has no
        entropy term.

    Raises
    ------
    EciError
        The loss cannot take these rows.
    EncoderError
        The guide cannot be loaded.

    Notes
    -----
    CausalNeg (arXiv:2606.01304): L = InfoNCE + w · mean over queries of L_ent, `entropy_term`.
    """
    if training.loss == "gist" and any(len(each) > 1 for each in columns.values()):
        raise EciError(
            f"gist takes one hard negative in a row, and these have {max(map(len, columns.values()))}. Ask "
            "for 1, and for more rows of each query instead; or take another loss."
        )
    plain = _plain(model, training)
    mixed = {name: each for name, each in columns.items() if any(each) and not all(each)}
    if not training.generated or not mixed:
        return plain
    found = {
        name: _with_entropy(model, training, mixed[name]) if name in mixed else plain for name in columns
    }
    return found if len(found) > 1 else next(iter(found.values()))


def entropy_term(query: Any, negatives: Sequence[Any], generated: Sequence[bool]) -> Any:
    """CausalNeg's L_ent, mean over queries, in nats; only generated documents get a gradient of it.

    Parameters
    ----------
    query : torch.Tensor of shape (B, d)
    negatives : sequence of N torch.Tensor of shape (B, d)
        One for each column; of both kinds.
    generated : sequence of N bool
        Which columns are generated.

    Returns
    -------
    torch.Tensor
        A number: −H(p̃) + (π − G/N)², p the softmax of cosine/0.1 over the N negatives of the query, π the
        share of p on the G generated ones, p̃ = p/π there. At least −ln G, and below 1.

    Notes
    -----
    For four negatives of equal cosine, two of them generated: H = ln 2 and π = G/N = ½, so the term is −ln 2.
    """
    import torch

    chosen = torch.tensor(list(generated), device=query.device)
    columns = [each if made else each.detach() for each, made in zip(negatives, generated, strict=True)]
    cosine = torch.nn.functional.cosine_similarity(
        query.detach().float()[:, None], torch.stack(columns, dim=1).float(), dim=-1
    )
    chances = torch.log_softmax(cosine / ENTROPY_TEMPERATURE, dim=1)[:, chosen]
    share = torch.logsumexp(chances, dim=1)
    within = chances - share[:, None]
    entropy = -(within.exp() * within).sum(dim=1)
    return ((share.exp() - chosen.float().mean()) ** 2 - entropy).mean()


def library() -> Any:
    """The losses of sentence-transformers, wherever its version keeps them."""
    try:
        from sentence_transformers.sentence_transformer import losses
    except ImportError:
        from sentence_transformers import losses
    return losses


def _plain(model: Any, training: Training) -> Any:
    if training.loss == "gist":
        guide = SentenceTransformerEncoder.load(
            str(training.guide), ModelOptions(device=str(model.device))
        ).model
        return library().GISTEmbedLoss(model, guide, temperature=training.temperature)
    if training.loss == "cached-mnrl":
        return library().CachedMultipleNegativesRankingLoss(
            model, scale=1 / training.temperature, mini_batch_size=training.mini_batch_size
        )
    return library().MultipleNegativesRankingLoss(model, scale=1 / training.temperature)


def _with_entropy(model: Any, training: Training, generated: Sequence[bool]) -> Any:
    """The loss with the term, computed from the embeddings that the loss has anyway."""
    import torch

    cached = training.loss == "cached-mnrl"
    kind = library().CachedMultipleNegativesRankingLoss if cached else library().MultipleNegativesRankingLoss

    class CausalNegLoss(kind):  # type: ignore[misc,valid-type]
        def compute_loss_from_embeddings(self, embeddings: list[Any], labels: Any) -> Any:
            return super().compute_loss_from_embeddings(embeddings, labels) + _term(embeddings)

        def calculate_loss(self, reps: list[list[Any]], *args: Any, with_backward: bool = False) -> Any:
            loss = super().calculate_loss(reps, *args, with_backward=with_backward)
            term = _term([torch.cat(parts) for parts in reps])
            if with_backward:
                # The gradients of the embeddings are what is cached, and these add.
                term.backward()
            return loss + term.detach() if with_backward else loss + term

        def get_config_dict(self) -> dict[str, Any]:
            told: dict[str, Any] = super().get_config_dict()
            return {**told, "entropy_weight": training.entropy, "generated_columns": list(generated)}

    def _term(embeddings: list[Any]) -> Any:
        return training.entropy * entropy_term(embeddings[0], embeddings[2:], generated)

    CausalNegLoss.__qualname__ = CausalNegLoss.__name__
    options = {"mini_batch_size": training.mini_batch_size} if cached else {}
    return CausalNegLoss(model, scale=1 / training.temperature, **options)
