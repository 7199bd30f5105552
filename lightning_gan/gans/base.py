"""The one training loop: alternating updates of a discriminator and a generator.

One ``training_step`` is one iteration of the generator: ``n_critic`` updates of the discriminator,
each on real samples of its own, then one update of the generator. Only the generator's update is
counted, so ``max_steps``, checkpoint intervals, the logger's axis and the progress bar all mean
generator iterations.

A variant declares what is minimised; when and by whom is here, the same for every variant, number
of processes and precision.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import reduce
from operator import add
from typing import Any, Literal, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lightning_gan.functional import clip_weights_
from lightning_gan.gans.game import AdversarialGame
from lightning_gan.gans.generative import frozen
from lightning_gan.gans.training_run import parameters_of
from lightning_gan.training import preflight
from lightning_gan.training.arguments import check_bound, check_choice
from lightning_gan.training.augmentation import Augmentation
from lightning_gan.training.batch import Batch
from lightning_gan.training.distributed import (
    average_gradients,
    broadcast_buffers,
    unsynchronized,
)
from lightning_gan.training.lending import with_weights
from lightning_gan.training.penalty import Penalty, Terms
from lightning_gan.training.randomness import seed_step
from lightning_gan.training.schedules import Schedule
from lightning_gan.training.unrolling import unroll

Updates = Literal["alternating", "simultaneous", "extragradient"]
# For each order of updates: the real batches that an iteration takes, as multiples of `n_critic`.
_BATCHES: dict[str, int] = {"alternating": 1, "simultaneous": 1, "extragradient": 2}


class AdversarialModule(AdversarialGame):
    r"""Train a generator against a discriminator: the base of all variants.

    A variant defines :meth:`discriminator_loss` and :meth:`generator_loss`.

    Args:
        generator: Maps latents (N, ``latent_dim``) to samples; images must lie in [-1, 1]. Any
            module; one with an attribute ``num_classes`` is given the labels as second argument.
        discriminator: Maps samples to logits, (N,) or (N, ...). Any module; likewise.
        n_critic: Updates of the discriminator per update of the generator.
        updates: Their order. ``"alternating"``: the discriminator first, and the generator against
            the updated one. ``"simultaneous"``: both gradients at the same weights.
            ``"extragradient"``: a simultaneous step to look ahead, from whose end both gradients
            are taken, on samples of their own, for the step from where it began; the optimisers'
            moments see both (Gidel et al.'s algorithm 4).
        unrolled_steps: Number of steps of the discriminator's optimiser that the generator looks
            ahead, and differentiates through. Each process unrolls on its own samples. Penalties
            take part as terms of the weights; what they know of generated samples is a constant.
        penalties: Terms added to the losses.
        augmentation: What is done to all samples before the discriminator sees them in training.
        packing: Number of samples of one kind that the discriminator judges together, joined
            channel by channel: build it for that many times the channels.
        top_k: Share of the generated samples, those taken most for real, that the generator learns
            from.
        weight_clip_val_d: Bound on each of the discriminator's weights, kept by clipping them after
            its every update.
        compile_networks: Whether to compile both networks. Penalties run uncompiled, because
            compiled code cannot be differentiated twice.
        **kwargs: Optimisers, schedules, gradient clipping and replay; see
            :class:`~lightning_gan.gans.training_run.TrainingRun`.

    Raises:
        ValueError: If ``n_critic`` is below 1 or does not fit the order of ``updates``; if
            unrolling, a penalty or packing does not fit the rest; if a bound is not positive or
            ``latent_dim`` unknown; or if the discriminator has another number of outputs than the
            losses read.

    Reference:
        Gidel et al., "A Variational Inequality Perspective on Generative Adversarial Networks",
        ICLR 2019, https://arxiv.org/abs/1802.10551 (extragradient); Metz et al., "Unrolled
        Generative Adversarial Networks", ICLR 2017, https://arxiv.org/abs/1611.02163; Lin et al.,
        "PacGAN: The power of two samples in generative adversarial networks", NeurIPS 2018,
        https://arxiv.org/abs/1712.04086; Sinha et al., "Top-k Training of GANs", NeurIPS 2020,
        https://arxiv.org/abs/2002.06224.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        n_critic: int = 1,
        updates: Updates = "alternating",
        unrolled_steps: int = 0,
        penalties: Sequence[Penalty] | None = None,
        augmentation: Augmentation | None = None,
        packing: int = 1,
        top_k: float | Schedule = 1.0,
        weight_clip_val_d: float | None = None,
        compile_networks: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            generator,
            discriminator,
            penalties=penalties,
            augmentation=augmentation,
            packing=packing,
            top_k=top_k,
            compile_networks=compile_networks,
            **kwargs,
        )
        if n_critic < 1:
            raise ValueError(f"Expected 'n_critic' to be at least 1, got {n_critic}.")
        check_choice("updates", updates, _BATCHES)
        if updates != "alternating" and n_critic > 1:
            raise ValueError(f"Expected n_critic=1 with updates={updates!r}, got {n_critic}.")
        preflight.check_unrolling(unrolled_steps, weight_clip_val_d, self.penalties)
        check_bound("weight_clip_val_d", weight_clip_val_d)
        if weight_clip_val_d is not None:
            preflight.check_plain_weights(discriminator)
        self.n_critic = n_critic
        self.updates = updates
        self.unrolled_steps = unrolled_steps
        self.weight_clip_val_d = weight_clip_val_d
        self._update = 0  # number of the next update of the discriminator
        self._begun = False  # whether an update was made

    @property
    def batches_per_step(self) -> int:
        """Number of batches that one training step takes; our datamodules deliver so many."""
        return self.n_critic * _BATCHES[self.updates]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Run one generator iteration, on real samples of its own for each update."""
        batch = self.receive(batch)
        self.check_networks(batch)
        parts = batch.split(self.batches_per_step)
        self.images_this_step = len(batch.samples) * self.trainer.world_size
        if not self._begun:
            self.begin(parts)
        interval = self.trainer.log_every_n_steps or 50  # type: ignore[attr-defined]
        self._reports = (self.trainer.global_step + 1) % interval == 0
        self._update = self.trainer.global_step * self.n_critic
        seed_step(self.device, self._seed, self.trainer.global_step, self.global_rank)
        optimizer_g, optimizer_d = cast(list[LightningOptimizer], self.optimizers())
        for optimizer in (optimizer_g, optimizer_d):
            if hasattr(optimizer.optimizer, "follow"):
                optimizer.optimizer.follow(self.images_seen)
        match self.updates:
            case "alternating":
                for part in parts:
                    self._update_discriminator(optimizer_d, part)
                self._update_generator(optimizer_g, parts[-1])
            case "simultaneous":
                self._update_both(optimizer_g, optimizer_d, parts[0])
            case "extragradient":
                self._look_ahead_and_update_both(optimizer_g, optimizer_d, *parts)
        for config in self.trainer.lr_scheduler_configs:
            config.scheduler.step()  # type: ignore[call-arg]  # plateaus were refused
        self.images_seen += self.images_this_step
        if self._reports:
            self._hand_over()

    def begin(self, parts: list[Batch]) -> None:
        """Say what an iteration is, and compile the networks, before the first update."""
        if self.compile_networks:
            self.generator.compile()
            self.discriminator.compile()
        sizes = sorted({len(part.samples) * self.trainer.world_size for part in parts})
        rank_zero_info(
            f"Every generator iteration makes {len(parts)} discriminator updates on "
            f"{' or '.join(map(str, sizes))} real samples each, then one generator update."
            if self.updates == "alternating"
            else f"Every {self.updates} iteration takes {len(parts)} batches of "
            f"{' or '.join(map(str, sizes))} real samples."
        )
        self._begun = True

    def _update_discriminator(self, optimizer: LightningOptimizer, real: Batch) -> None:
        self._differentiate_discriminator(optimizer, real)
        self._step_discriminator(optimizer)
        self._update += 1

    def _update_generator(self, optimizer: LightningOptimizer, real: Batch) -> None:
        self._differentiate_generator(optimizer, real)
        self._step_generator(optimizer)

    def _update_both(
        self, optimizer_g: LightningOptimizer, optimizer_d: LightningOptimizer, real: Batch
    ) -> None:
        self._differentiate_discriminator(optimizer_d, real)
        self._differentiate_generator(optimizer_g, real)
        self._step_both(optimizer_g, optimizer_d)

    def _step_both(self, optimizer_g: LightningOptimizer, optimizer_d: LightningOptimizer) -> None:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        before = 1.0 if scaler is None else scaler.get_scale()
        self._step_discriminator(optimizer_d)
        # The scale that this step leaves behind is the one by which the next gradient is divided.
        after = 1.0 if scaler is None else scaler.get_scale()
        if after != before:
            for parameter in parameters_of(optimizer_g):
                if parameter.grad is not None:
                    parameter.grad.mul_(after / before)
        self._step_generator(optimizer_g)

    def _look_ahead_and_update_both(
        self,
        optimizer_g: LightningOptimizer,
        optimizer_d: LightningOptimizer,
        here: Batch,
        ahead: Batch,
    ) -> None:
        weights: list[Tensor] = [*parameters_of(optimizer_g), *parameters_of(optimizer_d)]
        anchors = [weight.detach().clone() for weight in weights]
        self.looking_ahead = True
        self._update_both(optimizer_g, optimizer_d, here)
        self.looking_ahead = False
        self._differentiate_discriminator(optimizer_d, ahead)
        self._differentiate_generator(optimizer_g, ahead)
        with torch.no_grad():
            torch._foreach_copy_(weights, anchors)
        self._step_both(optimizer_g, optimizer_d)

    def _differentiate_discriminator(self, optimizer: LightningOptimizer, real: Batch) -> None:
        """Leave the gradient of the discriminator's loss on its weights."""
        with torch.no_grad():
            fake = self.generate(len(real.samples), real.labels)
        if self.replay is not None:
            fake = self.replay.mix(fake)
        real, fake = real.packed(self.packing), fake.packed(self.packing)
        terms = self.discriminator_terms(real, fake, self._update)
        self._backward(optimizer, terms, "d")

    def _differentiate_generator(self, optimizer: LightningOptimizer, real: Batch) -> None:
        """Leave the gradient of the generator's loss on its weights."""
        both = self.penalties.need_both_networks
        with nullcontext() if both else frozen(self.discriminator):
            with self.uncompiled() if both else nullcontext():
                fake = self.generate(len(real.samples), real.labels)
            real, fake = real.packed(self.packing), fake.packed(self.packing)
            step = self.trainer.global_step
            if self.unrolled_steps == 0:
                terms = self.generator_terms(real, fake, step)
            else:
                terms = self._unrolled_generator_terms(real, fake, step)
            self._backward(optimizer, terms, "g")

    def _unrolled_generator_terms(self, real: Batch, fake: Batch, update: int) -> Terms:
        """Return the generator's terms against what the discriminator is about to become."""
        [_, optimizer_d] = self.trainer.optimizers
        network = self.discriminator

        def loss(weights: dict[str, Tensor]) -> Tensor:
            def terms() -> Terms:
                return self.discriminator_terms(real, fake, self._update)

            return reduce(add, with_weights(network, weights, terms).values())

        with self.uncompiled():
            with self.rehearsal():
                weights = unroll(network, optimizer_d, loss, self.unrolled_steps)
            return with_weights(network, weights, lambda: self.generator_terms(real, fake, update))

    def _step_discriminator(self, optimizer: LightningOptimizer) -> None:
        # Stepped through the strategy, which unlike the wrapped optimiser does not count the step.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, _no_closure)
        if self.weight_clip_val_d is not None:
            clip_weights_(self.discriminator, self.weight_clip_val_d)

    def _step_generator(self, optimizer: LightningOptimizer) -> None:
        broadcast_buffers(self.generator, self.discriminator)
        if self.looking_ahead:
            self.trainer.strategy.optimizer_step(optimizer.optimizer, _no_closure)
        else:
            optimizer.step()

    def _backward(self, optimizer: LightningOptimizer, terms: Terms, network: str) -> None:
        """Leave the gradient of the sum of the terms, averaged over all ranks, on one network."""
        optimizer.zero_grad()
        loss = reduce(add, terms.values())
        parameters = [p for p in parameters_of(optimizer) if p.requires_grad]
        with unsynchronized(self.trainer.strategy):
            self.manual_backward(loss, inputs=parameters)
        average_gradients(parameters)
        for name, term in terms.items():
            self.record(f"{network}_{name}", term)
        self.record(f"{network}_loss", loss)


def _no_closure() -> None:
    """Do nothing: gradients are there already."""
