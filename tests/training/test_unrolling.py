"""Steps that can be differentiated, and that leave no trace."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import ExponentialLR

from lightning_gan.functional import (
    minimax_discriminator_loss,
    non_saturating_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from lightning_gan.training import GANAdam, OptimisticAdam, OptimisticSGD, unroll

Weights = dict[str, Tensor]

MAKERS: dict[str, Callable[[Any], Optimizer]] = {
    "GANAdam": lambda p: GANAdam(p, lr=0.05, eps=1e-3),
    "GANAdam without averages": lambda p: GANAdam(p, lr=0.05, beta1=0.0, beta2=0.0, eps=1e-2),
    "Adam": lambda p: Adam(p, lr=0.05, eps=1e-3, weight_decay=0.1, maximize=True),
    "AMSGrad": lambda p: Adam(p, lr=0.05, eps=1e-3, amsgrad=True, foreach=True),
    "AdamW": lambda p: AdamW(p, lr=0.05, eps=1e-3),
    "SGD": lambda p: SGD(p, lr=0.3),
    "momentum": lambda p: SGD(
        p, lr=0.2, momentum=0.9, dampening=0.3, weight_decay=0.1, maximize=True
    ),
    "Nesterov": lambda p: SGD(p, lr=0.2, momentum=0.9, nesterov=True, fused=True),
    "RMSprop": lambda p: RMSprop(p, lr=0.02, eps=1e-3),
    "centered RMSprop": lambda p: RMSprop(p, lr=0.02, eps=1e-3, momentum=0.5, centered=True),
    "OptimisticAdam": lambda p: OptimisticAdam(p, lr=0.05, eps=1e-3),
    "OptimisticSGD": lambda p: OptimisticSGD(p, lr=0.2, momentum=0.5),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def double() -> Iterator[None]:
    """Let optimisers count their steps in double precision, too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def network_with_buffers() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), spectral_norm(nn.Linear(4, 1))
    return nn.Sequential(*layers)


def loss_of(network: nn.Module, fake: Tensor) -> Callable[[Weights], Tensor]:
    """Return the discriminator's loss as a function of its weights."""
    real = draw(*fake.shape, seed=7).to(fake) + 0.5

    def loss(weights: Weights) -> Tensor:
        return minimax_discriminator_loss(
            functional_call(network, weights, real), functional_call(network, weights, fake)
        )

    return loss


def outputs_of(network: nn.Module, x: Tensor) -> Callable[[Weights], Tensor]:
    """Return the sum of the network's outputs as a function of its weights."""

    def outputs(weights: Weights) -> Tensor:
        total: Tensor = functional_call(network, weights, x).sum()
        return total

    return outputs


def take_steps(network: nn.Module, optimizer: Optimizer, fake: Tensor, steps: int) -> None:
    """Train for real."""
    loss = loss_of(network, fake)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss({}))
        optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_linear_critic_has_the_closed_form(steps: int) -> None:
    critic = nn.Linear(1, 1, bias=False)
    psi, h, real, start = 0.4, 0.1, 2.0, -0.5
    nn.init.constant_(critic.weight, psi)
    theta = torch.tensor([[start]], requires_grad=True)

    def loss(weights: Weights) -> Tensor:
        x = torch.tensor([[real]])
        return wasserstein_discriminator_loss(
            functional_call(critic, weights, x), functional_call(critic, weights, theta)
        )

    weights = unroll(critic, SGD(critic.parameters(), lr=h), loss, steps)
    unrolled = psi + steps * h * (real - start)
    torch.testing.assert_close(weights["weight"].item(), unrolled, rtol=1e-6, atol=0)
    value = wasserstein_generator_loss(functional_call(critic, weights, theta))
    (gradient,) = torch.autograd.grad(value, theta)
    # -psi_k theta, in which psi_k falls by k h for each unit of theta.
    torch.testing.assert_close(gradient.item(), -unrolled + steps * h * start, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("double")
def test_adam_equals_its_formula() -> None:
    lr, (beta1, beta2), eps, decay = 0.05, (0.5, 0.9), 1e-8, 0.1
    network = smooth_network()
    # A fused kernel counts its steps in single precision.
    optimizer = GANAdam(network.parameters(), lr, beta1, beta2, eps, decay, fused=False)
    take_steps(network, optimizer, draw(5, 2, seed=3), steps=2)
    fake = draw(5, 2).requires_grad_()
    loss = loss_of(network, fake)

    parameters = dict(network.named_parameters())
    start = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    slopes = torch.autograd.grad(loss(start), list(start.values()), create_graph=True)
    expected = {}
    for (name, weight), slope in zip(start.items(), slopes, strict=True):
        state = optimizer.state[parameters[name]]
        gradient = slope + decay * weight
        mean = beta1 * state["exp_avg"] + (1 - beta1) * gradient
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * gradient**2
        mean, square = mean / (1 - beta1**3), square / (1 - beta2**3)  # the third step
        expected[name] = weight - lr * mean / (square.sqrt() + eps)

    actual = unroll(network, optimizer, loss, steps=1)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    for name, weight in actual.items():
        pair = [torch.autograd.grad((w**2).sum(), fake, retain_graph=True) for w in
                (weight, expected[name])]  # fmt: skip
        torch.testing.assert_close(*pair, rtol=1e-7, atol=1e-12)


@makers
@pytest.mark.parametrize("begun", [0, 2])
@pytest.mark.usefixtures("double")
def test_gradient_equals_finite_differences(make: Callable[[Any], Optimizer], begun: int) -> None:
    network = smooth_network()
    optimizer = make(network.parameters())
    take_steps(network, optimizer, draw(3, 2, seed=3), begun)

    def generator_loss(fake: Tensor) -> Tensor:
        weights = unroll(network, optimizer, loss_of(network, fake), steps=2)
        return non_saturating_generator_loss(functional_call(network, weights, fake))

    assert torch.autograd.gradcheck(generator_loss, draw(3, 2).requires_grad_())


@makers
@pytest.mark.parametrize("begun", [0, 3])
def test_weights_and_buffers_equal_those_of_real_steps(
    make: Callable[[Any], Optimizer], begun: int
) -> None:
    network = network_with_buffers()
    optimizer = make(network.parameters())
    fake = draw(6, 2)
    take_steps(network, optimizer, fake, begun)
    actual = unroll(network, optimizer, loss_of(network, fake), steps=3)
    take_steps(network, optimizer, fake, steps=3)
    expected = dict(network.named_parameters()) | dict(network.named_buffers())
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-5)
    means = network.get_buffer("1.running_mean")
    assert means.abs().max() > 0.01  # the buffers moved


