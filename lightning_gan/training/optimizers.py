"""Optimisers of two networks: Adam as GAN papers parametrise it, optimistic steps, their making."""

from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.optimizer import ParamsT
from torch.utils.hooks import RemovableHandle

from lightning_gan.training.schedules import Schedule, check_range, value_at


class GANAdam(Adam):
    """Adam whose two betas are separate numbers, so that YAML can change one of them.

    The learning rate and ``beta2`` may be schedules, which hold for all parameter groups. They are
    no part of the optimiser's ``state_dict``: whoever trains calls :meth:`follow`.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        beta1: Decay of the mean gradient. 0.5 as in DCGAN; the Wasserstein and hinge papers use 0.
        beta2: Decay of the mean squared gradient.
        eps: Added to the denominator.
        weight_decay: Factor of the L2 penalty.
        fused: Whether to update all parameters in one kernel; faster on every device that has it.

    Attributes:
        schedules: What is scheduled, ``lr`` or ``beta2``, and how.

    Raises:
        ValueError: If a number, or an end of a schedule, is out of range, or a parameter group has
            a value of its own of what is scheduled.

    Example:
        >>> from lightning_gan.training.schedules import LinearSchedule
        >>> optimizer = GANAdam([torch.zeros(1)], lr=LinearSchedule(0.5, 0.0, images=100))
        >>> optimizer.follow(images=50)
        >>> optimizer.param_groups[0]["lr"]
        0.25
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Schedule = 2e-4,
        beta1: float = 0.5,
        beta2: float | Schedule = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool = True,
    ) -> None:
        check_range("lr", lr)
        check_range("beta2", beta2, high=1.0)
        if isinstance(beta2, Schedule) and max(beta2.start, beta2.end) == 1:
            raise ValueError(f"Expected 'beta2' to stay below 1, got {beta2}.")
        betas = (float(beta1), float(value_at(beta2, 0)))  # Adam refuses integers such as YAML's 0
        super().__init__(
            params,
            lr=value_at(lr, 0),
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            fused=fused,
        )
        # A fused kernel offers to divide by the loss scale itself, after which clipping and
        # gradient norms would see scaled gradients and a step hook would fire on skipped steps.
        self._step_supports_amp_scaling = False
        options = {"lr": lr, "beta2": beta2}
        self.schedules = {k: v for k, v in options.items() if isinstance(v, Schedule)}
        self._refuse_own_values()

    def follow(self, images: int) -> None:
        """Set what is scheduled to its value after a number of images; call it before each update.

        Args:
            images: Real images that the discriminator has seen, over all processes.
        """
        for group in self.param_groups:
            if "lr" in self.schedules:
                group["lr"] = self.schedules["lr"](images)
            if "beta2" in self.schedules:
                group["betas"] = (group["betas"][0], self.schedules["beta2"](images))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; torch's own optimisers copy no attributes."""
        return {**super().__getstate__(), "schedules": self.schedules}

    def _refuse_own_values(self) -> None:
        for option, name in {"lr": "lr", "beta2": "betas"}.items():
            own = [g[name] for g in self.param_groups if g[name] != self.defaults[name]]
            if option in self.schedules and own:
                raise ValueError(
                    f"Expected parameter groups without '{name}' of their own where '{option}' "
                    f"is a schedule, which holds for all of them, got {own[0]}."
                )


class OptimisticAdam(GANAdam):
    r"""Adam that counts on the opponent to go on as before, so that the game does not circle.

    .. math:: \theta_{t+1} = \theta_t - 2 u_t + u_{t-1}

    where :math:`u_t` is the step that :class:`GANAdam` would have taken, learning rate included.
    The first step of a parameter is plain.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        beta1: Decay of the mean gradient.
        beta2: Decay of the mean squared gradient.
        eps: Added to the denominator.
        weight_decay: Factor of the L2 penalty.
        fused: Whether to update all parameters in one kernel; faster on every device that has it.

    Reference:
        Daskalakis et al., "Training GANs with Optimism", ICLR 2018,
        https://arxiv.org/abs/1711.00141, algorithm 1.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step, after computing the gradients by ``closure`` if there is one."""
        return _optimistic_step(self, Adam, closure)


