"""Oracles are the generators f of the paper's table 1 and the definition of the conjugate."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from lightning_gan.functional import (
    Divergence,
    f_divergence_discriminator_loss,
    f_divergence_generator_loss,
    f_divergence_non_saturating_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)

GENERATORS: dict[Divergence, Callable[[Tensor], Tensor]] = {
    "kl": lambda u: u * u.log(),
    "reverse_kl": lambda u: -u.log(),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: -(u + 1) * ((1 + u) / 2).log() + u * u.log(),
    "gan": lambda u: u * u.log() - (u + 1) * (u + 1).log(),
}
# Upper ends of the conjugates' domains, none of which belongs to its domain.
ENDS: dict[Divergence, float] = {
    "kl": math.inf,
    "reverse_kl": 0.0,
    "pearson": math.inf,
    "neyman": 1.0,
    "squared_hellinger": 1.0,
    "jensen_shannon": math.log(2),
    "gan": 0.0,
}
# Where g_f(v) = f'(1): the optimal logit of equal distributions.
EQUILIBRIA: dict[Divergence, float] = dict.fromkeys(GENERATORS, 0.0) | {"kl": 1.0}

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.2, 0.25, 0.15, 0.4], dtype=torch.float64)

every = pytest.mark.parametrize("name", GENERATORS)


def assert_near(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-6) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def activation(v: Tensor, name: Divergence) -> Tensor:
    """Return g_f(v), one by one."""
    return torch.stack([-f_divergence_non_saturating_generator_loss(x, name) for x in v])


def conjugate(v: Tensor, name: Divergence) -> Tensor:
    """Return f*(g_f(v)), one by one."""
    return torch.stack([-f_divergence_generator_loss(x, name) for x in v])


def derivative(name: Divergence, u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    return torch.autograd.grad(GENERATORS[name](u).sum(), u)[0]


def slope(function: Callable[[Tensor], Tensor], at: float) -> Tensor:
    v = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(function(v), v)[0]


def optimal_logits(name: Divergence) -> Tensor:
    """Solve g_f(v) = f'(p / q) by bisection."""
    goal = derivative(name, P / Q)
    low, high = torch.full_like(P, -20), torch.full_like(P, 20)
    for _ in range(60):
        middle = (low + high) / 2
        below = activation(middle, name) < goal
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def outcomes(values: Tensor, probabilities: Tensor) -> Tensor:
    return values.repeat_interleave((100 * probabilities).round().long())


def bound(values: Tensor, name: Divergence) -> Tensor:
    return -f_divergence_discriminator_loss(outcomes(values, P), outcomes(values, Q), name)


def test_every_divergence_is_tested() -> None:
    assert set(get_args(Divergence)) == GENERATORS.keys()


@every
def test_conjugate_is_the_supremum_of_its_definition(name: Divergence) -> None:
    v = torch.linspace(-1.8, 2.0, 20, dtype=torch.float64)
    u = torch.logspace(-6, 6, 400_001, base=math.e, dtype=torch.float64)
    f = GENERATORS[name](u)
    expected = torch.stack([(u * t - f).max() for t in activation(v, name)])
    assert_near(conjugate(v, name), expected)


def test_conjugate_of_pearson_is_that_over_all_real_numbers() -> None:
    v = torch.linspace(-6, -2, 9, dtype=torch.float64)
    u = torch.linspace(-5, 1, 100_001, dtype=torch.float64)
    expected = torch.stack([(u * t - (u - 1) ** 2).max() for t in v])
    assert_near(conjugate(v, "pearson"), expected)


@every
def test_activation_rises_towards_the_end_of_the_domain(name: Divergence) -> None:
    v = torch.linspace(-12, 12, 97, dtype=torch.float64)
    t = activation(v, name)
    assert (t < ENDS[name]).all()
    assert (t.diff() > 0).all()
    if math.isfinite(ENDS[name]):
        assert_near(t[-1], ENDS[name], 1e-4)


@every
def test_fenchel_equality(name: Divergence) -> None:
    """The supremum is reached at the u where f has the slope t: f*(f'(u)) = u f'(u) - f(u)."""
    u = P / Q
    expected = u * derivative(name, u) - GENERATORS[name](u)
    assert_near(conjugate(optimal_logits(name), name), expected, 1e-9)


@every
def test_bound_is_the_divergence_at_the_optimal_logits(name: Divergence) -> None:
    assert_near(bound(optimal_logits(name), name), (Q * GENERATORS[name](P / Q)).sum(), 1e-9)


@every
def test_bound_is_below_the_divergence_elsewhere(name: Divergence) -> None:
    best = optimal_logits(name)
    divergence = (Q * GENERATORS[name](P / Q)).sum()
    for _ in range(20):
        assert bound(best + torch.randn(4, dtype=torch.float64), name) < divergence


