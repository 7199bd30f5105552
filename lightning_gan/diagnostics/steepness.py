"""How steep a discriminator is, beside what its layers would allow."""

from math import isfinite

import torch
from torch import Tensor, nn

from lightning_gan.diagnostics.probe import SAMPLES
from lightning_gan.diagnostics.unnoticed import unnoticed
from lightning_gan.gans.game import AdversarialGame
from lightning_gan.layers import apply, empirical_slope, layer_norms, lipschitz_bound
from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import gather


def steepness(model: AdversarialGame, real: Batch, fake: Batch | None = None) -> dict[str, float]:
    """Measure the slopes of a discriminator and the norms of its layers, leaving no trace.

    - ``slope_mean``, ``slope_max``: Euclidean norm of the gradient of a sample's logit by the
      sample, at real and at generated samples.
    - ``largest_layer_norm``: the largest operator norm of a linear layer or convolution; left out
      where one cannot be measured, as in a network that has not grown to its last resolution.
    - ``lipschitz_bound``: the product of the layers' norms, above which no slope can be; left out
      where it is unknown: for layers such as batch normalisation, for conditional networks, and for
      those of several outputs, of which the logit may be any function.

    Unlike in :func:`~lightning_gan.diagnostics.probe`, the discriminator is in evaluation mode and
    sees samples as they are, without augmentation. The norms take power iterations to convergence:
    for convolutions this costs as much as several training steps. Under ddp the slopes are those at
    all processes' samples.

    Args:
        model: Any variant.
        real: Real samples as :meth:`~lightning_gan.gans.game.AdversarialGame.receive` returns them;
            at most 128 are used.
        fake: Generated samples, not packed; None makes as many as there are real ones.

    Returns:
        Figures by name, all finite.
    """
    with unnoticed(model):
        real = real.rows(slice(SAMPLES))
        if fake is None:
            with torch.no_grad():
                fake = model.generate(len(real.samples), real.labels)
        packs = [batch.packed(model.packing) for batch in (real, fake.rows(slice(SAMPLES)))]
        slopes = torch.cat([empirical_slope(_Judge(model, x.labels), x.samples) for x in packs])
        slopes = gather(slopes)
        figures = {"slope_mean": float(slopes.mean()), "slope_max": float(slopes.max())}
        figures |= _layers(model, packs[0].rows(slice(1)))
    return {name: figure for name, figure in figures.items() if isfinite(figure)}


class _Judge(nn.Module):
    """The logits of samples of known classes, as a module of the samples alone."""

    chain = ("network",)  # for `lipschitz_bound`

    def __init__(self, model: AdversarialGame, labels: Tensor | None) -> None:
        super().__init__()
        self.network = model.discriminator
        self.labels = labels
        self._verdict = model.verdict

    def forward(self, samples: Tensor) -> Tensor:
        outputs: Tensor = apply(self.network, samples, self.labels)
        return self._verdict(outputs)


def _layers(model: AdversarialGame, example: Batch) -> dict[str, float]:
    """Return what the weights tell, as far as it is known."""
    judge = _Judge(model, example.labels)
    try:
        norms = layer_norms(judge, example.samples)
    except (TypeError, ValueError):
        return {}
    # Of NaN, which `max` of numbers may pass over, it is NaN.
    figures = {"largest_layer_norm": float(torch.tensor([*norms.values()]).max())} if norms else {}
    conditional = getattr(model.discriminator, "num_classes", None) is not None
    if conditional or model.num_outputs > 1:
        return figures
    try:
        return figures | {"lipschitz_bound": lipschitz_bound(judge, example.samples, norms)}
    except TypeError:
        return figures
