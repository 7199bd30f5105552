"""Penalties that look at more than slopes: at what was judged before, at copies, at weights."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lightning_gan.functional import (
    consistency_penalty,
    feature_matching_loss,
    latent_diversity,
    lecam_penalty,
    orthogonal_penalty,
)
from lightning_gan.training.arguments import check_choice
from lightning_gan.training.augmentation import Augmentation
from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import average
from lightning_gan.training.penalty import Game, LogitPenalty, Logits, Penalty
from lightning_gan.training.schedules import Schedule, check_range


class LeCam(LogitPenalty):
    r"""Keep the logits of each kind of samples near what the other kind used to get.

    .. math::
        \lambda\big(\mathbb{E}[(D(x) - \alpha_F)^2] + \mathbb{E}[(D(G(z)) - \alpha_R)^2]\big)

    The anchors :math:`\alpha_R` and :math:`\alpha_F` are moving averages of the logits of real and
    of generated samples, the same on all processes and part of the checkpoint.

    Args:
        weight: :math:`\lambda`; 0.3 as the paper has it for BigGAN on CIFAR-10.
        decay: Decay of the moving averages, in [0, 1).
        one_sided: Whether logits on the right side of the anchors are free, as in the authors'
            code; see :func:`~lightning_gan.functional.lecam_penalty`.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Attributes:
        anchors: :math:`(\alpha_R, \alpha_F)`.
        begun: Whether there was an update to learn them from.

    Raises:
        ValueError: If ``weight`` is negative or not finite, ``decay`` outside [0, 1) or
            ``interval`` below 1.

    Reference:
        Tseng et al., "Regularizing Generative Adversarial Networks under Limited Data", CVPR 2021,
        https://arxiv.org/abs/2104.03310, eq. (4).
    """

    name = "lecam"

    def __init__(
        self,
        weight: float | Schedule = 0.3,
        decay: float = 0.99,
        one_sided: bool = False,
        interval: int = 1,
    ) -> None:
        super().__init__(weight, interval)
        if not 0 <= decay < 1:
            raise ValueError(f"Expected 'decay' in [0, 1), got {decay}.")
        self.decay = decay
        self.one_sided = one_sided
        self.anchors: Tensor
        self.begun: Tensor
        self.register_buffer("anchors", torch.zeros(2))
        self.register_buffer("begun", torch.tensor(False))

    def observe(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        """Move the anchors."""
        now = average(torch.stack([real_logits.mean(), fake_logits.mean()])).to(self.anchors)
        old = torch.where(self.begun, self.anchors, now)
        self.anchors = self.decay * old + (1 - self.decay) * now
        self.begun = torch.ones_like(self.begun)

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""
        return lecam_penalty(
            discriminator(real), discriminator(fake), *self.anchors, one_sided=self.one_sided
        )


class ConsistencyRegularization(Penalty):
    r"""Have the discriminator judge a sample and its augmented copy alike: CR, or bCR.

    .. math::
        \lambda_R\,\mathbb{E}\big[(D(x) - D(T(x)))^2\big]
        + \lambda_F\,\mathbb{E}\big[(D(G(z)) - D(T(G(z))))^2\big]

    Args:
        augmentation: T, what must not change the verdict. The papers flip and shift images. One
            that adapts, such as ADA, is shown nothing here to adapt to.
        weight: :math:`\lambda_R`; 10 as in the papers.
        fake_weight: :math:`\lambda_F` as a multiple of the weight: 0 for CR, 1 for bCR as there.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Raises:
        ValueError: If a weight is negative or not finite, or ``interval`` below 1.

    Reference:
        Zhang et al., "Consistency Regularization for Generative Adversarial Networks", ICLR 2020,
        https://arxiv.org/abs/1910.12027, eq. (2); Zhao et al., "Improved Consistency Regularization
        for GANs", AAAI 2021, https://arxiv.org/abs/2002.04724, algorithm 1 (bCR).
    """

    name = "consistency"

    def __init__(
        self,
        augmentation: Augmentation,
        weight: float | Schedule = 10.0,
        fake_weight: float = 0.0,
        interval: int = 1,
    ) -> None:
        super().__init__(weight, interval)
        check_range("fake_weight", fake_weight)
        self.augmentation = augmentation
        self.fake_weight = fake_weight

    def discriminator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Compute the unweighted term, a scalar."""
        term = self._inconsistency(game, real)
        if self.fake_weight > 0:
            term = term + self.fake_weight * self._inconsistency(game, fake)
        return term

    def _inconsistency(self, game: Game, batch: Batch) -> Tensor:
        alone = batch.unpacked(game.packing)
        changed = self.augmentation(alone.samples, game.images_seen)
        copies = alone._replace(samples=changed).packed(game.packing)
        return consistency_penalty(game.logits(batch), game.logits(copies))


