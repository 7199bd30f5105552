"""The one training loop: alternating updates of a discriminator and a generator.

One ``training_step`` is one iteration of the generator: ``n_critic`` updates of the discriminator,
each on real samples of its own, then one update of the generator. Only the generator's update is
counted, so ``max_steps``, checkpoint intervals, the logger's axis and the progress bar all mean
generator iterations.

A variant declares what is minimised; when and by whom is here, the same for every variant, number
of processes and precision.
"""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_gan.functional import clip_weights_
from lightning_gan.gans.generative import frozen
from lightning_gan.gans.training_run import TrainingRun, parameters_of
from lightning_gan.layers import apply, evaluating, mixing_layers
from lightning_gan.networks import Discriminator
from lightning_gan.training import preflight
from lightning_gan.training.augmentation import Augmentation
from lightning_gan.training.batch import Batch, unpack
from lightning_gan.training.distributed import (
    average_gradients,
    broadcast_buffers,
    unsynchronized,
)
from lightning_gan.training.penalties import Penalties, Penalty
from lightning_gan.training.randomness import seed_step

Terms = dict[str, Tensor]


class AdversarialModule(TrainingRun):
    """Train a generator against a discriminator: the base of all variants.

    A variant defines :meth:`discriminator_loss` and :meth:`generator_loss`.

    Args:
        generator: Maps latents (N, ``latent_dim``) to samples; images must lie in [-1, 1]. Any
            module; one with an attribute ``num_classes`` is given the labels as second argument.
        discriminator: Maps samples to logits, (N,) or (N, ...). Any module; likewise.
        n_critic: Updates of the discriminator per update of the generator.
        penalties: Terms added to the discriminator's loss.
        augmentation: What is done to all samples before the discriminator sees them in training.
        weight_clip_val_d: Bound on each of the discriminator's weights, kept by clipping them after
            its every update.
        compile_networks: Whether to compile both networks. Penalties run uncompiled, because
            compiled code cannot be differentiated twice.
        **kwargs: Optimisers, schedules, gradient clipping and replay; see
            :class:`~lightning_gan.gans.training_run.TrainingRun`.

    Raises:
        ValueError: If ``n_critic`` is below 1, a bound not positive, ``latent_dim`` unknown, a
            penalty does not fit, or the discriminator has another number of outputs than the losses
            read.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        n_critic: int = 1,
        penalties: Sequence[Penalty] | None = None,
        augmentation: Augmentation | None = None,
        weight_clip_val_d: float | None = None,
        compile_networks: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, **kwargs)
        if n_critic < 1:
            raise ValueError(f"Expected 'n_critic' to be at least 1, got {n_critic}.")
        preflight.check_bound("weight_clip_val_d", weight_clip_val_d)
        if weight_clip_val_d is not None:
            preflight.check_plain_weights(discriminator)
        preflight.check_outputs(self.num_outputs, getattr(discriminator, "num_outputs", None))
        # Only of our own networks it is known that samples do not meet elsewhere than in layers.
        ours = isinstance(discriminator, Discriminator)
        self._joint_pass = ours and not mixing_layers(discriminator)
        self.penalties = Penalties(penalties or (), discriminator)
        self.augmentation = augmentation
        self.n_critic = n_critic
        self.weight_clip_val_d = weight_clip_val_d
        self.compile_networks = compile_networks
        self._checked_networks = False
        self._begun = False  # whether an update was made

    @abstractmethod
    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Compute the terms that the discriminator minimises.

        Args:
            real: Real samples, with labels where the data has them.
            fake: As many generated ones of the same classes, without a graph, with their latents.

        Returns:
            Weighted scalar terms by name; their sum is minimised. Penalties are added by the base.
        """

    @abstractmethod
    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Compute the terms that the generator minimises.

        Args:
            real: Real samples, for losses that compare with them.
            fake: As many generated ones of the same classes, with their graph and latents.

        Returns:
            Weighted scalar terms by name; their sum is minimised.
        """

    @property
    def num_outputs(self) -> int:
        """Number of values per sample that the losses read from the discriminator.

        1 stands for a logit, or for a map of them.
        """
        return 1

    @property
    def batches_per_step(self) -> int:
        """Number of batches that one training step takes; our datamodules deliver so many."""
        return self.n_critic

    def outputs(self, batch: Batch) -> Tensor:
        """Return all that the discriminator says of samples, in float32 even if it ran in half."""
        samples = batch.samples
        if self.augmentation is not None and self.training:
            samples = self.augmentation(samples, self.global_step)
        outputs: Tensor = apply(self.discriminator, samples, batch.labels)
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))

    def verdict(self, outputs: Tensor) -> Tensor:
        """Return the logits of being real among the discriminator's outputs; here all are."""
        return outputs

    def logits(self, batch: Batch) -> Tensor:
        """Return the discriminator's logits of being real, large where it takes samples for it."""
        return self.verdict(self.outputs(batch))

    def discriminate(self, real: Batch, fake: Batch) -> tuple[Tensor, Tensor]:
        """Return the discriminator's outputs for both, and record their mean logits."""
        if self._joint_pass:
            real_outputs, fake_outputs = self.outputs(real.join(fake)).chunk(2)
        else:
            real_outputs, fake_outputs = self.outputs(real), self.outputs(fake)
        self.record("real_logits", self.verdict(real_outputs).mean())
        self.record("fake_logits", self.verdict(fake_outputs).mean())
        return real_outputs, fake_outputs

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Run one generator iteration on ``n_critic`` batches of real samples."""
        batch = unpack(batch)
        if not self._checked_networks:
            self._check_networks(batch)
        if not self._begun:
            self._begin(batch)
        interval = self.trainer.log_every_n_steps or 50  # type: ignore[attr-defined]
        self._reports = (self.trainer.global_step + 1) % interval == 0
        seed_step(self.device, self._seed, self.trainer.global_step, self.global_rank)
        optimizer_g, optimizer_d = cast(list[LightningOptimizer], self.optimizers())
        parts = batch.split(self.n_critic)
        for i, part in enumerate(parts):
            update = self.trainer.global_step * self.n_critic + i
            self._update_discriminator(optimizer_d, part, update)
        self._update_generator(optimizer_g, parts[-1])
        for config in self.trainer.lr_scheduler_configs:
            config.scheduler.step()  # type: ignore[call-arg]  # plateaus were refused
        self.images_seen += len(batch.samples) * self.trainer.world_size
        if self._reports:
            self._hand_over()

    def _update_discriminator(
        self, optimizer: LightningOptimizer, real: Batch, update: int
    ) -> None:
        with torch.no_grad():
            fake = self.generate(len(real.samples), real.labels)
        if self.replay is not None:
            fake = self.replay.mix(fake)
        terms = self.discriminator_loss(real, fake)
        if len(self.penalties) > 0:
            with self._uncompiled():

                def logits(samples: Tensor) -> Tensor:
                    return self.logits(Batch(samples, real.labels))

                terms.update(self.penalties(logits, real.samples, fake.samples, update))
        self._backward(optimizer, terms, "d")
        # Stepped through the strategy, which unlike the wrapped optimiser does not count the step.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, _no_closure)
        if self.weight_clip_val_d is not None:
            clip_weights_(self.discriminator, self.weight_clip_val_d)

    def _update_generator(self, optimizer: LightningOptimizer, real: Batch) -> None:
        with frozen(self.discriminator):
            fake = self.generate(len(real.samples), real.labels)
            terms = self.generator_loss(real, fake)
            self._backward(optimizer, terms, "g")
        broadcast_buffers(self.generator, self.discriminator)
        optimizer.step()

    def _backward(self, optimizer: LightningOptimizer, terms: Terms, network: str) -> None:
        """Leave the gradient of the sum of the terms, averaged over all ranks, on one network."""
        optimizer.zero_grad()
        loss = reduce(add, terms.values())
        with unsynchronized(self.trainer.strategy):
            self.manual_backward(loss)
        average_gradients(parameters_of(optimizer))
        for name, term in terms.items():
            self.record(f"{network}_{name}", term)
        self.record(f"{network}_loss", loss)

    def _check_networks(self, batch: Batch) -> None:
        """Try both networks on two samples, before anything else is done with them."""
        preflight.warn_of_unit_range(batch.samples)
        real = batch.rows(slice(2))
        with torch.no_grad(), evaluating(self.generator), evaluating(self.discriminator):
            fake = self.generate(len(real.samples), real.labels)

            def outputs(samples: Tensor) -> Tensor:
                return self.outputs(Batch(samples, real.labels))

            preflight.check_networks(real.samples, fake.samples, outputs, self.num_outputs)
        self._checked_networks = True

    def _begin(self, batch: Batch) -> None:
        """Say what an iteration is, and compile the networks, before the first update."""
        parts = batch.split(self.n_critic)
        if self.compile_networks:
            self.generator.compile()
            self.discriminator.compile()
        sizes = sorted({len(part.samples) * self.trainer.world_size for part in parts})
        rank_zero_info(
            f"Every generator iteration makes {self.n_critic} discriminator updates on "
            f"{' or '.join(map(str, sizes))} real samples each, then one generator update."
        )
        self._begun = True

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log both losses, without penalties, on held-out samples and on generated ones."""
        real = unpack(batch)
        if not self._checked_networks:
            self._check_networks(real)
        latents = self.sample_latents(len(real.samples))
        labels = None if self.num_classes is None else real.labels
        fake = Batch(self.render(latents, labels).to(self.dtype), labels, latents)
        losses = {"d": self.discriminator_loss, "g": self.generator_loss}
        for network, loss in losses.items():
            terms = loss(real, fake)
            self.record(f"{network}_loss", reduce(add, terms.values()))

    test_step = validation_step

    def _uncompiled(self) -> AbstractContextManager[None]:
        if not self.compile_networks:
            return nullcontext()
        stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
        return stance


def _no_closure() -> None:
    """Do nothing: gradients are there already."""
