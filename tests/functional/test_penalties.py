import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.functional import (
    dragan_penalty,
    drift_penalty,
    gradient_penalty,
    zero_centered_gradient_penalty,
)

Critic = Callable[[Tensor], Tensor]
# Each at the given samples themselves, ...
PENALTIES: dict[str, Callable[[Critic, Tensor], Tensor]] = {
    "gradient_penalty": lambda critic, x: gradient_penalty(critic, x, x),
    "zero_gp": lambda critic, x: gradient_penalty(critic, x, x, target=0),
    "dragan": lambda critic, x: dragan_penalty(critic, x, scale=0),
    "zero_centered": zero_centered_gradient_penalty,
}
# ... and what it costs a sample to have the slope n.
COSTS: dict[str, Callable[[Any], Any]] = {
    "gradient_penalty": lambda n: (n - 1) ** 2,
    "zero_gp": lambda n: n**2,
    "dragan": lambda n: (n - 1) ** 2,
    "zero_centered": lambda n: n**2 / 2,
}


def assert_near(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-5) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def linear(*weights: float) -> tuple[Critic, Tensor]:
    w = torch.tensor(weights, requires_grad=True)
    return lambda x: x @ w, w


def gradient(value: Tensor, by: Tensor) -> Tensor:
    return torch.autograd.grad(value, by)[0]


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 1, 3, stride=2, padding=1)
    )


@pytest.mark.parametrize("target", [0.0, 1.0, 7.5])
def test_gradient_penalty_of_a_linear_critic(target: float) -> None:
    critic, w = linear(3.0, -4.0, 12.0)
    value = gradient_penalty(critic, torch.randn(6, 3), torch.randn(6, 3), target=target)
    assert_near(value, (13 - target) ** 2)
    assert_near(gradient(value, w), 2 * (13 - target) * w.detach() / 13)


@pytest.mark.parametrize(("weights", "expected"), [((0.3, 0.4), 0.0), ((3.0, 4.0), 16.0)])
def test_one_sided(weights: tuple[float, float], expected: float) -> None:
    critic, w = linear(*weights)
    value = gradient_penalty(critic, torch.randn(4, 2), torch.randn(4, 2), one_sided=True)
    assert_near(value, expected)
    norm = math.hypot(*weights)
    assert_near(gradient(value, w), 2 * max(norm - 1, 0) * w.detach() / norm)


def test_gradient_penalty_interpolates_with_one_epsilon_per_sample() -> None:
    """The critic |x|^2 / 2 has the interpolated point itself as its slope."""
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).square().sum(1) / 2

    real, fake = torch.randn(2, 64, 3, 2, 2)
    value = gradient_penalty(critic, real, fake)
    (points,) = seen
    epsilon = (points - fake) / (real - fake)
    per_sample = epsilon.flatten(1).median(dim=1).values
    assert_near(points, fake + per_sample.view(-1, 1, 1, 1) * (real - fake))
    assert per_sample.min() >= 0
    assert per_sample.max() <= 1
    assert len(per_sample.round(decimals=3).unique()) > 50
    assert per_sample.std() == pytest.approx(12**-0.5, abs=0.06)  # of U[0, 1]
    assert_near(value, (points.flatten(1).norm(dim=1) - 1).square().mean())


@pytest.mark.parametrize("target", [0.0, 1.0, 7.5])
def test_dragan_penalty_of_a_linear_critic(target: float) -> None:
    critic, w = linear(3.0, -4.0, 12.0)
    value = dragan_penalty(critic, torch.randn(6, 3), target=target)
    assert_near(value, (13 - target) ** 2)
    assert_near(gradient(value, w), 2 * (13 - target) * w.detach() / 13)


def test_dragan_penalty_looks_around_the_real_samples() -> None:
    """The critic |x|^2 / 2 has the point itself as its slope."""
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).square().sum(1) / 2

    real, scale = 3 * torch.randn(64, 3, 4, 4) + 1, 0.7
    value = dragan_penalty(critic, real, scale=scale)
    (points,) = seen
    spread = (real - real.mean()).square().mean().sqrt()  # of the whole batch
    moves = ((points - real) / (scale * spread)).flatten(1)  # alpha of the sample times u
    assert moves.min() >= -1e-6
    assert moves.max() <= 1 + 1e-6
    alpha = 2 * moves.mean(dim=1)  # as u has the mean 1/2
    assert alpha.mean() == pytest.approx(1 / 2, abs=0.1)
    assert alpha.std() == pytest.approx(12**-0.5, abs=0.07)  # of U[0, 1]
    noise = moves / alpha[:, None]
    assert noise.std(dim=1).mean() == pytest.approx(12**-0.5, abs=0.02)
    assert_near(value, (points.flatten(1).norm(dim=1) - 1).square().mean())


