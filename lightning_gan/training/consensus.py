"""Both networks also lowering the norm of what moves them."""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Game, Penalty
from lightning_gan.training.schedules import Schedule


class ConsensusOptimization(Penalty):
    r"""Have both networks also lower the norm of the game's vector field, which ends rotation.

    .. math:: \tfrac{\gamma}{2}\,\lVert v \rVert^2, \quad
        v = (\nabla_\theta L_G,\; \nabla_\phi L_D)

    Both losses are those of the process's batch, and are differentiated twice.

    Args:
        weight: :math:`\gamma`; 10 as in the paper for images.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Reference:
        Mescheder et al., "The Numerics of GANs", NeurIPS 2017, https://arxiv.org/abs/1705.10461,
        algorithm 2.
    """

    name = "consensus"
    needs_both_networks = True

    def __init__(self, weight: float | Schedule = 10.0, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def discriminator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return self.generator_penalty(game, real, game.regenerate(fake.latents, fake.labels))

    def generator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Compute the unweighted term, a scalar."""
        with game.rehearsal():
            terms_g, terms_d = game.generator_loss(real, fake), game.discriminator_loss(real, fake)
        of_generator = _squared_norm(terms_g, game.generator)
        of_discriminator = _squared_norm(terms_d, game.discriminator)
        return (of_generator + of_discriminator) / 2


def _squared_norm(terms: dict[str, Tensor], network: nn.Module) -> Tensor:
    """Return the squared norm of a loss's gradient by a network's weights, with its graph."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    loss = reduce(add, terms.values())
    gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    wide = [g.to(torch.promote_types(g.dtype, torch.float32)) for g in gradients if g is not None]
    return torch.stack([g.square().sum() for g in wide]).sum()
