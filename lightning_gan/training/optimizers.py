"""Optimisers of two networks: Adam as GAN papers parametrise it, and their making."""

from collections.abc import Iterable, Sequence
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.optimizer import ParamsT


class GANAdam(Adam):
    """Adam whose two betas are separate numbers, so that YAML can change one of them.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        beta1: Decay of the mean gradient. 0.5 as in DCGAN; the Wasserstein and hinge papers use 0.
        beta2: Decay of the mean squared gradient.
        eps: Added to the denominator.
        weight_decay: Factor of the L2 penalty.
        fused: Whether to update all parameters in one kernel; faster on every device that has it.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool = True,
    ) -> None:
        betas = (float(beta1), float(beta2))  # Adam refuses integers such as YAML's 0
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused
        )
        # A fused kernel offers to divide by the loss scale itself, after which clipping and
        # gradient norms would see scaled gradients and a step hook would fire on skipped steps.
        self._step_supports_amp_scaling = False


def make_optimizers(
    networks: Iterable[nn.Module],
    optimizers: Iterable[OptimizerCallable],
    schedulers: Iterable[LRSchedulerCallable | None],
) -> tuple[list[Optimizer], list[LRScheduler]]:
    """Make each network's optimiser, and its schedule where there is one.

    Args:
        networks: The networks.
        optimizers: For each network, what makes an optimiser of its parameters.
        schedulers: For each network, what makes a schedule of its optimiser, or None.

    Raises:
        TypeError: If a schedule waits for a metric, which a GAN's loss is not.
    """
    made = [make(net.parameters()) for make, net in zip(optimizers, networks, strict=True)]
    plans: Sequence[Any] = [
        make(optimizer) for make, optimizer in zip(schedulers, made, strict=True) if make
    ]
    for plan in plans:
        if isinstance(plan, ReduceLROnPlateau):
            raise TypeError(
                "Expected 'lr_scheduler_g' and 'lr_scheduler_d' to be schedules over iterations, "
                "got ReduceLROnPlateau: a GAN's loss does not tell progress."
            )
    return made, list(plans)
