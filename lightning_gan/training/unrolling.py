"""Steps of an optimiser that can be differentiated, away from the network that it trains."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import copy
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from lightning_gan.training.optimizers import GANAdam

_OPTIONS = {"differentiable": True, "fused": False, "foreach": False}


def unroll(
    network: nn.Module,
    optimizer: Optimizer,
    loss: Callable[[dict[str, Tensor]], Tensor],
    steps: int,
) -> dict[str, Tensor]:
    r"""Train a copy of a network for some steps, keeping how its weights depend on the loss.

    .. math:: \theta^0 = \theta, \qquad
        \theta^{k+1} = \theta^k - u\big(\nabla_{\theta^k} f(\theta^k)\big)

    with u the step of the optimiser. A loss of the generator at the unrolled discriminator
    :math:`\theta^K` depends on the generator also through the discriminator's answers to it.

    The network with its buffers and the optimiser stay as they are. All weights that the optimiser
    holds are trained, also those that are frozen at the moment. Gradients are those of this
    process, neither clipped nor averaged over processes. Where the mean squared gradient of Adam
    or RMSprop is zero, as in a dead unit, the weight moves without a derivative, which would be
    infinite.

    Args:
        network: The network, trained or not.
        optimizer: The optimiser of its weights; Adam, RMSprop, SGD or a class derived from one that
            has no step of its own, such as :class:`~lightning_gan.training.GANAdam`, or an
            optimistic one of ours. Not Lightning's wrapper of it. The steps go on from its moments.
        loss: Maps weights and buffers by name, as ``torch.func.functional_call`` takes them, to the
            scalar that the steps reduce.
        steps: K, the number of steps.

    Returns:
        The weights after the steps, differentiable in all that the loss depends on, and the
        buffers, by name, for ``torch.func.functional_call(network, weights, inputs)``.

    Raises:
        TypeError: If the optimiser is of another kind.
        ValueError: If ``steps`` is negative, or the optimiser holds weights of something else.

    Example:
        >>> from torch.func import functional_call
        >>> network = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(network.weight)
        >>> fake = torch.tensor([[3.0]], requires_grad=True)
        >>> def critic(weights):
        ...     return functional_call(network, weights, fake).sum()
        >>> weights = unroll(network, SGD(network.parameters(), lr=0.5), critic, steps=2)
        >>> weights["weight"].detach(), network.weight.detach()
        (tensor([[-3.]]), tensor([[0.]]))
        >>> torch.autograd.grad(weights["weight"].sum(), fake)
        (tensor([[-1.]]),)

    Reference:
        Metz et al., "Unrolled Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1611.02163, eq. (7) to (11).
    """
    if steps < 0:
        raise ValueError(f"Expected 'steps' to be non-negative, got {steps}.")
    shadow = _Shadow(network, optimizer)
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    for name in shadow.trained:
        weights[name].requires_grad_()
    buffers = {name: b.detach() for name, b in network.named_buffers()}
    with torch.enable_grad():
        for _ in range(steps):
            buffers = _cloned(buffers)  # a forward pass writes into them
            before = {name: weights[name] for name in shadow.trained}
            value = loss(weights | buffers)
            gradients = torch.autograd.grad(
                value, list(before.values()), create_graph=True, allow_unused=True
            )
            found = {n: g for n, g in zip(before, gradients, strict=True) if g is not None}
            weights = weights | shadow.step(before, found)
    return weights | _cloned(buffers)


class _Shadow:
    """An optimiser whose differentiable steps are taken on tensors instead of its parameters.

    Args:
        network: The network.
        optimizer: The optimiser of its parameters; only read.

    Attributes:
        trained: Names of the weights that the optimiser holds.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer) -> None:
        self._kind = _kind(optimizer)
        names = {parameter: name for name, parameter in network.named_parameters()}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if foreign := sum(p not in names for p in held):
            raise ValueError(
                "Expected 'optimizer' to hold weights of 'network' only, got "
                f"{foreign} of something else."
            )
        self.trained = [names[parameter] for parameter in held]
        self._groups = [
            (group | _OPTIONS, [names[parameter] for parameter in group["params"]])
            for group in optimizer.param_groups
        ]
        self._states: dict[str, dict[str, Any]] = {
            names[parameter]: optimizer.state.get(parameter, {}) for parameter in held
        }
        self._optimizer = copy(optimizer)  # without schedulers and hooks
        self._step = unwrap(type(optimizer).step)  # without hooks and no_grad

    def step(self, weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what becomes of the weights that have a gradient."""
        # The step writes into weights and moments, of which the graph needs the old values.
        after = {name: weights[name].clone() for name in gradients}
        self._optimizer.param_groups = []
        self._optimizer.state = defaultdict(dict)
        for group, names in self._groups:
            moved = [name for name in names if name in after]
            self._optimizer.param_groups.append(group | {"params": [after[n] for n in moved]})
            for name in moved:
                state = _cloned(self._states[name])
                after[name].grad = self._prepare(weights[name], gradients[name], state, group)
                self._optimizer.state[after[name]] = state
        self._step(self._optimizer)
        for name, weight in after.items():
            self._states[name] = self._optimizer.state[weight]
        return after

    def _prepare(
        self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> Tensor:
        """Return the gradient, and change the state, so that the step can be differentiated."""
        if self._kind is SGD:
            if group["momentum"] != 0 and state.get("momentum_buffer") is None:
                # Torch starts the sum with a detached gradient; from this it gets the same sum.
                start = weight * group["weight_decay"] + gradient * (-1) ** group["maximize"]
                state["momentum_buffer"] = start * (group["dampening"] / group["momentum"])
            return gradient
        if self._kind is Adam:
            name, decay = "exp_avg_sq", group["betas"][1]
        else:
            name, decay = "square_avg", group["alpha"]
        # The root has an infinite derivative at zero, which times zero would be NaN.
        now = gradient.detach().square() * (1 - decay)
        none = now + decay * state.get(name, torch.zeros_like(now)) < torch.finfo(now.dtype).tiny
        for key, value in state.items():
            if isinstance(value, Tensor) and value.requires_grad:
                state[key] = torch.where(none, value.detach(), value)
        return torch.where(none, gradient.detach(), gradient)


def _kind(optimizer: Optimizer) -> type[Optimizer]:
    """Return which optimiser of torch's takes the step."""
    module = unwrap(type(optimizer).step).__module__
    known = module.startswith("torch.optim.") or module == GANAdam.__module__
    for kind in (Adam, RMSprop, SGD):
        if known and isinstance(optimizer, kind):
            return kind
    raise TypeError(
        "Expected 'optimizer' to be Adam, RMSprop, SGD or derived from one without a step of its "
        f"own, the steps of which can be differentiated, got {type(optimizer).__name__}."
    )


def _cloned(state: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
