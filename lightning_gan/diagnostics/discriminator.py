"""What a discriminator's logits and weights tell of the game."""

from torch import Tensor, nn

from lightning_gan.training.distributed import gather

_CLEAR = 5.0  # standard errors


def logit_figures(real: Tensor, fake: Tensor, held_out: Tensor | None = None) -> dict[str, float]:
    r"""Describe how a discriminator tells samples apart.

    Of several logits per sample, one for each patch or scale, the mean is taken. Under ddp the
    figures are those of all processes' samples together, and the same on all.

    - ``real_logit_mean``, ``_std``, ``_q05``, ``_q50``, ``_q95``, and likewise ``fake_logit_mean``
      and so on: mean, standard deviation and quantiles.
    - ``accuracy``: share of the pairs of a real and a generated sample of which the real one has
      the larger logit, ties counting half; the area under the ROC curve. 0.5: the discriminator
      cannot tell; 1: it wins everywhere. It needs no threshold, and so holds for critics, too.
    - ``wasserstein``: :math:`\mathbb{E}[D(x)] - \mathbb{E}[D(G(z))]`.
    - ``overfitting``: how far towards generated samples held-out real ones look,

      .. math:: r_v = \frac{\mathbb{E}[D(x)] - \mathbb{E}[D(x_v)]}
          {\mathbb{E}[D(x)] - \mathbb{E}[D(G(z))]},

      0 where they are judged like those of the training, 1 where they are taken for generated
      ones. It is left out unless the denominator is above 5 of its standard errors, so that the
      error of the figure is about 0.2 or below.

    Args:
        real: Logits of real samples of the training, (N,) or (N, ...).
        fake: Logits of generated ones, (M,) or (M, ...).
        held_out: Logits of real samples that the training does not see, (K,) or (K, ...).

    Returns:
        Figures by name.

    Example:
        >>> import torch
        >>> figures = logit_figures(torch.tensor([3.0, 1.0]), torch.tensor([2.0, -2.0]))
        >>> figures["accuracy"], figures["wasserstein"], figures["real_logit_q50"]
        (0.75, 2.0, 2.0)

    Reference:
        Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
        https://arxiv.org/abs/2006.06676, eq. (1) (``overfitting``).
    """
    real, fake = _per_sample(real), _per_sample(fake)
    figures = {**_distribution("real", real), **_distribution("fake", fake)}
    gap = real[:, None] - fake
    wins = (gap > 0).double().mean() + (gap == 0).double().mean() / 2
    distance = real.mean() - fake.mean()
    figures |= {"accuracy": float(wins), "wasserstein": float(distance)}
    if held_out is not None:
        error = (_error_of_mean(real) + _error_of_mean(fake)).sqrt()
        lost = real.mean() - _per_sample(held_out).mean()
        if distance > _CLEAR * error:
            figures["overfitting"] = float(lost / distance)
    return figures


def clipped_share(network: nn.Module, bound: float) -> float:
    """Measure how many of a network's weights clipping holds at their bound.

    Args:
        network: Any module; its parameters are counted.
        bound: Largest magnitude that clipping leaves, above 0.

    Returns:
        Share in [0, 1]; near 1 the critic is little more than the signs of its weights.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1)
        >>> layer.weight.data, layer.bias.data = torch.tensor([[0.1, -0.1]]), torch.zeros(1)
        >>> round(clipped_share(layer, 0.1), 4)
        0.6667

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017,
        https://arxiv.org/abs/1704.00028, figure 1b.
    """
    held = total = 0
    for weight in network.parameters():
        # In the weights' own precision, to which clipping rounds the bound.
        held += int((weight.detach().abs() >= weight.new_tensor(bound)).sum())
        total += weight.numel()
    return held / total


def _per_sample(logits: Tensor) -> Tensor:
    """Return the mean logit of each sample of all processes, in float64."""
    means = logits.detach().reshape(len(logits), -1).mean(dim=1)
    return gather(means).cpu().double()


def _distribution(name: str, logits: Tensor) -> dict[str, float]:
    low, middle, high = logits.quantile(logits.new_tensor([0.05, 0.5, 0.95])).tolist()
    return {
        f"{name}_logit_mean": float(logits.mean()),
        f"{name}_logit_std": float(logits.std(correction=0)),
        f"{name}_logit_q05": low,
        f"{name}_logit_q50": middle,
        f"{name}_logit_q95": high,
    }


def _error_of_mean(logits: Tensor) -> Tensor:
    """Return the squared standard error of the mean."""
    return logits.var(correction=0) / len(logits)
