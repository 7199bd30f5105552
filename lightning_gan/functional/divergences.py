r"""The f-GAN family: a lower bound of any f-divergence as a game on logits.

The divergence :math:`D_f(P \| Q) = \mathbb{E}_Q[f(p / q)]` is the largest value of
:math:`\mathbb{E}_P[T] - \mathbb{E}_Q[f^*(T)]` over all functions T with values in the domain of the
conjugate :math:`f^*(t) = \sup_u (u t - f(u))`. An activation g_f maps the logit v into that domain,
and :math:`f^*(g_f(v))` is written as one stable expression of v:

==================  ===================================  ==================  ==================
divergence          f(u)                                 g_f(v)              f*(g_f(v))
==================  ===================================  ==================  ==================
kl                  u log u                              v                   exp(v - 1)
reverse_kl          -log u                               -exp(-v)            v - 1
pearson             (u - 1)^2                            v                   v^2 / 4 + v
neyman              (1 - u)^2 / u                        1 - exp(-v)         2 - 2 exp(-v / 2)
squared_hellinger   (sqrt(u) - 1)^2                      1 - exp(-v)         exp(v) - 1
jensen_shannon      u log u - (u + 1) log((u + 1) / 2)   log 2 - sp(-v)      sp(v) - log 2
gan                 u log u - (u + 1) log(u + 1)         -sp(-v)             sp(v)
==================  ===================================  ==================  ==================

sp is softplus. P are the real and Q the generated samples: "kl" is KL(P || Q), which asks the
generator to cover every mode. "jensen_shannon" is twice the usual one, and "gan" is that less
log 4: the negative of the minimax loss.

The conjugates are the paper's. That of "pearson" takes f over all real u, not u >= 0 only. The
bound stays valid, but :math:`f^*` rises again below -2, so that on samples with such logits
:func:`f_divergence_generator_loss` pushes the logits further down.

Reference:
    Nowozin et al., "f-GAN: Training Generative Neural Samplers using Variational Divergence
    Minimization", NeurIPS 2016, https://arxiv.org/abs/1606.00709, tables 1, 2 and 6.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

Divergence = Literal[
    "kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "jensen_shannon", "gan"
]


@dataclass(frozen=True)
class _Form:
    """One divergence's functions of the logit: g_f, and the conjugate of f at g_f."""

    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]


_FORMS: dict[str, _Form] = {
    "kl": _Form(lambda v: v, lambda v: (v - 1).exp()),
    "reverse_kl": _Form(lambda v: -(-v).exp(), lambda v: v - 1),
    "pearson": _Form(lambda v: v, lambda v: v.square() / 4 + v),
    "neyman": _Form(lambda v: -torch.expm1(-v), lambda v: -2 * torch.expm1(-v / 2)),
    "squared_hellinger": _Form(lambda v: -torch.expm1(-v), torch.expm1),
    "jensen_shannon": _Form(
        lambda v: math.log(2) - softplus(-v), lambda v: softplus(v) - math.log(2)
    ),
    "gan": _Form(lambda v: -softplus(-v), lambda v: softplus(v)),
}


def _form(divergence: Divergence) -> _Form:
    if divergence not in _FORMS:
        raise ValueError(f"Expected 'divergence' to be one of {list(_FORMS)}, got {divergence!r}.")
    return _FORMS[divergence]


def f_divergence_discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, divergence: Divergence
) -> Tensor:
    r"""Compute the negative of the discriminator's lower bound of an f-divergence.

    .. math:: -\big(\mathbb{E}[g_f(D(x))] - \mathbb{E}[f^*(g_f(D(G(z))))]\big)

    Args:
        real_logits: Logits of real samples, any shape.
        fake_logits: Logits of generated samples, any shape.
        divergence: Name of the divergence, see :mod:`lightning_gan.functional.divergences`. Those
            with an exponential in the table overflow where a logit's magnitude nears 88.

    Returns:
        Scalar, not below the negative of the divergence in expectation; equal to it at the optimal
        logits, which satisfy :math:`g_f(D) = f'(p / q)` for densities p of real and q of
        generated samples.

    Raises:
        ValueError: If the divergence is unknown.

    Example:
        >>> import torch
        >>> f_divergence_discriminator_loss(torch.zeros(2), torch.zeros(2), "gan")
        tensor(1.3863)

    Reference:
        Nowozin et al., "f-GAN: Training Generative Neural Samplers using Variational Divergence
        Minimization", NeurIPS 2016, https://arxiv.org/abs/1606.00709, eq. (6).
    """
    form = _form(divergence)
    return form.conjugate(fake_logits).mean() - form.activation(real_logits).mean()


def f_divergence_generator_loss(fake_logits: Tensor, divergence: Divergence) -> Tensor:
    r"""Compute the generator's part of the lower bound of an f-divergence.

    .. math:: -\mathbb{E}[f^*(g_f(D(G(z))))]

    Args:
        fake_logits: Logits of generated samples, any shape.
        divergence: Name of the divergence, see :mod:`lightning_gan.functional.divergences`.

    Returns:
        Scalar, unbounded for most divergences.

    Raises:
        ValueError: If the divergence is unknown.

    Reference:
        Nowozin et al., "f-GAN: Training Generative Neural Samplers using Variational Divergence
        Minimization", NeurIPS 2016, https://arxiv.org/abs/1606.00709, eq. (6).
    """
    return -_form(divergence).conjugate(fake_logits).mean()


def f_divergence_non_saturating_generator_loss(
    fake_logits: Tensor, divergence: Divergence
) -> Tensor:
    r"""Compute the generator's loss that has it raise what the discriminator raises on real ones.

    .. math:: -\mathbb{E}[g_f(D(G(z)))]

    At the optimum of equal distributions its gradient is that of
    :func:`f_divergence_generator_loss`; on rejected samples it is larger, but no longer the
    divergence's own. For "gan" it is
    :func:`~lightning_gan.functional.non_saturating_generator_loss`.

    Args:
        fake_logits: Logits of generated samples, any shape.
        divergence: Name of the divergence, see :mod:`lightning_gan.functional.divergences`.

    Returns:
        Scalar, unbounded for most divergences.

    Raises:
        ValueError: If the divergence is unknown.

    Reference:
        Nowozin et al., "f-GAN: Training Generative Neural Samplers using Variational Divergence
        Minimization", NeurIPS 2016, https://arxiv.org/abs/1606.00709, section 3.2.
    """
    return -_form(divergence).activation(fake_logits).mean()