class LatentConsistency(Penalty):
    r"""Have the discriminator judge samples of neighbouring latents alike: its part of zCR.

    .. math:: \lambda\,\mathbb{E}\big[(D(G(z)) - D(G(z + \epsilon)))^2\big], \quad
        \epsilon \sim \mathcal{N}(0, \sigma^2 I)

    Use it with :class:`LatentDiversity`, the generator's part.

    Args:
        weight: :math:`\lambda`; 5 as in the paper.
        std: :math:`\sigma`, how far latents are moved.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Raises:
        ValueError: If ``weight`` or ``std`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Zhao et al., "Improved Consistency Regularization for GANs", AAAI 2021,
        https://arxiv.org/abs/2002.04724, algorithm 2.
    """

    name = "latent_consistency"

    def __init__(
        self, weight: float | Schedule = 5.0, std: float = 0.05, interval: int = 1
    ) -> None:
        super().__init__(weight, interval)
        check_range("std", std)
        self.std = std

    def discriminator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Compute the unweighted term, a scalar."""
        with torch.no_grad():
            moved = game.regenerate(fake.latents, fake.labels, self.std)
            if game.replay is not None:
                fake = game.regenerate(fake.latents, fake.labels)  # some are an older generator's
        return consistency_penalty(game.logits(fake), game.logits(moved))


class LatentDiversity(Penalty):
    r"""Have the generator make different samples of neighbouring latents: its part of zCR.

    .. math:: -\lambda\,\mathbb{E}\big[(G(z) - G(z + \epsilon))^2\big], \quad
        \epsilon \sim \mathcal{N}(0, \sigma^2 I)

    Args:
        weight: :math:`\lambda`; 0.5 as in the paper.
        std: :math:`\sigma`, how far latents are moved.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Raises:
        ValueError: If ``weight`` or ``std`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Zhao et al., "Improved Consistency Regularization for GANs", AAAI 2021,
        https://arxiv.org/abs/2002.04724, algorithm 2.
    """

    name = "latent_diversity"

    def __init__(
        self, weight: float | Schedule = 0.5, std: float = 0.05, interval: int = 1
    ) -> None:
        super().__init__(weight, interval)
        check_range("std", std)
        self.std = std

    def generator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Compute the unweighted term, a scalar."""
        moved = game.regenerate(fake.latents, fake.labels, self.std)
        return latent_diversity(fake.samples, moved.samples)


class FeatureMatching(Penalty):
    r"""Have generated samples look like real ones, on average, to the discriminator.

    .. math:: \lambda\,\lVert \mathbb{E}[f(x)] - \mathbb{E}[f(G(z))] \rVert_2^2

    f are the features in front of the discriminator's head; the means are of the process's batch.

    Args:
        weight: :math:`\lambda`.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Note:
        In the paper it takes the place of the generator's adversarial loss; here it is added.

    Reference:
        Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016,
        https://arxiv.org/abs/1606.03498, section 3.1.
    """

    name = "feature_matching"

    def __init__(self, weight: float | Schedule = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval)

    def generator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Compute the unweighted term, a scalar."""
        with torch.no_grad():
            wanted = game.features(real)
        return feature_matching_loss(wanted, game.features(fake))


class OrthogonalRegularization(Penalty):
    r"""Keep the filters of each layer of a network at right angles, whatever their length.

    .. math:: \beta\,\sum_W \lVert W W^\top \odot (\mathbf{1} - I) \rVert_F^2

    The sum is over the weights of all convolutions and linear layers; of a parametrised weight,
    what it is computed from.

    Args:
        network: Whose weights; the paper's are the generator's, for truncated latents.
        weight: :math:`\beta`; 1e-4 as in the paper.
        interval: See :class:`~lightning_gan.training.Penalty`.

    Raises:
        ValueError: If ``network`` is neither, ``weight`` negative or not finite, or ``interval``
            below 1.

    Reference:
        Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis", ICLR
        2019, https://arxiv.org/abs/1809.11096, eq. (3).
    """

    name = "orthogonal"

    def __init__(
        self,
        network: Literal["generator", "discriminator"] = "generator",
        weight: float | Schedule = 1e-4,
        interval: int = 1,
    ) -> None:
        super().__init__(weight, interval)
        check_choice("network", network, ("generator", "discriminator"))
        self.network = network
        if network == "discriminator":
            self.name = "orthogonal_discriminator"  # so that both networks may have one

    def discriminator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor | None:
        """Compute the unweighted term, a scalar."""
        return _orthogonality(game.discriminator) if self.network == "discriminator" else None

    def generator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor | None:
        """Compute the unweighted term, a scalar."""
        return _orthogonality(game.generator) if self.network == "generator" else None


def _orthogonality(network: nn.Module) -> Tensor:
    layers = [layer for layer in network.modules() if isinstance(layer, _ConvNd | nn.Linear)]
    if not layers:
        kind = type(network).__name__
        raise ValueError(f"Expected a network with convolutions or linear layers, got {kind}.")
    return torch.stack([orthogonal_penalty(_filters(layer)) for layer in layers]).sum()


def _filters(layer: _ConvNd | nn.Linear) -> Tensor:
    """Return a layer's weight, or what it is computed from, with a row per output channel."""
    known = dict(layer.named_parameters())
    names = "parametrizations.weight.original", "weight"  # neither where there are several
    found = [known[name] for name in names if name in known]
    weight: Tensor = found[0] if found else layer.weight  # which looking at may change
    return weight.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else weight
