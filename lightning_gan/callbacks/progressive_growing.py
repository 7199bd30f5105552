"""Both networks growing together, resolution by resolution."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_gan.callbacks.models import expect_model
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.networks import Growing
from lightning_gan.training.batch import Batch, unpack

Number = TypeVar("Number", int, float)


class Phase(NamedTuple):
    """A stretch of the training at one resolution.

    Attributes:
        resolution: Side of the images.
        fades: Whether the resolution fades in; else it is stable.
        start: Real images seen before it.
        images: Real images of it.
    """

    resolution: int
    fades: bool
    start: int
    images: int

    def alpha(self, images: int) -> float:
        """Return the share of the new resolution after a number of images seen."""
        return min((images - self.start) / self.images, 1.0) if self.fades else 1.0


class ProgressiveGrowing(Callback):
    r"""Let generator and discriminator grow in step, and the images with them.

    The training begins at the lowest resolution. After ``stable_images`` the next one fades in over
    ``fade_images``, :math:`\alpha` going straight from 0 to 1 with the real images seen; then it is
    stable, and so on, until the last one stays. Counting images, over all processes, the schedule
    stays the same when the batch size or the number of processes changes. Set ``max_steps`` so that
    the training reaches its end.

    Before each iteration every :class:`~lightning_gan.networks.Growing` network of the model gets
    its resolution and :math:`\alpha`: the generator, its average, the discriminator. The model
    then shrinks and blends real images likewise. Our data modules deliver images of the current
    side, reading no larger ones; other loaders deliver what they do, at least as large as the last
    resolution.

    Layers that are not in use yet, or not any more, get no gradient, and an optimiser passes them
    by: a layer's moments and their bias correction start with its first step. With
    ``reset_optimizers`` those of all other layers start anew at that moment, too, and once more
    where it has faded in, as in the authors' code.

    ``resolution``, ``alpha`` and ``phase`` are logged; phases count from 0, odd ones fade. A
    checkpoint holds networks at the resolution and :math:`\alpha` of their last iteration.

    Args:
        stable_images: Real images of each stable phase, or of each resolution's.
        fade_images: Real images of each fading phase, or of each resolution's but the first.
        start_resolution: Side of the first images.
        end_resolution: Side of the last ones; None takes the generator's last resolution.
        batch_size: Samples of one discriminator update on each process, or those of each
            resolution; None leaves them to the data module, and only ours can change theirs.
        lr_g: Learning rate of the generator, or that of each resolution; None leaves it to the
            optimiser.
        lr_d: Likewise, of the discriminator.
        reset_optimizers: Whether all moments start anew with every phase.

    Raises:
        ValueError: If a resolution is no power of 2, a number not positive, or a resolution is
            missing; before the training, if the networks or the data do not go along.

    Example:
        >>> growing = ProgressiveGrowing(600, 300, end_resolution=8)
        >>> [(phase.resolution, phase.fades, phase.start) for phase in growing.phases]
        [(4, False, 0), (8, True, 600), (8, False, 900)]

    Reference:
        Karras et al., "Progressive Growing of GANs", ICLR 2018,
        https://arxiv.org/abs/1710.10196, section 2 and appendix A.
    """

    def __init__(
        self,
        stable_images: int | dict[int, int] = 600_000,
        fade_images: int | dict[int, int] = 600_000,
        start_resolution: int = 4,
        end_resolution: int | None = None,
        batch_size: int | dict[int, int] | None = None,
        lr_g: float | dict[int, float] | None = None,
        lr_d: float | dict[int, float] | None = None,
        reset_optimizers: bool = True,
    ) -> None:
        for name, side in {"start": start_resolution, "end": end_resolution}.items():
            if side is not None and (side < 1 or side & (side - 1)):
                raise ValueError(f"Expected '{name}_resolution' to be a power of 2, got {side}.")
        if end_resolution is not None and end_resolution < start_resolution:
            raise ValueError(
                f"Expected 'end_resolution' to be at least start_resolution={start_resolution}, "
                f"got {end_resolution}."
            )
        self.stable_images = stable_images
        self.fade_images = fade_images
        self.start_resolution = start_resolution
        self.end_resolution = end_resolution
        self.batch_size = batch_size
        self.learning_rates = {"lr_g": lr_g, "lr_d": lr_d}
        self.reset_optimizers = reset_optimizers
        self.phases: list[Phase] = []
        self._phase: int | None = None  # of the last iteration
        self._checked_data = False
        if end_resolution is not None:
            self._plan(end_resolution)
        else:  # complete or not, which is known once the networks are: numbers can be checked
            for name, value in self._schedules().items():
                _check_positive(name, value)

    @property
    def resolutions(self) -> list[int]:
        """Sides of the images, in order."""
        return [phase.resolution for phase in self.phases if not phase.fades]

    def phase_at(self, images: int) -> int:
        """Return the number of the phase after a number of real images seen."""
        return max(i for i, phase in enumerate(self.phases) if phase.start <= images)

    def delivery(self, images: int) -> tuple[int | None, int]:
        """Return batch size, where it is scheduled, and side after a number of images seen."""
        resolution = self.phases[self.phase_at(images)].resolution
        return _at(self.batch_size, resolution), resolution

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse networks and data that do not go along, and have the data follow.

        Raises:
            TypeError: If the model is not one of lightning_gan.
            ValueError: If a network does not grow, does not reach a resolution, or the batch sizes
                are scheduled for data that cannot change theirs.
        """
        model = self._model(pl_module)
        networks = {"generator": model.generator, "discriminator": model.discriminator}
        for name, network in networks.items():
            if not _growing(network):
                raise ValueError(
                    f"Expected a '{name}' that grows, such as ProGAN's or any that inherits from "
                    f"lightning_gan.networks.Growing, got {type(network).__name__}."
                )
        parts = _growing(pl_module)
        if self.end_resolution is None:
            self._plan(parts[0].resolutions[-1])
        for part in parts:
            if not set(self.resolutions) <= set(part.resolutions):
                raise ValueError(
                    f"Expected networks that reach all resolutions of the schedule, "
                    f"{self.resolutions}, got a {type(part).__name__} for {part.resolutions}."
                )
        follow = getattr(trainer.datamodule, "follow", None)  # type: ignore[attr-defined]
        if follow is not None:
            follow(self.delivery, self.resolutions)
        elif self.batch_size is not None and stage == "fit":
            raise ValueError(
                "Expected no 'batch_size' for data of another module than lightning_gan's, which "
                f"decides on it alone, got {self.batch_size}."
            )
        self._checked_data = follow is not None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try the networks at all resolutions, then have them begin where the training does."""
        model = self._model(pl_module)
        parts = _growing(model)
        places = [(part.resolution, part.alpha) for part in parts]
        for phase in self.phases:
            _grow(parts, phase.resolution, 0.5 if phase.fades else 1.0)
            _try_networks(trainer, model, phase.resolution)
        if model.images_seen == 0:
            _grow(parts, self.start_resolution, 1.0)
            return
        for part, place in zip(parts, places, strict=True):
            part.grow(*place)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse two schedules of one learning rate, and say what is planned."""
        stepped = [config.scheduler.optimizer for config in trainer.lr_scheduler_configs]
        for optimizer, (name, value) in zip(
            trainer.optimizers, self.learning_rates.items(), strict=True
        ):
            planned = "lr" in getattr(optimizer, "schedules", {}) or optimizer in stepped
            if planned and value is not None:
                raise ValueError(
                    f"Expected no '{name}' of ProgressiveGrowing beside another schedule of that "
                    f"learning rate, got {value}."
                )
        self._announce(trainer, self._model(pl_module))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set resolution and alpha, learning rates and, at the start of a phase, the optimisers."""
        if not self._checked_data:
            self._check_data(unpack(batch))
        model = self._model(pl_module)
        number = self.phase_at(model.images_seen)
        phase = self.phases[number]
        alpha = phase.alpha(model.images_seen)
        _grow(_growing(model), phase.resolution, alpha)
        if self._phase is not None and number != self._phase:
            self._enter(trainer, model)
        self._phase = number
        notes = {"phase": number, "resolution": phase.resolution, "alpha": alpha}
        for optimizer, (name, value) in zip(
            trainer.optimizers, self.learning_rates.items(), strict=True
        ):
            lr = _at(value, phase.resolution)
            if lr is not None:
                notes[name] = lr
                for group in optimizer.param_groups:
                    group["lr"] = lr
        for name, value in notes.items():
            model.note(name, value)

    def _model(self, pl_module: LightningModule) -> AdversarialModule:
        return expect_model(pl_module, AdversarialModule, self)  # type: ignore[type-abstract]

    def _enter(self, trainer: Trainer, model: AdversarialModule) -> None:
        """Begin a phase that is not the run's first."""
        if self.reset_optimizers:
            made, _ = model.configure_optimizers()
            for optimizer, new in zip(trainer.optimizers, made, strict=True):
                optimizer.state.clear()
                optimizer.state.update(new.state)  # some have one before their first step
        if model.compile_networks:
            # What was compiled for other resolutions counts towards a limit, beyond which torch
            # compiles no more.
            torch.compiler.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the phase, to know where the next one starts."""
        return {"phase": self._phase}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the number of the phase."""
        self._phase = state_dict["phase"]

    def _schedules(self) -> dict[str, Any]:
        images = {"stable_images": self.stable_images, "fade_images": self.fade_images}
        return {**images, "batch_size": self.batch_size, **self.learning_rates}

    def _plan(self, end_resolution: int) -> None:
        """Lay out the phases up to a resolution."""
        sides = [self.start_resolution]
        while sides[-1] < end_resolution:
            sides.append(2 * sides[-1])
        for name, value in self._schedules().items():
            _check_positive(name, value)
            _check_complete(name, value, sides[1:] if name == "fade_images" else sides)
        self.phases, start = [], 0
        for side in sides:
            kinds = [(True, self.fade_images)] if side != sides[0] else []
            for fades, images in [*kinds, (False, self.stable_images)]:
                self.phases.append(Phase(side, fades, start, int(_at(images, side) or 0)))
                start += self.phases[-1].images

    def _announce(self, trainer: Trainer, model: AdversarialModule) -> None:
        """Say what is planned and, where batches are known, how many iterations it takes."""
        lines = [
            f"{phase.resolution}x{phase.resolution} {'fades in' if phase.fades else 'is stable'} "
            f"from {phase.start:,} on"
            for phase in self.phases
        ]
        takes = ""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "follow"):
            updates = model.batches_per_step * trainer.world_size
            sizes = [updates * (self.delivery(p.start)[0] or data.batch_size) for p in self.phases]
            pairs = zip(self.phases, sizes, strict=True)
            takes = f" In all {sum(-(-p.images // size) for p, size in pairs):,} iterations or so."
        rank_zero_info(f"Progressive growing, in real images seen: {'; '.join(lines)}.{takes}")

    def _check_data(self, batch: Batch) -> None:
        """Refuse images of another loader that are too small for the last resolution."""
        last, shape = self.resolutions[-1], tuple(batch.samples.shape[1:])
        if len(shape) != 3 or min(shape[1:]) < last or shape[1] != shape[2]:
            raise ValueError(
                f"Expected square images of at least {last}x{last}, the last resolution of the "
                f"schedule, from the data, got samples of the shape {shape}."
            )
        self._checked_data = True


