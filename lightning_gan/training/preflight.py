"""Refusals in words before anything is trained: Trainer options, networks, batches."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    SingleDeviceStrategy,
)
from lightning.pytorch.strategies.xla import XLAStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

if TYPE_CHECKING:
    from lightning import Trainer

    from lightning_gan.training.penalty import Penalties


def check_trainer(trainer: "Trainer") -> None:
    """Refuse Trainer options that alternating updates cannot follow.

    Raises:
        ValueError: For ``gradient_clip_val``, ``accumulate_grad_batches`` and strategies other
            than one device or ddp. Each message names what to use in its place.
    """
    if trainer.gradient_clip_val:
        raise ValueError(
            f"Expected no 'gradient_clip_val' on the Trainer, got {trainer.gradient_clip_val}: the "
            "two networks are clipped separately. Set the model's 'gradient_clip_val_g' and "
            "'gradient_clip_val_d'."
        )
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            "Expected no 'accumulate_grad_batches' on the Trainer, got "
            f"{trainer.accumulate_grad_batches}: a step is several updates of two networks. "
            "Use a larger batch size, or more devices."
        )
    strategy = trainer.strategy
    if getattr(strategy, "_start_method", None) == "spawn":
        raise ValueError(
            "Expected 'strategy' to start processes by itself ('ddp') or to fork them ('ddp_fork', "
            "'ddp_notebook'), got a spawning one: optimisers are made by functions that cannot be "
            "sent to a new process."
        )
    sharded = isinstance(strategy, DeepSpeedStrategy | XLAStrategy)  # kinds of DDPStrategy, too
    if sharded or not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise ValueError(
            "Expected 'strategy' to be a single device or 'ddp' (also its fork and notebook "
            f"forms), got {type(strategy).__name__}: it would shard or move parameters between "
            "the alternating updates."
        )


def check_batch(real: Tensor, labels: Tensor | None, num_classes: int | None) -> None:
    """Refuse samples and labels that no network could learn from.

    Reads the values, so it is meant for tensors that are still on the CPU.

    Args:
        real: Samples as the loader yields them; images (N, C, H, W) must lie in [-1, 1].
        labels: Their classes, if the loader yields them.
        num_classes: Number of classes of conditional networks.

    Raises:
        TypeError: If the samples are not floating point.
        ValueError: If they are none, not finite or out of range, or if the labels are missing, of
            another shape or type than (N,) int64, or out of range.
    """
    if not real.is_floating_point():
        raise TypeError(
            f"Expected the data's images as float in [-1, 1], got {real.dtype}. "
            "Bytes become that by x / 127.5 - 1."
        )
    if len(real) == 0:
        raise ValueError(f"Expected batches with samples, got the shape {tuple(real.shape)}.")
    is_image = real.dim() == 4
    if is_image or not math.isfinite(real.sum()):  # the sum alone is the cheapest look at points
        _check_range(real, is_image)
    if num_classes is not None:
        _check_labels(real, labels, num_classes)


def _check_range(real: Tensor, is_image: bool) -> None:
    low, high = (float(bound) for bound in torch.aminmax(real))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"Expected finite values in the data, got minimum {low}, maximum {high}.")
    # Interpolating resizes overshoot by rounding only, so the tolerance is small.
    if is_image and (low < -1.001 or high > 1.001):
        raise ValueError(
            f"Expected the data's images in [-1, 1], got minimum {low:.4g}, maximum {high:.4g}. "
            "Values in [0, 1] become that by 2 * x - 1, bytes by x / 127.5 - 1."
        )


def _check_labels(real: Tensor, labels: Tensor | None, num_classes: int) -> None:
    if labels is None:
        raise ValueError(
            f"Expected batches of (images, labels) for networks with num_classes={num_classes}, "
            "got images alone."
        )
    if labels.dtype != torch.int64 or labels.shape != real.shape[:1]:
        raise ValueError(
            f"Expected labels as ({len(real)},) int64, got {tuple(labels.shape)} {labels.dtype}."
        )
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected labels in [0, {num_classes - 1}] for networks with "
            f"num_classes={num_classes}, got {low if low < 0 else high}."
        )


def warn_of_unit_range(real: Tensor) -> None:
    """Warn where no pixel of a batch of images is below 0: most likely they are in [0, 1]."""
    if real.dim() == 4 and real.min() >= 0:
        rank_zero_warn(
            "No pixel of the first batch is negative. If the images are in [0, 1], as ToTensor "
            "makes them, turn them into [-1, 1] by 2 * x - 1: generators end in tanh."
        )


def check_networks(
    real: Tensor,
    fake: Tensor,
    discriminator: Callable[[Tensor], Tensor],
    num_outputs: int = 1,
    packing: int = 1,
) -> None:
    """Refuse networks that do not fit the data, with the shapes of both.

    Args:
        real: A few real samples.
        fake: As many generated ones.
        discriminator: Maps samples to its outputs; called once.
        num_outputs: Number of outputs per sample; 1 allows any number of logits.
        packing: Samples that it packs into one.

    Raises:
        ValueError: If the generator makes another shape than the data's, or the discriminator
            cannot take it or does not return so many outputs per sample.
    """
    if fake.shape != real.shape:
        raise ValueError(
            f"Expected 'generator' to make samples of the data's shape {tuple(real.shape[1:])}, "
            f"got {tuple(fake.shape[1:])}."
        )
    try:
        outputs = discriminator(real)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"Expected 'discriminator' to take samples of the data's shape "
            f"{tuple(real.shape[1:])}, got the error: {error}"
        ) from error
    if num_outputs > 1 and outputs.shape != (len(real), num_outputs):
        raise ValueError(
            f"Expected 'discriminator' to return {num_outputs} outputs per sample, "
            f"{(len(real), num_outputs)}, got {tuple(outputs.shape)}."
        )
    rows = max(len(real) // packing, 1)
    if outputs.shape[:1] != (rows,):
        raise ValueError(
            f"Expected 'discriminator' to return one row of logits per sample, "
            f"({rows}, ...), got {tuple(outputs.shape)}."
        )


def check_outputs(expected: int, found: int | None) -> None:
    """Refuse a discriminator that is known to have another number of outputs than losses read.

    Raises:
        ValueError: Naming the argument to give to the network.
    """
    if found is not None and found != expected:
        raise ValueError(
            f"Expected a 'discriminator' with num_outputs={expected}, which is what this "
            f"variant's losses read, got num_outputs={found}."
        )


def check_packing(
    packing: int, generator: nn.Module, discriminator: nn.Module, num_outputs: int
) -> None:
    """Refuse to show a discriminator several samples at once where that means nothing.

    Raises:
        ValueError: If ``packing`` is below 1, the discriminator reads labels or tells more than
            real from generated, or was built for another number of channels.
    """
    if packing < 1:
        raise ValueError(f"Expected 'packing' to be at least 1, got {packing}.")
    if packing == 1:
        return
    if num_outputs != 1 or getattr(discriminator, "num_classes", None) is not None:
        raise ValueError(
            "Expected a discriminator that tells real from generated samples and nothing else "
            f"under packing={packing}, got one with classes: those of a pack's samples differ."
        )
    made, taken = (getattr(net, "sample_shape", None) for net in (generator, discriminator))
    if made and taken and taken[0] != packing * made[0]:
        raise ValueError(
            f"Expected a 'discriminator' for {packing * made[0]} channels under "
            f"packing={packing}, {packing} times the generator's {made[0]}, got one for {taken[0]}."
        )


def check_unrolling(
    unrolled_steps: int, weight_clip_val_d: float | None, penalties: "Penalties"
) -> None:
    """Refuse to unroll steps that would not be those which the discriminator takes.

    Raises:
        ValueError: If ``unrolled_steps`` is negative, or positive with clipped weights or with a
            penalty that is made of both networks' gradients.
    """
    if unrolled_steps < 0:
        raise ValueError(f"Expected 'unrolled_steps' to be at least 0, got {unrolled_steps}.")
    if unrolled_steps > 0 and weight_clip_val_d is not None:
        raise ValueError(
            "Expected 'weight_clip_val_d' to be None where steps of the discriminator are "
            f"unrolled, which are not clipped, got {weight_clip_val_d}."
        )
    if unrolled_steps > 0 and penalties.need_both_networks:
        raise ValueError(
            "Expected no penalty on both networks' gradients, such as ConsensusOptimization, where "
            f"steps of the discriminator are unrolled, got unrolled_steps={unrolled_steps}."
        )


def check_conditional(variant: str, **networks: nn.Module) -> None:
    """Refuse networks that are not all conditional on the same classes.

    Args:
        variant: Name of the variant that asks, for the message.
        **networks: The networks by the names of their arguments.

    Raises:
        ValueError: If one is unconditional, or two differ in their number of classes.
    """
    classes = {name: getattr(network, "num_classes", None) for name, network in networks.items()}
    for name, num_classes in classes.items():
        if num_classes is None:
            raise ValueError(
                f"Expected a conditional '{name}' for {variant}, which learns from labels, got "
                "num_classes=None. Give the network its num_classes."
            )
    check_same_classes(**networks)


def check_same_classes(**networks: nn.Module) -> None:
    """Refuse networks that are conditional on different numbers of classes.

    Raises:
        ValueError: Naming the arguments and their numbers.
    """
    classes = {name: getattr(network, "num_classes", None) for name, network in networks.items()}
    if len({num_classes for num_classes in classes.values() if num_classes is not None}) > 1:
        raise ValueError(f"Expected networks with the same num_classes, got {classes}.")


def check_plain_weights(discriminator: nn.Module) -> None:
    """Refuse to clip weights that are computed from others, which clipping would not bound.

    Raises:
        ValueError: Naming the first layer with such a weight.
    """
    for name, layer in discriminator.named_modules():
        if is_parametrized(layer):
            raise ValueError(
                "Expected weights of their own under 'weight_clip_val_d', got parametrised ones in "
                f"'{name}', of which what they are computed from would be clipped. Set "
                "'weight_clip_val_d' to None."
            )


def check_mixture(variant: str, generator: nn.Module) -> None:
    """Refuse a generator that is not several.

    Args:
        variant: Name of the variant that asks, for the message.
        generator: The network.

    Raises:
        ValueError: If it has no ``num_generators``, no ``choose`` that tells from the latents which
            of them made a sample, or no ``assign`` that has another one make it.
    """
    if not all(hasattr(generator, name) for name in ("num_generators", "choose", "assign")):
        raise ValueError(
            f"Expected a MixtureGenerator as 'generator' of {variant}, got "
            f"{type(generator).__name__}. Wrap it: MixtureGenerator(generator, num_generators=4)."
        )


def check_synchronization(generator: nn.Module) -> None:
    """Refuse batch normalisation that waits for processes which have no sample to give.

    Args:
        generator: The network as it will be trained.

    Raises:
        ValueError: If one of several generators, which a batch may leave out, has synchronised
            batch normalisation.
    """
    for part in getattr(generator, "generators", ()):
        if any(isinstance(layer, nn.SyncBatchNorm) for layer in part.modules()):
            raise ValueError(
                "Expected no 'sync_batchnorm' on the Trainer for a mixture of generators, got it "
                "in one of them: a process that has no sample for that generator would keep the "
                "others waiting forever. Share the trunk (share='trunk'), or another norm."
            )
