"""What is played: how a discriminator is shown samples, and what both networks minimise."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gan.functional import at_resolution, top_k_rows
from lightning_gan.gans.training_run import TrainingRun
from lightning_gan.layers import apply, evaluating, mixing_layers
from lightning_gan.networks import Discriminator, Growing
from lightning_gan.training import preflight
from lightning_gan.training.augmentation import Augmentation
from lightning_gan.training.batch import Batch, unpack
from lightning_gan.training.penalty import Penalties, Penalty, Terms
from lightning_gan.training.schedules import Schedule, check_range, value_at


class AdversarialGame(TrainingRun):
    """Two networks and their losses, without the order of the updates.

    Args:
        generator: See :class:`~lightning_gan.gans.base.AdversarialModule`.
        discriminator: Likewise.
        penalties: Likewise.
        augmentation: Likewise.
        packing: Likewise.
        top_k: Likewise.
        compile_networks: Likewise.
        **kwargs: See :class:`~lightning_gan.gans.training_run.TrainingRun`.

    Raises:
        ValueError: If a penalty or packing does not fit, ``top_k`` lies outside (0, 1], or the
            discriminator has another number of outputs than the losses read.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        penalties: Sequence[Penalty] | None = None,
        augmentation: Augmentation | None = None,
        packing: int = 1,
        top_k: float | Schedule = 1.0,
        compile_networks: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, **kwargs)
        preflight.check_outputs(self.num_outputs, getattr(discriminator, "num_outputs", None))
        preflight.check_packing(packing, generator, discriminator, self.num_outputs)
        check_range("top_k", top_k, 1e-6, 1.0)
        # Only of our own networks it is known that samples do not meet elsewhere than in layers.
        ours = isinstance(discriminator, Discriminator)
        self._joint_pass = ours and not mixing_layers(discriminator)
        # In a list, which registers no modules.
        self._growing = [part for part in discriminator.modules() if isinstance(part, Growing)]
        self.penalties = Penalties(penalties or (), discriminator)
        self.augmentation = augmentation
        self.packing = packing
        self.top_k = top_k
        self.compile_networks = compile_networks
        self._rehearsing = False  # whether losses are computed beside those that are minimised
        self._checked_networks = False
        self._judged: list[tuple[Tensor, Tensor]] = []  # samples of one update and their logits

    def receive(self, batch: Any) -> Batch:
        """Take what a loader yields, real images as large as the discriminator has grown so far.

        While a resolution fades in, they are blended like what the generator makes.
        """
        real = unpack(batch)
        if not self._growing:
            return real
        network = self._growing[0]
        images = at_resolution(real.samples, network.resolution, network.alpha)
        return real._replace(samples=images)

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

    def outputs(self, batch: Batch) -> Tensor:
        """Return all that the discriminator says of samples, in float32 even if it ran in half."""
        outputs: Tensor = apply(self.discriminator, self._shown(batch.samples), batch.labels)
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))

    def features(self, batch: Batch) -> Tensor:
        """Return the discriminator's features (N, F) in front of its head.

        Raises:
            ValueError: If the discriminator has no method ``features``.
        """
        describe = getattr(self.discriminator, "features", None)
        if describe is None:
            raise ValueError(
                "Expected a 'discriminator' with a method 'features', as MLP, DCGAN and ResNet "
                f"have it, got {type(self.discriminator).__name__}."
            )
        conditional = getattr(self.discriminator, "num_classes", None) is not None
        labels = (batch.labels,) if conditional else ()
        features: Tensor = describe(self._shown(batch.samples), *labels)
        return features.to(torch.promote_types(features.dtype, torch.float32))

    def verdict(self, outputs: Tensor) -> Tensor:
        """Return the logits of being real among the discriminator's outputs; here all are."""
        return outputs

    def logits(self, batch: Batch) -> Tensor:
        """Return the discriminator's logits of being real, large where it takes samples for it.

        Those of samples that the discriminator's loss has looked at in the same update are not
        computed again.
        """
        for samples, logits in self._judged:
            if samples is batch.samples:
                return logits
        return self.verdict(self.outputs(batch))

    def discriminate(self, real: Batch, fake: Batch) -> tuple[Tensor, Tensor]:
        """Return the discriminator's outputs for both, and record their mean logits."""
        if self._joint_pass:
            real_outputs, fake_outputs = self.outputs(real.join(fake)).chunk(2)
        else:
            real_outputs, fake_outputs = self.outputs(real), self.outputs(fake)
        real_logits, fake_logits = self.verdict(real_outputs), self.verdict(fake_outputs)
        self.record("real_logits", real_logits.mean())
        self.record("fake_logits", fake_logits.mean())
        self._judged = [(real.samples, real_logits), (fake.samples, fake_logits)]
        return real_outputs, fake_outputs

    def record(self, name: str, value: Tensor) -> None:
        """Log a scalar, unless it belongs to a rehearsal."""
        if not self._rehearsing:
            super().record(name, value)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Compute losses that are not what is minimised: nothing is logged or learnt from them."""
        before, self._rehearsing = self._rehearsing, True
        try:
            yield
        finally:
            self._rehearsing = before

    def regenerate(self, latents: Tensor | None, labels: Tensor | None, std: float = 0.0) -> Batch:
        """Return what the generator makes of latents and classes, with its graph.

        Args:
            latents: As a batch holds them, (N, ``latent_dim``), or packed.
            labels: Likewise.
            std: Standard deviation of noise that is added to the latents.

        Raises:
            ValueError: If there are no latents.
        """
        if latents is None:
            raise ValueError("Expected generated samples with their latents, got None.")
        if std > 0:
            noise = torch.randn(latents.shape, device=latents.device, dtype=latents.dtype)
            latents = latents + std * noise
        given = Batch(latents, labels).unpacked(self.packing)
        samples: Tensor = apply(self.generator, given.samples, given.labels)
        made = Batch(samples.to(self.dtype), given.labels, given.samples)
        return made.packed(self.packing)

    def discriminator_terms(self, real: Batch, fake: Batch, update: int) -> Terms:
        """Compute all that the discriminator minimises in one update.

        Args:
            real: Real samples.
            fake: Generated ones.
            update: Number of discriminator updates before this one.
        """
        terms = self.discriminator_loss(real, fake)
        if self._judged and not self._rehearsing:
            (_, real_logits), (_, fake_logits) = self._judged
            self.penalties.observe(real_logits, fake_logits)
            if self.augmentation is not None:
                images = len(real.samples) * self.packing * self.trainer.world_size
                self.augmentation.observe(real_logits.detach(), images)
        if len(self.penalties) > 0:
            with self.uncompiled():
                terms.update(
                    self.penalties.of_discriminator(self, real, fake, update, self.images_seen)
                )
        self._judged = []
        return terms

    def generator_terms(self, real: Batch, fake: Batch, update: int) -> Terms:
        """Compute all that the generator minimises in one update.

        Args:
            real: Real samples.
            fake: Generated ones, with their graph.
            update: Number of generator updates before this one.
        """
        share = value_at(self.top_k, self.images_seen)
        if share < 1:
            with torch.no_grad():
                best = top_k_rows(self.logits(fake), share)
            real, fake = real.rows(slice(len(best))), fake.rows(best)
        terms = self.generator_loss(real, fake)
        self._judged = []
        if len(self.penalties) > 0:
            with self.uncompiled():
                terms.update(
                    self.penalties.of_generator(self, real, fake, update, self.images_seen)
                )
        self._judged = []
        return terms

    def scheduled(self) -> dict[str, float]:
        """Return what follows a schedule over images seen, or adapts, as it is now."""
        values = super().scheduled()
        weights = {f"{penalty.name}_weight": penalty.weight for penalty in self.penalties.all()}
        for name, value in {**weights, "top_k": self.top_k}.items():
            if isinstance(value, Schedule):
                values[name] = value(self.images_seen)
        if self.augmentation is not None:
            values |= self.augmentation.scheduled(self.images_seen)
        return values

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log both losses, without penalties, on held-out samples and on generated ones."""
        real = self.receive(batch)
        self.check_networks(real)
        latents = self.sample_latents(len(real.samples))
        labels = None if self.num_classes is None else real.labels
        fake = Batch(self.render(latents, labels).to(self.dtype), labels, latents)
        real, fake = real.packed(self.packing), fake.packed(self.packing)
        losses = {"d": self.discriminator_loss, "g": self.generator_loss}
        for network, loss in losses.items():
            terms = loss(real, fake)
            self.record(f"{network}_loss", reduce(add, terms.values()))
        self._judged = []

    test_step = validation_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the penalties' and the augmentation's states, of those that both sides have."""
        super().on_load_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        own, pieces = self.state_dict(), ("penalties.", "augmentation.")
        for key in [key for key in weights if key.startswith(pieces) and key not in own]:
            del weights[key]
        weights |= {k: v for k, v in own.items() if k.startswith(pieces) and k not in weights}

    def check_networks(self, batch: Batch) -> None:
        """Try both networks on a few samples, before anything else is done with them, once."""
        if self._checked_networks:
            return
        preflight.warn_of_unit_range(batch.samples)
        self.try_networks(batch)
        self._checked_networks = True

    def try_networks(self, batch: Batch) -> None:
        """Refuse networks that do not fit samples like these.

        Raises:
            ValueError: See :func:`~lightning_gan.training.preflight.check_networks`.
        """
        real = batch.rows(slice(2 * self.packing))
        with torch.no_grad(), evaluating(self.generator), evaluating(self.discriminator):
            fake = self.generate(len(real.samples), real.labels)

            def outputs(samples: Tensor) -> Tensor:
                return self.outputs(Batch(samples, real.labels).packed(self.packing))

            preflight.check_networks(
                real.samples, fake.samples, outputs, self.num_outputs, self.packing
            )

    def uncompiled(self) -> AbstractContextManager[None]:
        """Return a context for what compiled code cannot do, such as a second derivative."""
        if not self.compile_networks:
            return nullcontext()
        stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
        return stance

    def _shown(self, samples: Tensor) -> Tensor:
        """Return samples, or packs of them, as the discriminator sees them."""
        if self.augmentation is None or not self.training:
            return samples
        alone = Batch(samples).unpacked(self.packing).samples
        return Batch(self.augmentation(alone, self.images_seen)).packed(self.packing).samples