def _growing(model: nn.Module) -> list[Growing]:
    """Return all networks that grow, the generator's first."""
    return [part for part in model.modules() if isinstance(part, Growing)]


def _grow(parts: Sequence[Growing], resolution: int, alpha: float) -> None:
    for part in parts:
        part.grow(resolution, alpha)


def _try_networks(trainer: Trainer, model: AdversarialModule, resolution: int) -> None:
    """Refuse networks that do not fit each other at the resolution that they were told."""
    n = 2 * model.packing
    labels = model.sample_labels(n)
    with trainer.precision_plugin.forward_context():
        images = model.sample(n, labels)
        if images.shape[2:] != (resolution, resolution):
            raise ValueError(
                f"Expected 'generator' to make images of {resolution}x{resolution} where it was "
                f"told to, got samples of the shape {tuple(images.shape[1:])}."
            )
        model.try_networks(Batch(images.to(model.dtype), labels))


def _at(value: Number | dict[int, Number] | None, resolution: int) -> Number | None:
    """Return a number, or that of a resolution."""
    return value[resolution] if isinstance(value, dict) else value


def _check_positive(name: str, value: Any) -> None:
    numbers = value.values() if isinstance(value, dict) else [value]
    if any(number is not None and not number > 0 for number in numbers):
        raise ValueError(f"Expected '{name}' to be positive at every resolution, got {value}.")


def _check_complete(name: str, value: Any, sides: Sequence[int]) -> None:
    if isinstance(value, dict) and set(value) != set(sides):
        raise ValueError(
            f"Expected '{name}' for each of the resolutions {list(sides)}, and for no other, got "
            f"{value}."
        )
