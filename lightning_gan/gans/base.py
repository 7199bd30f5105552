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
from functools import partial, reduce
from operator import add
from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_gan.gans.batch import Batch, unpack
from lightning_gan.gans.generative import GenerativeModule, apply, evaluating, frozen
from lightning_gan.layers import mixing_layers
from lightning_gan.networks import Discriminator
from lightning_gan.training import preflight
from lightning_gan.training.checkpoint_io import refuse_nan
from lightning_gan.training.distributed import (
    average_gradients,
    broadcast_buffers,
    unsynchronized,
)
from lightning_gan.training.optimizers import GANAdam, make_optimizers
from lightning_gan.training.penalties import Penalties, Penalty
from lightning_gan.training.randomness import run_seed, seed_step
from lightning_gan.training.record import Pace, Record, hand_over
from lightning_gan.training.runtime import prepare_runtime

Terms = dict[str, Tensor]


class AdversarialModule(GenerativeModule):
    """Train a generator against a discriminator: the base of all variants.

    A variant defines :meth:`discriminator_loss` and :meth:`generator_loss`.

    Args:
        generator: Maps latents (N, ``latent_dim``) to samples; images must lie in [-1, 1]. Any
            module; one with an attribute ``num_classes`` is given the labels as second argument.
        discriminator: Maps samples to logits, (N,) or (N, ...). Any module; likewise.
        latent_dim: Length of a latent. None takes the generator's ``latent_dim``.
        n_critic: Updates of the discriminator per update of the generator.
        penalties: Terms added to the discriminator's loss.
        optimizer_g: Makes the generator's optimiser from its parameters.
        optimizer_d: Makes the discriminator's optimiser from its parameters.
        lr_scheduler_g: Makes the generator's schedule, stepped once per generator iteration.
        lr_scheduler_d: Makes the discriminator's schedule, stepped as often.
        gradient_clip_val_g: Bound on the norm of the generator's gradient.
        gradient_clip_val_d: Bound on the norm of the discriminator's gradient.
        compile_networks: Whether to compile both networks. Penalties run uncompiled, because
            compiled code cannot be differentiated twice.

    Attributes:
        images_seen: Real samples that the discriminator has seen, over all processes.

    Raises:
        ValueError: If ``n_critic`` is below 1, ``latent_dim`` unknown, or a penalty does not fit.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        latent_dim: int | None = None,
        n_critic: int = 1,
        penalties: Sequence[Penalty] | None = None,
        optimizer_g: OptimizerCallable = lambda params: GANAdam(params, lr=2e-4),
        optimizer_d: OptimizerCallable = lambda params: GANAdam(params, lr=2e-4),
        lr_scheduler_g: LRSchedulerCallable | None = None,
        lr_scheduler_d: LRSchedulerCallable | None = None,
        gradient_clip_val_g: float | None = None,
        gradient_clip_val_d: float | None = None,
        compile_networks: bool = False,
    ) -> None:
        super().__init__(generator, latent_dim)
        if n_critic < 1:
            raise ValueError(f"Expected 'n_critic' to be at least 1, got {n_critic}.")
        self.automatic_optimization = False
        self.discriminator = discriminator
        if self.num_classes is None:
            self.num_classes = getattr(discriminator, "num_classes", None)
        # Only of our own networks it is known that samples do not meet elsewhere than in layers.
        ours = isinstance(discriminator, Discriminator)
        self._joint_pass = ours and not mixing_layers(discriminator)
        self.penalties = Penalties(penalties or (), discriminator)
        self.n_critic = n_critic
        self.compile_networks = compile_networks
        self.images_seen = 0
        self._optimizer_factories = (optimizer_g, optimizer_d)
        self._scheduler_factories = (lr_scheduler_g, lr_scheduler_d)
        self._gradient_clip_vals = (gradient_clip_val_g, gradient_clip_val_d)
        self._seed = 0  # of the run, known from `setup` or from the checkpoint
        self._record = Record()
        self._checked_networks = False
        self._reports = False  # whether this iteration ends with a hand-over to the loggers
        self._pace = Pace(0)

    @abstractmethod
    def discriminator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Terms:
        """Compute the terms that the discriminator minimises.

        Args:
            real: Real samples, (N, ...).
            fake: Generated samples of the same shape, without a graph.
            labels: Classes of both, (N,), where the data has them.

        Returns:
            Weighted scalar terms by name; their sum is minimised. Penalties are added by the base.
        """

    @abstractmethod
    def generator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Terms:
        """Compute the terms that the generator minimises.

        Args:
            real: Real samples, (N, ...), for losses that compare with them.
            fake: Generated samples of the same shape, with their graph.
            labels: Classes of both, (N,), where the data has them.

        Returns:
            Weighted scalar terms by name; their sum is minimised.
        """

    @property
    def batches_per_step(self) -> int:
        """Number of batches that one training step takes; our datamodules deliver so many."""
        return self.n_critic

    def logits(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the discriminator's logits, in float32 also where the network ran in half."""
        logits: Tensor = apply(self.discriminator, samples, labels)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def discriminate(
        self, real: Tensor, fake: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of real and generated samples, and record their means."""
        if self._joint_pass:
            both = None if labels is None else torch.cat([labels, labels])
            real_logits, fake_logits = self.logits(torch.cat([real, fake]), both).chunk(2)
        else:
            real_logits, fake_logits = self.logits(real, labels), self.logits(fake, labels)
        self.record("real_logits", real_logits.mean())
        self.record("fake_logits", fake_logits.mean())
        return real_logits, fake_logits

    def record(self, name: str, value: Tensor) -> None:
        """Log a scalar as ``train/<name>``, or under the stage of an evaluation.

        In training it costs nothing: values are handed over as means every
        ``Trainer(log_every_n_steps)`` iterations.
        """
        if self.training:
            self._record.add(name, value)
        else:
            stage = "test" if self.trainer.testing else "val"
            self.log(f"{stage}/{name}", value, on_epoch=True, sync_dist=True)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Run one generator iteration on ``n_critic`` batches of real samples."""
        batch = unpack(batch)
        if not self._checked_networks:
            self._check_networks(batch)
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
        self.images_seen += len(batch.real) * self.trainer.world_size
        if self._reports:
            self._hand_over()

    def _update_discriminator(
        self, optimizer: LightningOptimizer, part: Batch, update: int
    ) -> None:
        with torch.no_grad():
            fake = self.generate(len(part.real), part.labels)
        terms = self.discriminator_loss(part.real, fake, part.labels)
        if len(self.penalties) > 0:
            with self._uncompiled():
                logits = partial(self.logits, labels=part.labels)
                terms.update(self.penalties(logits, part.real, fake, update))
        self._backward(optimizer, terms, "d")
        # Stepped through the strategy, which unlike the wrapped optimiser does not count the step.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, _no_closure)

    def _update_generator(self, optimizer: LightningOptimizer, part: Batch) -> None:
        with frozen(self.discriminator):
            fake = self.generate(len(part.real), part.labels)
            terms = self.generator_loss(part.real, fake, part.labels)
            self._backward(optimizer, terms, "g")
        broadcast_buffers(self.generator, self.discriminator)
        optimizer.step()

    def _backward(self, optimizer: LightningOptimizer, terms: Terms, network: str) -> None:
        """Leave the gradient of the sum of the terms, averaged over all ranks, on one network."""
        optimizer.zero_grad()
        loss = reduce(add, terms.values())
        with unsynchronized(self.trainer.strategy):
            self.manual_backward(loss)
        average_gradients(_parameters(optimizer))
        for name, term in terms.items():
            self.record(f"{network}_{name}", term)
        self.record(f"{network}_loss", loss)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measure and clip the gradient: here it is reduced and unscaled."""
        which = int(optimizer is not self.trainer.optimizers[0])  # 0: generator, 1: discriminator
        bound = self._gradient_clip_vals[which]
        if bound is None and not self._reports:
            return  # on small networks the norm costs as much as a layer
        parameters = [p for p in _parameters(optimizer) if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self.record(f"{'gd'[which]}_grad_norm", norm)
        if bound is not None:
            nn.utils.clip_grads_with_norm_(parameters, bound, norm)

    def configure_callbacks(self) -> list[Any]:
        """Refuse Trainer options before Lightning does so in other words; add no callbacks."""
        if self._is_fitting():
            preflight.check_trainer(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Choose the run's seed and prepare its checkpoints and networks."""
        self._seed = run_seed(self.trainer.strategy)
        # A run may go on from an older checkpoint; a test must not report on another one.
        prepare_runtime(self.trainer.strategy, self, fallback=stage == "fit")

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Make both optimisers and whichever schedules were asked for, the generator's first."""
        return make_optimizers(
            (self.generator, self.discriminator),
            self._optimizer_factories,
            self._scheduler_factories,
        )

    def on_train_start(self) -> None:
        """Start the clock and an empty record: an earlier run may have been interrupted."""
        self._record = Record()
        self._pace = Pace(self.images_seen)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Check every batch while it is on the CPU, where looking costs no synchronisation."""
        if not self.trainer.predicting:
            real, labels = unpack(batch)
            if real.device.type == "cpu":
                preflight.check_batch(real, labels, self.num_classes)
        return batch

    def _check_networks(self, batch: Batch) -> None:
        """Try both networks on two samples before the first update; then compile them."""
        parts = batch.split(self.n_critic)
        preflight.warn_of_unit_range(batch.real)
        real, labels = batch.real[:2], None if batch.labels is None else batch.labels[:2]
        with torch.no_grad(), evaluating(self.generator), evaluating(self.discriminator):
            fake = self.generate(len(real), labels)
            preflight.check_networks(real, fake, partial(self.logits, labels=labels))
        if self.compile_networks:
            self.generator.compile()
            self.discriminator.compile()
        sizes = sorted({len(part.real) * self.trainer.world_size for part in parts})
        rank_zero_info(
            f"Every generator iteration makes {self.n_critic} discriminator updates on "
            f"{' or '.join(map(str, sizes))} real samples each, then one generator update."
        )
        self._checked_networks = True

    def _hand_over(self) -> None:
        """Log the means of what was recorded since the last time, if they are finite."""
        values = self._finite_means()
        values["images_seen"] = self.images_seen
        values["images_per_second"] = self._pace.per_second(self.images_seen)
        hand_over(self.trainer, {f"train/{name}": value for name, value in values.items()})

    def _finite_means(self) -> dict[str, float]:
        """Return what was recorded, or stop the training if a term was not finite."""
        # After an overflow the loss scale is lowered and the step left out: one is no failure.
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        return self._record.means(self.trainer.global_step, tolerate_some=scaled)

    def on_train_end(self) -> None:
        """Check the last iterations."""
        self._finite_means()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save NaN; add what the run needs to go on exactly."""
        # Weights are equal on all ranks, so that all refuse together and none waits for another.
        try:
            refuse_nan(checkpoint)
        except ValueError:
            self._finite_means()  # knows the term at fault
            raise
        checkpoint["lightning_gan"] = {"seed": self._seed, "images_seen": self.images_seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the run's seed and its count of images."""
        super().on_load_checkpoint(checkpoint)
        run = checkpoint.get("lightning_gan", {})
        self._seed = run.get("seed", self._seed)
        self.images_seen = run.get("images_seen", 0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log both losses, without penalties, on held-out samples and on :meth:`sample`'s."""
        real, labels = unpack(batch)
        fake = self.sample(len(real), labels)
        losses = {"d": self.discriminator_loss, "g": self.generator_loss}
        for network, loss in losses.items():
            terms = loss(real, fake, labels)
            self.record(f"{network}_loss", reduce(add, terms.values()))

    test_step = validation_step

    def _uncompiled(self) -> AbstractContextManager[None]:
        if not self.compile_networks:
            return nullcontext()
        stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
        return stance


def _parameters(optimizer: Optimizer | LightningOptimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _no_closure() -> None:
    """Do nothing: gradients are there already."""