@every
def test_optimal_logits_are_stationary(name: Divergence) -> None:
    best = optimal_logits(name).requires_grad_()
    (by_logits,) = torch.autograd.grad(bound(best, name), best)
    assert_near(by_logits, torch.zeros(4), 1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kl", (P * (P / Q).log()).sum()),
        ("reverse_kl", (Q * (Q / P).log()).sum()),
        ("pearson", ((P - Q) ** 2 / Q).sum()),
        ("neyman", ((P - Q) ** 2 / P).sum()),
        ("squared_hellinger", ((P.sqrt() - Q.sqrt()) ** 2).sum()),
    ],
)
def test_named_divergences(name: Divergence, expected: Tensor) -> None:
    assert_near(bound(optimal_logits(name), name), expected, 1e-9)


def test_jensen_shannon_is_twice_the_usual_one_and_gan_that_less_log_4() -> None:
    m = (P + Q) / 2
    usual = ((P * (P / m).log()).sum() + (Q * (Q / m).log()).sum()) / 2
    assert_near(bound(optimal_logits("jensen_shannon"), "jensen_shannon"), 2 * usual, 1e-9)
    assert_near(bound(optimal_logits("gan"), "gan"), 2 * usual - math.log(4), 1e-9)


@every
def test_values_at_the_equilibrium(name: Divergence) -> None:
    v = torch.full((3,), EQUILIBRIA[name])
    one = torch.ones(())
    threshold = derivative(name, one)
    assert_near(f_divergence_non_saturating_generator_loss(v, name), -threshold)
    assert_near(f_divergence_generator_loss(v, name), GENERATORS[name](one) - threshold)
    expected = math.log(4) if name == "gan" else 0.0
    assert_near(f_divergence_discriminator_loss(v, v, name), expected)


@every
def test_generator_losses_have_one_gradient_at_the_equilibrium(name: Divergence) -> None:
    saturating = slope(lambda v: f_divergence_generator_loss(v, name), EQUILIBRIA[name])
    other = slope(lambda v: f_divergence_non_saturating_generator_loss(v, name), EQUILIBRIA[name])
    assert_near(saturating, other)


@every
@pytest.mark.parametrize("below", [0.5, 1.5, 6.0])
def test_non_saturating_gradient_is_larger_on_rejected_samples(
    name: Divergence, below: float
) -> None:
    at = EQUILIBRIA[name] - below
    saturating = slope(lambda v: f_divergence_generator_loss(v, name), at)
    other = slope(lambda v: f_divergence_non_saturating_generator_loss(v, name), at)
    assert other < saturating
    assert other < 0


@every
@pytest.mark.parametrize("at", [-1.9, -0.5, 0.0, 0.7, 4.0])
def test_signs_of_gradients(name: Divergence, at: float) -> None:
    zero = torch.zeros((), dtype=torch.float64)
    assert slope(lambda v: f_divergence_discriminator_loss(v, zero, name), at) < 0
    assert slope(lambda v: f_divergence_discriminator_loss(zero, v, name), at) > 0
    assert slope(lambda v: f_divergence_generator_loss(v, name), at) < 0
    assert slope(lambda v: f_divergence_non_saturating_generator_loss(v, name), at) < 0


def test_gan_is_the_minimax_game() -> None:
    real, fake = 5 * torch.randn(2, 7)
    expected = minimax_discriminator_loss(real, fake)
    assert_near(f_divergence_discriminator_loss(real, fake, "gan"), expected)
    assert_near(f_divergence_generator_loss(fake, "gan"), minimax_generator_loss(fake))
    assert_near(
        f_divergence_non_saturating_generator_loss(fake, "gan"), non_saturating_generator_loss(fake)
    )


@every
def test_losses_are_means_over_logits_of_any_shape(name: Divergence) -> None:
    real, fake = torch.randn(2, 3, 1, 2, 2)
    value = f_divergence_discriminator_loss(real, fake, name)
    assert value.shape == ()
    expected = conjugate(fake.flatten(), name).mean() - activation(real.flatten(), name).mean()
    assert_near(value, expected)
    assert_near(f_divergence_generator_loss(fake, name), -conjugate(fake.flatten(), name).mean())


@pytest.mark.parametrize("name", ["jensen_shannon", "gan"])
def test_extreme_logits(name: Divergence) -> None:
    """These two are made of softplus only, so that no logit overflows."""
    v = torch.tensor([1e4, -1e4], requires_grad=True)
    shift = math.log(2) if name == "jensen_shannon" else 0.0
    assert_near(f_divergence_generator_loss(v, name), -5e3 + shift)
    loss = f_divergence_discriminator_loss(v, v, name)
    (by_v,) = torch.autograd.grad(loss, v)
    assert_near(by_v, torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize("name", ["neyman", "squared_hellinger"])
def test_small_logits_keep_their_digits(name: Divergence) -> None:
    tiny = torch.tensor(1e-9)
    torch.testing.assert_close(-f_divergence_generator_loss(tiny, name), tiny, rtol=1e-6, atol=0)
    value = -f_divergence_non_saturating_generator_loss(tiny, name)
    torch.testing.assert_close(value, tiny, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda v, name: f_divergence_discriminator_loss(v, v, name),
        f_divergence_generator_loss,
        f_divergence_non_saturating_generator_loss,
    ],
)
def test_unknown_divergence(loss: Callable[[Tensor, str], Tensor]) -> None:
    message = r"Expected 'divergence' to be one of \['kl', 'reverse_kl', .*'gan'\], got 'js'\."
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(2), "js")