@makers
@pytest.mark.parametrize("steps", [0, 3])
def test_network_and_optimizer_stay_as_they_are(
    make: Callable[[Any], Optimizer], steps: int
) -> None:
    network = network_with_buffers()
    optimizer = make(network.parameters())
    fake = draw(6, 2)
    take_steps(network, optimizer, fake, steps=2)
    scheduler = ExponentialLR(optimizer, 0.5)
    optimizer.register_step_pre_hook(lambda *_: pytest.fail("a hook was called"))
    optimizer.register_step_post_hook(lambda *_: pytest.fail("a hook was called"))
    parameters = list(network.parameters())
    before = copy.deepcopy([network.state_dict(), optimizer.state_dict(), scheduler.state_dict()])
    fake.requires_grad_()
    weights = unroll(network, optimizer, loss_of(network, fake), steps)
    torch.autograd.backward(functional_call(network, weights, fake).sum())
    after = [network.state_dict(), optimizer.state_dict(), scheduler.state_dict()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert all(p is q for p, q in zip(network.parameters(), parameters, strict=True))
    assert all(p.grad is None and p.requires_grad and p.is_leaf for p in parameters)
    assert [p for group in optimizer.param_groups for p in group["params"]] == parameters
    assert set(optimizer.state) <= set(parameters)
    assert fake.grad is not None


def test_frozen_weights_are_unrolled_and_stay_frozen() -> None:
    network = smooth_network()
    optimizer = GANAdam(network.parameters(), lr=0.01)
    fake = draw(6, 2).requires_grad_()
    results = []
    for frozen in (False, True):
        network.requires_grad_(not frozen)
        weights = unroll(network, optimizer, loss_of(network, fake), steps=2)
        value = functional_call(network, weights, fake).sum()
        results.append((weights, torch.autograd.grad(value, fake)))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert not any(p.requires_grad for p in network.parameters())


def test_learning_rates_are_those_at_the_call_and_of_each_group() -> None:
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    groups: list[dict[str, Any]] = [
        {"params": [network.weight]},
        {"params": [network.bias], "lr": 3},
    ]
    optimizer = SGD(groups, lr=1)
    optimizer.param_groups[0]["lr"] = 2
    weights = unroll(network, optimizer, outputs_of(network, torch.ones(1, 1)), steps=2)
    assert (weights["weight"].item(), weights["bias"].item()) == (-4, -6)


def test_weights_outside_the_optimizer_or_the_loss_stay() -> None:
    network = nn.ModuleDict({name: nn.Linear(1, 1) for name in ("used", "unused", "outside")})
    held = [*network["used"].parameters(), *network["unused"].parameters()]
    optimizer = Adam(held, weight_decay=0.1)

    def loss(weights: Weights) -> Tensor:
        return (weights["used.weight"] + weights["outside.weight"]).sum()

    weights = unroll(network, optimizer, loss, steps=2)
    moved = {name for name, p in network.named_parameters() if not torch.equal(weights[name], p)}
    assert moved == {"used.weight"}
    assert not weights["outside.weight"].requires_grad


DIVIDING = ["GANAdam", "GANAdam without averages", "AMSGrad", "AdamW", "RMSprop",
            "centered RMSprop", "OptimisticAdam"]  # fmt: skip


@pytest.mark.parametrize("name", DIVIDING)
def test_dead_unit_changes_nothing(name: str) -> None:
    whole = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    part = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        for network, units in ((whole, 3), (part, 2)):
            network.get_parameter("0.weight").copy_(draw(3, 2, seed=1)[:units])
            network.get_parameter("0.bias").copy_(torch.tensor([3.0, 3.0, -99.0])[:units])
            network.get_parameter("2.weight").copy_(draw(1, 3, seed=2)[:, :units])
            network.get_parameter("2.bias").fill_(0.1)
    fake = draw(6, 2).requires_grad_()
    gradients = []
    for network in (whole, part):
        optimizer = MAKERS[name](network.parameters())
        weights = unroll(network, optimizer, loss_of(network, fake), steps=3)
        value = non_saturating_generator_loss(functional_call(network, weights, fake))
        gradients.append(torch.autograd.grad(value, fake))
    assert gradients[0][0].isfinite().all()
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("slope", [1e-22, 1e-30])
def test_gradients_whose_square_underflows_give_no_nan(slope: float) -> None:
    network = nn.Linear(1, 1, bias=False)
    x = torch.tensor([[slope]], requires_grad=True)
    weights = unroll(network, GANAdam(network.parameters()), outputs_of(network, x), steps=2)
    (gradient,) = torch.autograd.grad(weights["weight"].sum(), x, allow_unused=True)
    assert gradient is None or gradient.isfinite().all()


def test_unit_that_dies_on_the_way_keeps_the_derivative_of_its_last_step() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    nn.init.constant_(network.get_parameter("0.weight"), 0.01)
    x = torch.tensor([[2.0]], requires_grad=True)
    optimizer = GANAdam(network.parameters(), lr=0.1, beta1=0.0, beta2=0.0, eps=0.5)
    weights = unroll(network, optimizer, outputs_of(network, x), steps=3)
    # The first step is lr g / (|g| + eps) with g = x; then the unit is dead.
    torch.testing.assert_close(weights["0.weight"].item(), 0.01 - 0.1 * 2 / 2.5, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(weights["0.weight"].sum(), x)
    torch.testing.assert_close(gradient.item(), -0.1 * 0.5 / 2.5**2, rtol=1e-5, atol=0)


def test_a_pause_of_the_gradient_keeps_its_derivative() -> None:
    """A gradient of zero with a history is no dead unit: Adam's mean still depends on it."""
    network = nn.Linear(1, 1, bias=False)
    optimizer = Adam(network.parameters(), lr=0.1, betas=(0.5, 0.5), eps=0.0)
    network.weight.grad = torch.ones(1, 1)
    optimizer.step()
    x = torch.zeros(1, 1, requires_grad=True)
    weights = unroll(network, optimizer, outputs_of(network, x), steps=1)
    (gradient,) = torch.autograd.grad(weights["weight"].sum(), x)
    # m = 1/4 + g/2 and v = 1/4 + g^2/2, both divided by 3/4: the step is lr m / sqrt(3/4 v).
    expected = -0.1 * 0.5 / (0.75 * 0.25) ** 0.5
    torch.testing.assert_close(gradient.item(), expected, rtol=1e-5, atol=0)


def test_runs_under_autocast() -> None:
    network = network_with_buffers()
    fake = draw(6, 2).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        weights = unroll(network, GANAdam(network.parameters()), loss_of(network, fake), steps=2)
        value = functional_call(network, weights, fake).float().sum()
    (gradient,) = torch.autograd.grad(value, fake)
    assert gradient.isfinite().all()
    assert all(weights[name].dtype == p.dtype for name, p in network.named_parameters())


def test_works_where_gradients_are_off() -> None:
    network = smooth_network()
    fake = draw(6, 2).requires_grad_()
    with torch.no_grad():
        weights = unroll(network, SGD(network.parameters()), loss_of(network, fake), steps=1)
    torch.autograd.grad(weights["0.weight"].sum(), fake)


class _OwnStep(Adam):
    """A subclass whose step nobody knows to differentiate."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


@pytest.mark.parametrize(
    "make", [Adadelta, _OwnStep, lambda p: LightningOptimizer(GANAdam(p))],
    ids=["Adadelta", "_OwnStep", "LightningGANAdam"],
)  # fmt: skip
def test_other_optimizers_are_refused(make: Any, request: pytest.FixtureRequest) -> None:
    network = smooth_network()
    name = request.node.callspec.id
    with pytest.raises(TypeError, match=f"steps of which can be differentiated, got {name}"):
        unroll(network, make(network.parameters()), loss_of(network, draw(2, 2)), steps=1)


def test_optimizer_of_another_network_is_refused() -> None:
    network = smooth_network()
    optimizer = SGD([*network.parameters(), *nn.Linear(1, 1).parameters()])
    with pytest.raises(ValueError, match="weights of 'network' only, got 2 of something else"):
        unroll(network, optimizer, loss_of(network, draw(2, 2)), steps=1)


def test_negative_steps_are_refused() -> None:
    network = smooth_network()
    with pytest.raises(ValueError, match="Expected 'steps' to be non-negative, got -1"):
        unroll(network, SGD(network.parameters()), loss_of(network, draw(2, 2)), steps=-1)
