"""What reaches the generator of its loss: at the logits, and at its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add

import torch
from torch import Tensor

from lightning_gan.diagnostics.precision import widest
from lightning_gan.gans.game import AdversarialGame
from lightning_gan.gans.generative import frozen
from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import average


def generator_gradients(model: AdversarialGame, real: Batch, fake: Batch) -> dict[str, float]:
    r"""Measure the gradient of the generator's loss, without penalties, top-k or unrolling.

    - ``g_grad_logit``: :math:`\sum_i \lvert \partial L_G / \partial s_i \rvert` over the logits
      :math:`s_i` of all samples, which for a loss that is a mean over N of them is the mean of
      :math:`N \lvert \partial L_G / \partial s_i \rvert`. With :math:`D = \sigma(s)`, the
      non-saturating loss has the mean of :math:`1 - D(G(z))`, the saturating one that of
      :math:`D(G(z))`, which vanishes where the discriminator rejects the samples. Left out for a
      loss that asks neither ``logits`` nor ``verdict``.
    - ``g_grad_norm``: :math:`\lVert \nabla_\theta L_G \rVert_2`.

    Under ddp both are means over the processes, each of its own samples.

    Args:
        model: Any variant; the gradients that its weights hold are left alone.
        real: Real samples, packed if the model packs them.
        fake: As many generated ones with their graph, likewise.

    Returns:
        Figures by name.

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014,
        https://arxiv.org/abs/1406.2661, section 3; Arjovsky and Bottou, "Towards Principled Methods
        for Training Generative Adversarial Networks", ICLR 2017, https://arxiv.org/abs/1701.04862,
        theorem 2.4.
    """
    with frozen(model.discriminator):
        with _overheard(model) as judged:
            loss = reduce(add, model.generator_loss(real, fake).values())
        logits = [values for values in judged if values.requires_grad]  # of generated samples
        weights = [weight for weight in model.generator.parameters() if weight.requires_grad]
        gradients = torch.autograd.grad(loss, [*logits, *weights], allow_unused=True)
    at_logits, at_weights = gradients[: len(logits)], gradients[len(logits) :]
    figures = {"g_grad_norm": float(average(_norm(at_weights, 2)))}
    if logits:
        figures["g_grad_logit"] = float(average(_norm(at_logits, 1)))
    return figures


@contextmanager
def _overheard(model: AdversarialGame) -> Iterator[list[Tensor]]:
    """Collect the logits that the model reads from its discriminator's outputs."""
    verdict, heard = model.verdict, []

    def listen(outputs: Tensor) -> Tensor:
        heard.append(verdict(outputs))
        return heard[-1]

    model.verdict = listen  # type: ignore[method-assign]
    try:
        yield heard
    finally:
        del model.verdict  # the attribute, behind which the class's method is


def _norm(parts: tuple[Tensor | None, ...], order: int) -> Tensor:
    """Return the norm of all parts as one vector, in the widest type; none has 0."""
    known = [part for part in parts if part is not None]
    norms = [torch.linalg.vector_norm(p.to(widest(p.device)), order) for p in known]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(norms), order)
    return whole