class OptimisticSGD(SGD):
    r"""Gradient descent that counts on the opponent to go on as before.

    .. math:: \theta_{t+1} = \theta_t - 2 u_t + u_{t-1}, \qquad u_t = \eta\,\nabla_t

    where :math:`u_t` is the step that torch's ``SGD`` would have taken. The first step of a
    parameter is plain. On a bilinear game, where gradient descent goes round in growing circles,
    this converges.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate, :math:`\eta`.
        momentum: Decay of the sum of gradients that takes the gradient's place.
        weight_decay: Factor of the L2 penalty.

    Reference:
        Daskalakis et al., "Training GANs with Optimism", ICLR 2018,
        https://arxiv.org/abs/1711.00141, section 2.
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step, after computing the gradients by ``closure`` if there is one."""
        return _optimistic_step(self, SGD, closure)


def _optimistic_step(
    optimizer: Optimizer, base: type[Optimizer], closure: Callable[[], float] | None
) -> float | None:
    """Take a step of ``base`` twice and its previous one back; differentiable where ``base`` is."""
    loss = None
    if closure is not None:
        with torch.enable_grad():
            loss = closure()
    moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    before = [parameter.clone() for parameter in moved]
    # Torch wraps the `step` of every class to call step hooks, which must see the final weights.
    unwrap(base.step)(optimizer)
    for parameter, old in zip(moved, before, strict=True):
        update = old - parameter
        state = optimizer.state[parameter]
        parameter.add_(state.get("previous_update", update) - update)
        state["previous_update"] = update
    return loss


def scale_learning_rates(
    optimizer: Optimizer, factor: Callable[[], float]
) -> tuple[RemovableHandle, RemovableHandle]:
    """Take all later steps with a share of the learning rates, whatever sets these.

    The rates are scaled for the time of a step alone, so that a schedule over images, a scheduler
    or a callback goes on setting the full ones. The look-ahead of unrolling keeps to these.

    Args:
        optimizer: Whose steps; anything that has hooks around them.
        factor: Returns the share, asked before each step.

    Returns:
        What ends it, by the ``remove()`` of both.

    Example:
        >>> weight = nn.Parameter(torch.ones(1))
        >>> optimizer = SGD([weight], lr=1.0)
        >>> _ = scale_learning_rates(optimizer, lambda: 0.25)
        >>> weight.grad = torch.ones(1)
        >>> optimizer.step()
        >>> weight.item(), optimizer.param_groups[0]["lr"]
        (0.75, 1.0)
    """
    full: list[Any] = []

    def before(*_: Any) -> None:
        full[:] = [group["lr"] for group in optimizer.param_groups]
        share = factor()
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * share

    def after(*_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate

    return optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)


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
        ValueError: If an optimiser that has a schedule as its learning rate is given another one.
    """
    made = [make(net.parameters()) for make, net in zip(optimizers, networks, strict=True)]
    plans: list[Any] = []
    for optimizer, make in zip(made, schedulers, strict=True):
        if make is None:
            continue
        if "lr" in (own := getattr(optimizer, "schedules", {})):
            raise ValueError(
                "Expected no 'lr_scheduler_g' or 'lr_scheduler_d' beside an optimiser whose 'lr' "
                f"is a schedule, got one beside {own['lr']}, which would overrule it."
            )
        plans.append(make(optimizer))
        if isinstance(plans[-1], ReduceLROnPlateau):
            raise TypeError(
                "Expected 'lr_scheduler_g' and 'lr_scheduler_d' to be schedules over iterations, "
                "got ReduceLROnPlateau: a GAN's loss does not tell progress."
            )
    return made, plans
