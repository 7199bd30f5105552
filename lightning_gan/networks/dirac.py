"""The smallest GAN that shows whether a way of training converges: one number against one slope."""

import torch
from torch import Tensor, nn


class DiracGenerator(nn.Module):
    r"""Generate the same point :math:`\theta` for every latent.

    Together with :class:`DiracDiscriminator` and data that is always 0 it is the Dirac-GAN, whose
    only equilibrium is :math:`(\theta, \psi) = (0, 0)` and around which plain training circles.

    Args:
        theta: The point at the start.

    Example:
        >>> DiracGenerator(0.5)(torch.zeros(2, 1)).detach()
        tensor([[0.5000],
                [0.5000]])

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, definition 2.1.
    """

    latent_dim = 1
    sample_shape = (1,)

    def __init__(self, theta: float = 1.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([float(theta)]))

    def forward(self, z: Tensor) -> Tensor:
        """Generate samples.

        Args:
            z: Latents, (N, 1), of which only the number counts.

        Returns:
            Samples (N, 1), all the same.
        """
        return self.theta.repeat(len(z), 1)


class DiracDiscriminator(nn.Module):
    r"""Tell points apart by a line through the origin: :math:`D(x) = \psi x`.

    Args:
        psi: The slope at the start.

    Example:
        >>> DiracDiscriminator(2.0)(torch.tensor([[0.0], [3.0]])).detach()
        tensor([0., 6.])

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
        https://arxiv.org/abs/1801.04406, definition 2.1.
    """

    sample_shape = (1,)
    num_outputs = 1

    def __init__(self, psi: float = 1.0) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([float(psi)]))

    def forward(self, x: Tensor) -> Tensor:
        """Tell real from generated samples.

        Args:
            x: Samples, (N, 1).

        Returns:
            Logits (N,).

        Raises:
            ValueError: If the samples have another shape.
        """
        if x.shape[1:] != self.sample_shape:
            raise ValueError(f"Expected samples of the shape (N, 1), got {tuple(x.shape)}.")
        return (self.psi * x).squeeze(1)