def test_dragan_penalty_moves_by_half_a_standard_deviation_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.ones(shape))
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(1)

    real = torch.tensor([[1.0, 3.0], [5.0, 7.0]])  # of mean 4 and variance 5
    dragan_penalty(critic, real)
    assert_near(seen[0], real + 0.5 * 5**0.5)


def test_dragan_penalty_of_a_single_value() -> None:
    critic, _ = linear(3.0)
    assert_near(dragan_penalty(critic, torch.ones(1, 1)), 4.0)


def test_drift_penalty() -> None:
    logits = torch.tensor([[1.0, -2.0], [0.0, 3.0]], requires_grad=True)
    value = drift_penalty(logits)
    assert_near(value, 14 / 4)
    assert_near(gradient(value, logits), logits.detach() / 2)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_randomness_follows_the_given_generator(name: str) -> None:
    def value(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        numbers = torch.Generator().manual_seed(seed)
        if name == "dragan":
            return dragan_penalty(critic, real, generator=numbers)
        return gradient_penalty(critic, real, fake, generator=numbers)

    def critic(x: Tensor) -> Tensor:
        return x.pow(3).sum(1)

    real, fake = torch.randn(2, 5, 2)
    assert_near(value(1, 0), value(1, 1), 0)
    assert value(2, 0) != value(1, 0)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_randomness_follows_the_global_generator(name: str) -> None:
    def value(seed: int) -> Tensor:
        torch.manual_seed(seed)
        if name == "dragan":
            return dragan_penalty(critic, real)
        return gradient_penalty(critic, real, fake)

    def critic(x: Tensor) -> Tensor:
        return x.pow(3).sum(1)

    real, fake = torch.randn(2, 5, 2)
    assert_near(value(1), value(1), 0)
    assert value(2) != value(1)


def test_gradient_penalty_refuses_different_shapes() -> None:
    critic, _ = linear(1.0, 1.0)
    message = r"'real' and 'fake' to have the same shape, got \(4, 2\) and \(3, 2\)\."
    with pytest.raises(ValueError, match=message):
        gradient_penalty(critic, torch.zeros(4, 2), torch.zeros(3, 2))


def test_zero_centered_of_a_linear_critic() -> None:
    critic, w = linear(3.0, -4.0, 12.0)
    value = zero_centered_gradient_penalty(critic, torch.randn(6, 3))
    assert_near(value, 169 / 2)
    assert_near(gradient(value, w), w.detach())


def test_zero_centered_of_a_quadratic_critic() -> None:
    """The slope of x'Ax/2 is Ax; that of the penalty by A, as A enters twice, is Axx' + xx'A."""
    a = torch.randn(3, 3)
    a = (a + a.T).requires_grad_()
    x = torch.randn(7, 3)
    value = zero_centered_gradient_penalty(lambda x: ((x @ a) * x).sum(1) / 2, x)
    outer = x.T @ x / len(x)
    assert_near(value, (x @ a).square().sum(1).mean() / 2)
    assert_near(gradient(value, a), ((a @ outer) + (outer @ a)).detach() / 2)


def test_penalties_are_means_over_samples_of_different_slopes() -> None:
    slopes = torch.tensor([0.0, 0.5, 1.0, 2.0, 10.0])

    def critic(x: Tensor) -> Tensor:
        return x[:, 0] * x[:, 1]

    x = torch.stack([slopes, torch.zeros(5)], dim=1)  # |(x_1, x_0)| is the sample's slope
    assert_near(gradient_penalty(critic, x, x), (1 + 0.25 + 0 + 1 + 81) / 5)
    assert_near(gradient_penalty(critic, x, x, target=0), (0 + 0.25 + 1 + 4 + 100) / 5)
    assert_near(dragan_penalty(critic, x, scale=0), (1 + 0.25 + 0 + 1 + 81) / 5)
    assert_near(zero_centered_gradient_penalty(critic, x), (0 + 0.25 + 1 + 4 + 100) / 5 / 2)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_equal_a_loop_over_samples(name: str) -> None:
    critic, x = convolutional(), torch.randn(6, 1, 8, 8) * torch.arange(1, 7).view(-1, 1, 1, 1)
    expected = []
    for sample in x:
        point = sample[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(point).mean(), point, create_graph=True)
        norm = slope.square().sum().sqrt()
        expected.append(COSTS[name](norm))
    loop = torch.stack(expected).mean()
    value = PENALTIES[name](critic, x)
    assert_near(value, loop)
    weights = list(critic.parameters())
    for actual, reference in zip(
        torch.autograd.grad(value, weights, allow_unused=True),
        torch.autograd.grad(loop, weights, allow_unused=True),
        strict=True,
    ):
        assert (actual is None) == (reference is None)
        if actual is not None:
            assert_near(actual, reference)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 3, 2)])
