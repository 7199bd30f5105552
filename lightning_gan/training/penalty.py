"""What is added to the adversarial losses, with a weight and an interval, for any variant."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor, nn

from lightning_gan.layers import mixing_layers
from lightning_gan.training.batch import Batch
from lightning_gan.training.replay import ExperienceReplay
from lightning_gan.training.schedules import Schedule, check_range, value_at

Logits = Callable[[Tensor], Tensor]
Terms = dict[str, Tensor]


class Game(Protocol):
    """What a penalty sees of the training; every variant is one."""

    generator: nn.Module
    discriminator: nn.Module
    packing: int
    images_seen: int
    replay: ExperienceReplay | None

    def logits(self, batch: Batch) -> Tensor:
        """Return the discriminator's logits of being real."""

    def features(self, batch: Batch) -> Tensor:
        """Return the discriminator's features (N, F) in front of its head."""

    def regenerate(self, latents: Tensor | None, labels: Tensor | None, std: float = 0.0) -> Batch:
        """Return what the generator makes of latents, with noise, and classes, with its graph."""

    def rehearsal(self) -> AbstractContextManager[None]:
        """Return a context for losses that are not what is minimised."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Return the terms that the discriminator minimises."""

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Return the terms that the generator minimises."""


class Penalty(nn.Module, ABC):
    """A term that is added to the loss of one network, or of both.

    A subclass defines :meth:`discriminator_penalty`, :meth:`generator_penalty` or both. Batches may
    hold packs of samples; see ``packing`` of :class:`~lightning_gan.gans.base.AdversarialModule`.

    Args:
        weight: Factor of the term, or its schedule over images seen.
        interval: The term is computed in every ``interval``-th update of the network only and
            multiplied by ``interval`` there, so that its mean strength stays the same ("lazy").

    Raises:
        ValueError: If ``weight`` is negative or not finite, or ``interval`` below 1.

    Reference:
        Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
        https://arxiv.org/abs/1912.04958, section 3.1 (lazy regularisation).
    """

    #: Name of the term in the log.
    name: str
    #: Whether the term differentiates each sample's logit by that sample.
    per_sample_gradient = False
    #: Whether the term of one network's loss needs gradients of the other network's weights.
    needs_both_networks = False

    def __init__(self, weight: float | Schedule, interval: int = 1) -> None:
        super().__init__()
        check_range("weight", weight)
        if interval < 1:
            raise ValueError(f"Expected 'interval' to be at least 1, got {interval}.")
        self.weight = weight
        self.interval = interval

    def factor(self, update: int, images: int) -> float:
        """Return what the term is multiplied by in one update; 0 where it is left out.

        Args:
            update: Number of updates of the network before this one.
            images: Real images seen before it, over all processes.
        """
        if update % self.interval:
            return 0.0
        return self.interval * value_at(self.weight, images)

    def observe(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        """Learn the logits of each discriminator update, before its penalties are computed."""

    def discriminator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor | None:
        """Return the unweighted term of the discriminator's loss, a scalar, if there is one.

        Args:
            game: The networks and their losses.
            real: Real samples.
            fake: Generated ones, without a graph.
        """
        return None

    def generator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor | None:
        """Return the unweighted term of the generator's loss, a scalar, if there is one.

        Args:
            game: The networks and their losses.
            real: Real samples.
            fake: Generated ones, with their graph.
        """
        return None


class LogitPenalty(Penalty):
    """A term of the discriminator's loss that looks at its logits alone.

    It can be used without the rest: called with any discriminator and samples it returns the
    weighted term.

    Args:
        weight: See :class:`Penalty`.
        interval: Likewise.
    """

    def forward(
        self, discriminator: Logits, real: Tensor, fake: Tensor, update: int = 0, images: int = 0
    ) -> Tensor:
        """Compute the weighted term.

        Args:
            discriminator: Maps samples to logits; labels are already bound.
            real: Real samples, (N, ...).
            fake: Generated samples of the same shape.
            update: Number of discriminator updates before this one.
            images: Real images seen before it.

        Returns:
            Scalar in float32.
        """
        return self.factor(update, images) * self.penalty(discriminator, real, fake)

    @abstractmethod
    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the unweighted term, a scalar."""

    def discriminator_penalty(self, game: Game, real: Batch, fake: Batch) -> Tensor:
        """Bind the labels, and look at the logits."""

        def logits(samples: Tensor) -> Tensor:
            return game.logits(Batch(samples, real.labels))

        return self.penalty(logits, real.samples, fake.samples)


class Penalties(nn.ModuleList):
    """The penalties of one training.

    Args:
        penalties: The penalties, no two of one name.
        discriminator: The network they will be applied to.

    Raises:
        ValueError: If two penalties share a name, or if the discriminator has batch normalisation,
            under which a sample has no slope of its own.
    """

    def __init__(self, penalties: Iterable[Penalty], discriminator: nn.Module) -> None:
        if isinstance(penalties, Penalty):
            raise TypeError(f"Expected 'penalties' to be a list, got {type(penalties).__name__}.")
        super().__init__(penalties)
        for name, count in Counter(penalty.name for penalty in self.all()).items():
            if count > 1:
                raise ValueError(f"Expected 'penalties' of different names, got '{name}' twice.")
        mixed = mixing_layers(discriminator, under_penalty=True)
        for penalty in self.all():
            if penalty.per_sample_gradient and mixed:
                raise ValueError(
                    "Expected a discriminator without mixing layers under the penalty "
                    f"'{penalty.name}', got {mixed[0]}: it mixes the samples of a batch, so that a "
                    "sample has no slope of its own. Use norm='layer', 'instance' or 'none'."
                )

    @property
    def need_both_networks(self) -> bool:
        """Whether any term of one network's loss needs gradients of the other's weights."""
        return any(penalty.needs_both_networks for penalty in self.all())

    def observe(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        """Show the logits of a discriminator update to all."""
        for penalty in self.all():
            penalty.observe(real_logits.detach(), fake_logits.detach())

    def of_discriminator(
        self, game: Game, real: Batch, fake: Batch, update: int, images: int
    ) -> Terms:
        """Compute the weighted terms, by name, that are due in a discriminator update."""
        due = self._due(update, images)
        terms = {p: p.discriminator_penalty(game, real, fake) for p in due}
        return _weighted(terms, due)

    def of_generator(self, game: Game, real: Batch, fake: Batch, update: int, images: int) -> Terms:
        """Compute the weighted terms, by name, that are due in a generator update."""
        due = self._due(update, images)
        terms = {p: p.generator_penalty(game, real, fake) for p in due}
        return _weighted(terms, due)

    def all(self) -> list[Penalty]:
        """Return the penalties in order."""
        return [penalty for penalty in self if isinstance(penalty, Penalty)]

    def _due(self, update: int, images: int) -> dict[Penalty, float]:
        factors = {penalty: penalty.factor(update, images) for penalty in self.all()}
        return {penalty: factor for penalty, factor in factors.items() if factor > 0}


def _weighted(terms: dict[Penalty, Tensor | None], factors: dict[Penalty, float]) -> Terms:
    found = {penalty: term for penalty, term in terms.items() if term is not None}
    return {penalty.name: factors[penalty] * term for penalty, term in found.items()}
