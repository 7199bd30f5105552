"""The training of ``GAN`` and ``WGANGP`` by hand: the fastest plain PyTorch loop.

Against a tutorial's loop it saves the graph of the samples that the discriminator sees, the
gradients of the discriminator in the generator's update, all but one kernel of Adam, and a pass
where real and generated samples can share one.
"""

import copy
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from lightning_gan.gans import AdversarialModule


class PlainGAN:
    """The training of ``GAN``.

    Args:
        model: The model whose networks are copied.
        batches: Real samples, ``n_critic`` batches in one tensor.
        channels_last: Whether to lay convolutions out as channels_last.
    """

    lr = 2e-4
    betas = (0.5, 0.999)

    def __init__(
        self, model: AdversarialModule, batches: Iterable[Tensor], channels_last: bool
    ) -> None:
        self.generator = copy.deepcopy(model.generator)
        self.discriminator = copy.deepcopy(model.discriminator)
        self.latent_dim, self.n_critic = model.latent_dim, model.n_critic
        self.batches = batches
        networks = (self.generator, self.discriminator)
        if channels_last:
            for network in networks:
                network.to(memory_format=torch.channels_last)
        self.frozen = list(self.discriminator.parameters())
        self.mixes_samples = any(
            isinstance(m, nn.BatchNorm2d) for m in self.discriminator.modules()
        )
        self.optimizers = [
            Adam(network.parameters(), lr=self.lr, betas=self.betas, fused=True)
            for network in networks
        ]

    def run(self, iterations: int) -> list[float]:
        """Train and return when each iteration began."""
        stamps = []
        with _without_lightning():
            for batch in islice(self.batches, iterations):
                stamps.append(time.perf_counter())
                self.iterate(batch)
        return stamps

    def iterate(self, batch: Tensor) -> list[Tensor]:
        """Run one generator iteration and return the losses, the generator's last."""
        parts = batch.split(len(batch) // self.n_critic)
        losses = [self.update_discriminator(part) for part in parts]
        return [*losses, self.update_generator(len(parts[-1]))]

    def update_discriminator(self, real: Tensor) -> Tensor:
        """Update the discriminator once and return its loss."""
        self.optimizers[1].zero_grad()
        with torch.no_grad():
            fake = self.generator(torch.randn(len(real), self.latent_dim))
        loss = self.discriminator_loss(real, fake)
        loss.backward()
        self.optimizers[1].step()
        return loss

    def update_generator(self, n: int) -> Tensor:
        """Update the generator once and return its loss."""
        self.optimizers[0].zero_grad()
        for parameter in self.frozen:
            parameter.requires_grad_(False)
        fake = self.generator(torch.randn(n, self.latent_dim))
        loss = self.generator_loss(self.discriminator(fake))
        loss.backward()
        self.optimizers[0].step()
        for parameter in self.frozen:
            parameter.requires_grad_(True)
        return loss

    def logits(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return both logits, from one pass if that does not change them."""
        if self.mixes_samples:
            return self.discriminator(real), self.discriminator(fake)
        real_logits, fake_logits = self.discriminator(torch.cat([real, fake])).chunk(2)
        return real_logits, fake_logits

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the scalar that the discriminator minimises."""
        real_logits, fake_logits = self.logits(real, fake)
        loss: Tensor = softplus(-real_logits).mean() + softplus(fake_logits).mean()
        return loss

    def generator_loss(self, logits: Tensor) -> Tensor:
        """Return the scalar that the generator minimises."""
        loss: Tensor = softplus(-logits).mean()
        return loss


class PlainWGANGP(PlainGAN):
    """The training of ``WGANGP``."""

    lr = 1e-4
    betas = (0.0, 0.9)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the scalar that the discriminator minimises."""
        real_logits, fake_logits = self.logits(real, fake)
        between = torch.lerp(fake, real, torch.rand(len(real), 1, 1, 1)).requires_grad_()
        total = self.discriminator(between).sum()
        (slopes,) = torch.autograd.grad(total, between, create_graph=True)
        penalty = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
        loss: Tensor = fake_logits.mean() - real_logits.mean() + 10 * penalty
        return loss

    def generator_loss(self, logits: Tensor) -> Tensor:
        """Return the scalar that the generator minimises."""
        loss: Tensor = -logits.mean()
        return loss


@contextmanager
def _without_lightning() -> Iterator[None]:
    """Undo what importing Lightning changes: it has every Adam step look for a GPU the slow way."""
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value
