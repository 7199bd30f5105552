"""All cheap figures of one instant of a training."""

from math import isfinite

import torch

from lightning_gan.diagnostics.discriminator import clipped_share, logit_figures
from lightning_gan.diagnostics.diversity import diversity
from lightning_gan.diagnostics.gradients import generator_gradients
from lightning_gan.diagnostics.unnoticed import unnoticed
from lightning_gan.gans.game import AdversarialGame
from lightning_gan.training.batch import Batch

SAMPLES = 128  # of each kind that are looked at


def probe(model: AdversarialGame, real: Batch, held_out: Batch | None = None) -> dict[str, float]:
    """Measure how a training stands, leaving no trace in it.

    The figures are those of :func:`~lightning_gan.diagnostics.generator_gradients`,
    :func:`~lightning_gan.diagnostics.logit_figures` and
    :func:`~lightning_gan.diagnostics.diversity`, and where weights are clipped
    ``clipped_share``; see :func:`~lightning_gan.diagnostics.clipped_share`. The networks are in the
    modes in which they are, and so is the augmentation, but run in the weights' precision, outside
    of mixed precision. It costs less than a training step of as many samples.

    Args:
        model: Any variant.
        real: Real samples of the training, on the model's device and as
            :meth:`~lightning_gan.gans.game.AdversarialGame.receive` returns them, at least 2; the
            first 128 are used.
        held_out: Likewise such that the training does not see, of which as many are used; None
            leaves ``overfitting`` out. Under ddp all processes must have some, or none.

    Returns:
        Figures by name, all finite, the same on all processes. One that is infinite or undefined is
        left out.

    Raises:
        ValueError: If there are fewer than 2 real samples.
    """
    with unnoticed(model):
        real = real.rows(slice(SAMPLES))
        count = len(real.samples)
        fake = model.generate(count, real.labels)
        figures = diversity(real.samples, fake.samples)
        real, fake = real.packed(model.packing), fake.packed(model.packing)
        figures |= generator_gradients(model, real, fake)
        with torch.no_grad():
            unseen = None
            if held_out is not None:  # in a batch of that size, which some networks look across
                unseen = model.logits(held_out.rows(slice(count)).packed(model.packing))
            figures |= logit_figures(model.logits(real), model.logits(fake), unseen)
    bound = getattr(model, "weight_clip_val_d", None)
    if bound is not None:
        figures["clipped_share"] = clipped_share(model.discriminator, bound)
    return {name: figure for name, figure in figures.items() if isfinite(figure)}