def test_any_shape_of_logits(name: str, shape: tuple[int, ...]) -> None:
    """Six equal patches have the slope of one, as the losses take their mean."""
    critic, _ = linear(3.0, 4.0)

    def patches(x: Tensor) -> Tensor:
        return critic(x).view(5, *(1,) * (len(shape) - 1)).expand(shape)

    assert_near(PENALTIES[name](patches, torch.randn(5, 2)), COSTS[name](5.0))


@pytest.mark.parametrize("name", PENALTIES)
def test_slope_of_a_patch_critic_is_that_of_its_mean(name: str) -> None:
    """Here patch k is w_k . x, so that the mean's slope is the mean of the w_k."""
    w = torch.randn(6, 4, requires_grad=True)
    value = PENALTIES[name](lambda x: (x @ w.T).view(5, 1, 3, 2), torch.randn(5, 4))
    mean = w.mean(0)
    expected = COSTS[name](mean.norm())
    assert_near(value, expected.detach())
    assert_near(gradient(value, w), gradient(expected, w))


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_inside_autocast(name: str, dtype: torch.dtype) -> None:
    critic, x = convolutional(), torch.randn(4, 1, 8, 8)
    expected = PENALTIES[name](critic, x)
    weight = next(critic.parameters())
    expected_gradient = gradient(expected, weight)
    with torch.autocast("cpu", dtype):
        value = PENALTIES[name](critic, x)
    assert value.dtype == torch.float32
    assert_near(value, expected, 1e-6)
    assert_near(gradient(value, weight), expected_gradient, 1e-6)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_samples_keep_the_type_of_the_weights(name: str, dtype: torch.dtype) -> None:
    critic, x = convolutional().to(dtype), torch.randn(4, 1, 8, 8, dtype=dtype)
    assert PENALTIES[name](critic, x).dtype == dtype


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("slope", [0.0, 1e-30])
def test_finite_gradient_for_a_critic_without_slope(name: str, slope: float) -> None:
    critic, w = linear(slope, 0.0)
    assert gradient(PENALTIES[name](critic, torch.randn(4, 2)), w).isfinite().all()


@pytest.mark.parametrize("name", ["zero_gp", "zero_centered"])
def test_zero_centred_penalties_rest_where_the_slope_is_zero(name: str) -> None:
    critic, w = linear(0.0, 0.0)
    value = PENALTIES[name](critic, torch.randn(4, 2))
    assert_near(value, 0.0, 0)
    assert_near(gradient(value, w), torch.zeros(2), 0)


@pytest.mark.parametrize("name", PENALTIES)
def test_value_inside_no_grad(name: str) -> None:
    critic, _ = linear(3.0, 4.0)
    with torch.no_grad():
        value = PENALTIES[name](critic, torch.randn(4, 2))
    assert_near(value, COSTS[name](5.0))


@pytest.mark.parametrize("name", PENALTIES)
def test_no_gradient_flows_into_samples(name: str) -> None:
    x = torch.randn(4, 2, requires_grad=True)
    w = torch.randn(2, 2, requires_grad=True)
    value = PENALTIES[name](lambda x: (x @ w).square().sum(1), x)
    by_x, by_w = torch.autograd.grad(value, [x, w], allow_unused=True)
    assert by_x is None
    assert by_w.norm() > 0


@pytest.mark.parametrize("name", PENALTIES)
def test_is_never_negative_and_does_not_depend_on_the_order(name: str) -> None:
    critic, x = convolutional(), torch.randn(5, 1, 8, 8)
    value = PENALTIES[name](critic, x)
    assert value >= 0
    assert_near(PENALTIES[name](critic, x.flip(0)), value)


@pytest.mark.parametrize("name", PENALTIES)
def test_moves_a_critic_towards_its_target(name: str) -> None:
    critic, w = linear(3.0, 4.0)
    for _ in range(60):
        by_w = gradient(PENALTIES[name](critic, torch.randn(4, 2)), w)
        with torch.no_grad():
            w -= 0.2 * by_w
    assert_near(w.norm().detach(), 1.0 if COSTS[name](1.0) == 0 else 0.0, 1e-3)
