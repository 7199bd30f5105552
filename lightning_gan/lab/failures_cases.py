"""Ways for samples of a ring of Gaussians to fail: made on purpose, and by bad training."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Ring(NamedTuple):
    """A ring of modes, from which samples are drawn, and real samples of it."""

    centers: Tensor
    std: float
    real: Tensor
    random: torch.Generator

    def draw(self, weights: Sequence[float] = (1.0,) * 8, scale: float = 1.0) -> Tensor:
        """Draw as many samples as there are real ones, from modes of any weights and width."""
        modes = torch.multinomial(
            torch.tensor(weights), len(self.real), replacement=True, generator=self.random
        )
        samples: Tensor = self.centers[modes] + scale * self.std * self.noise()
        return samples

    def noise(self) -> Tensor:
        """Draw standard normal points."""
        return torch.randn(self.real.shape, generator=self.random)

    def between(self) -> Tensor:
        """Return means of samples of different modes, two by two."""
        first = torch.randint(8, (len(self.real),), generator=self.random)
        step = torch.randint(1, 8, (len(self.real),), generator=self.random)
        centers = (self.centers[first] + self.centers[(first + step) % 8]) / 2
        samples: Tensor = centers + self.std * 0.5**0.5 * self.noise()
        return samples

    def copies(self) -> Tensor:
        """Return real samples, drawn with replacement."""
        places = torch.randint(len(self.real), (len(self.real),), generator=self.random)
        copies: Tensor = self.real[places]
        return copies

    def fog(self) -> Tensor:
        """Draw normal points of the mean and covariance of the ring."""
        variance = self.centers.square().mean().item() + self.std**2
        samples: Tensor = variance**0.5 * self.noise()
        return samples


# What a generator may make of the ring, and what that is called.
CASES: dict[str, tuple[Callable[[Ring], Tensor], str]] = {
    "the data": (lambda ring: ring.draw(), "healthy"),
    "every other mode": (lambda ring: ring.draw((1.0, 0.0) * 4), "mode dropping"),
    "one mode": (lambda ring: ring.draw((1.0,) + (0.0,) * 7), "mode dropping"),
    "between the modes": (lambda ring: ring.between(), "manifold collapse"),
    "modes shrunk to 0.2": (lambda ring: ring.draw(scale=0.2), "within-mode collapse"),
    "modes widened to 1.5": (lambda ring: ring.draw(scale=1.5), "garbage"),
    "modes widened to 4": (lambda ring: ring.draw(scale=4.0), "garbage"),
    "noise, same moments": (lambda ring: ring.fog(), "garbage"),
    "one mode too often": (lambda ring: ring.draw((91.0,) + (1.0,) * 7), "imbalance"),
    "copies of the data": (lambda ring: ring.copies(), "memorisation"),
}
MOMENTS = ("the data", "every other mode", "noise, same moments")  # all the same
WEAK = ("modes widened to 1.5",)


class BadTraining(NamedTuple):
    """How a plain GAN is trained badly.

    Attributes:
        steps: Iterations.
        rate_g: Learning rate of the generator; that of the discriminator is 1e-3.
        beta1: Of both networks' Adam.
    """

    steps: int
    rate_g: float = 1e-3
    beta1: float = 0.5


TRAININGS = {
    "GAN, stopped after 60 steps": BadTraining(60),
    "GAN, momentum 0.9": BadTraining(400, beta1=0.9),
    "GAN, generator 5 times as fast": BadTraining(400, rate_g=5e-3),
    "GAN, 400 steps": BadTraining(400),
}
