import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_gan.functional import (
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)

SHAPES = [(7,), (7, 1), (3, 1, 2, 2)]
PAIR_LOSSES = [
    hinge_discriminator_loss,
    least_squares_discriminator_loss,
    minimax_discriminator_loss,
    wasserstein_discriminator_loss,
]
FAKE_LOSSES = [
    hinge_generator_loss,
    least_squares_generator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    wasserstein_generator_loss,
]
COINS = torch.tensor([0.9, 0.1]), torch.tensor([0.3, 0.7])


def assert_near(actual: Tensor, expected: Tensor | float) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def leaf(values: list[float]) -> Tensor:
    return torch.tensor(values, requires_grad=True)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def tosses(values: Tensor, probabilities: Tensor) -> Tensor:
    """Return each side's value as often as the coin shows it in 1000 tosses."""
    return values.repeat_interleave((1000 * probabilities).round().long())


def best_of_coins(loss: Callable[[Tensor, Tensor], Tensor], rate: float) -> Tensor:
    """Return the values at the coins' two sides that minimise a loss, found by descent."""
    p, q = COINS
    values = torch.zeros(2, requires_grad=True)
    for _ in range(400):
        by_values = gradient(loss(tosses(values, p), tosses(values, q)), values)
        with torch.no_grad():
            values -= rate * by_values
    return values.detach()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("real_target", "fake_target"), [(1.0, 0.0), (0.9, 0.0), (0.8, 0.3)])
def test_minimax_losses_are_cross_entropies(
    real_target: float, fake_target: float, shape: tuple[int, ...]
) -> None:
    real, fake = 3 * torch.randn(2, *shape)
    expected = binary_cross_entropy_with_logits(real, torch.full(shape, real_target))
    expected = expected + binary_cross_entropy_with_logits(fake, torch.full(shape, fake_target))
    loss = minimax_discriminator_loss(real, fake, real_target=real_target, fake_target=fake_target)
    assert_near(loss, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_generator_losses_are_cross_entropies(shape: tuple[int, ...]) -> None:
    fake = 3 * torch.randn(shape)
    ones, zeros = torch.ones(shape), torch.zeros(shape)
    assert_near(non_saturating_generator_loss(fake), binary_cross_entropy_with_logits(fake, ones))
    assert_near(minimax_generator_loss(fake), -binary_cross_entropy_with_logits(fake, zeros))


def test_minimax_targets_default_to_hard_labels() -> None:
    real, fake = torch.randn(2, 6)
    hard = minimax_discriminator_loss(real, fake, real_target=1.0, fake_target=0.0)
    assert_near(minimax_discriminator_loss(real, fake), hard)


@pytest.mark.parametrize("name", ["real_target", "fake_target"])
@pytest.mark.parametrize("target", [-0.1, 1.1, float("nan")])
def test_minimax_targets_outside_0_and_1_are_refused(name: str, target: float) -> None:
    zeros = torch.zeros(2)
    with pytest.raises(ValueError, match=rf"Expected '{name}' to be in \[0, 1\], got {target}\."):
        minimax_discriminator_loss(zeros, zeros, **{name: target})


def test_values_where_nothing_is_known() -> None:
    zeros, halves = torch.zeros(5), torch.full((5,), 0.5)
    assert_near(minimax_discriminator_loss(zeros, zeros), math.log(4))
    assert_near(minimax_generator_loss(zeros), -math.log(2))
    assert_near(non_saturating_generator_loss(zeros), math.log(2))
    assert_near(hinge_discriminator_loss(zeros, zeros), 2.0)
    assert_near(hinge_generator_loss(zeros), 0.0)
    assert_near(least_squares_discriminator_loss(halves, halves), 0.25)
    assert_near(least_squares_generator_loss(halves), 0.125)
    assert_near(relativistic_discriminator_loss(halves, halves), math.log(2))
    assert_near(relativistic_generator_loss(halves, halves), math.log(2))


def test_optimal_discriminator_reaches_the_jensen_shannon_bound() -> None:
    """With D = p / (p + q) the loss is log 4 - 2 JSD(p, q)."""
    p, q = COINS
    best = (p / q).log()
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    torch.testing.assert_close(
        minimax_discriminator_loss(tosses(best, p), tosses(best, q)),
        math.log(4) - 2 * divergence,
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(("b", "a"), [(1.0, 0.0), (0.9, 0.0), (0.9, 0.1)])
def test_minimax_optimum_under_smoothed_labels(b: float, a: float) -> None:
    p, q = COINS
    best = best_of_coins(
        lambda real, fake: minimax_discriminator_loss(real, fake, real_target=b, fake_target=a), 2.0
    )
    expected = (b * p + a * q) / (p + q)
    torch.testing.assert_close(best.sigmoid(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("b", "a"), [(1.0, 0.0), (1.0, -1.0), (0.4, 2.0)])
def test_least_squares_optimum(b: float, a: float) -> None:
    p, q = COINS
    best = best_of_coins(
        lambda real, fake: least_squares_discriminator_loss(
            real, fake, real_target=b, fake_target=a
        ),
        0.5,
    )
    torch.testing.assert_close(best, (b * p + a * q) / (p + q), rtol=1e-4, atol=1e-4)


def test_least_squares_generator_minimises_the_pearson_divergence() -> None:
    """Its share of real and fake samples together is half of chi^2(p + q || 2q) (eq. 7)."""
    p, q = COINS
    best = (p - q) / (p + q)
    both = [
        least_squares_generator_loss(tosses(best, probabilities), target=0.0)
        for probabilities in (p, q)
    ]
    divergence = ((2 * q - (p + q)).square() / (p + q)).sum()
    assert_near(2 * (both[0] + both[1]), divergence)


def test_least_squares_losses() -> None:
    real, fake = leaf([1.0, 2.0, 6.0]), leaf([-1.0, 4.0])
    loss = least_squares_discriminator_loss(real, fake, real_target=2.0, fake_target=-1.0)
    assert_near(loss, (1 + 0 + 16) / 6 + (0 + 25) / 4)
    assert_near(gradient(loss, real), torch.tensor([-1.0, 0.0, 4.0]) / 3)
    assert_near(gradient(loss, fake), torch.tensor([0.0, 5.0]) / 2)
    loss = least_squares_generator_loss(fake, target=3.0)
    assert_near(loss, (16 + 1) / 4)
    assert_near(gradient(loss, fake), torch.tensor([-4.0, 1.0]) / 2)


def test_least_squares_targets_default_to_the_coding_by_0_and_1() -> None:
    zeros, ones = torch.zeros(3), torch.ones(3)
    assert_near(least_squares_discriminator_loss(ones, zeros), 0.0)
    assert_near(least_squares_discriminator_loss(zeros, ones), 1.0)
    assert_near(least_squares_generator_loss(ones), 0.0)


def test_hinge_losses() -> None:
    real, fake = leaf([-2.0, 0.0, 0.5, 3.0]), leaf([-4.0, -0.5, 0.0, 2.0])
    loss = hinge_discriminator_loss(real, fake)
    assert_near(loss, (3 + 1 + 0.5 + 0) / 4 + (0 + 0.5 + 1 + 3) / 4)
    assert_near(gradient(loss, real), torch.tensor([-1.0, -1.0, -1.0, 0.0]) / 4)
    assert_near(gradient(loss, fake), torch.tensor([0.0, 1.0, 1.0, 1.0]) / 4)
    loss = hinge_generator_loss(fake)
    assert_near(loss, 2.5 / 4)
    assert_near(gradient(loss, fake), torch.full((4,), -1 / 4))


def test_cross_entropy_gradients() -> None:
    real, fake = leaf([-6.0, -0.5, 0.0, 2.0]), leaf([-6.0, 0.3, 0.0, 4.0])
    loss = minimax_discriminator_loss(real, fake)
    assert_near(gradient(loss, real), -(1 - real.sigmoid()) / 4)
    assert_near(gradient(loss, fake), fake.sigmoid() / 4)
    loss = minimax_discriminator_loss(real, fake, real_target=0.9, fake_target=0.2)
    assert_near(gradient(loss, real), (real.sigmoid() - 0.9) / 4)
    assert_near(gradient(loss, fake), (fake.sigmoid() - 0.2) / 4)
    assert_near(gradient(minimax_generator_loss(fake), fake), -fake.sigmoid() / 4)
    assert_near(gradient(non_saturating_generator_loss(fake), fake), -(1 - fake.sigmoid()) / 4)


def test_generator_learns_from_samples_that_are_rejected() -> None:
    """At logit -6 the minimax form has 1 / e^6 = 1 / 403 of this gradient."""
    fake = leaf([-6.0])
    ours = gradient(non_saturating_generator_loss(fake), fake)
    minimax = gradient(minimax_generator_loss(fake), fake)
    torch.testing.assert_close(ours / minimax, torch.tensor([math.exp(6)]), rtol=1e-4, atol=0)


def test_extreme_logits() -> None:
    real, fake = leaf([1e4, -1e4]), leaf([1e4, -1e4])
    loss = minimax_discriminator_loss(real, fake)
    assert_near(loss, 1e4)
    assert_near(gradient(loss, real), torch.tensor([0.0, -0.5]))
    assert_near(gradient(loss, fake), torch.tensor([0.5, 0.0]))
    loss = non_saturating_generator_loss(fake)
    assert_near(loss, 5e3)
    assert_near(gradient(loss, fake), torch.tensor([0.0, -0.5]))
    loss = minimax_generator_loss(fake)
    assert_near(loss, -5e3)
    assert_near(gradient(loss, fake), torch.tensor([-0.5, 0.0]))


def test_wasserstein_losses() -> None:
    real, fake = leaf([1.0, 2.0, 6.0]), leaf([-1.0, 4.0])
    loss = wasserstein_discriminator_loss(real, fake)
    assert_near(loss, 1.5 - 3)
    assert_near(gradient(loss, real), torch.full((3,), -1 / 3))
    assert_near(gradient(loss, fake), torch.full((2,), 1 / 2))
    loss = wasserstein_generator_loss(fake)
    assert_near(loss, -1.5)
    assert_near(gradient(loss, fake), torch.full((2,), -1 / 2))


def test_wasserstein_discriminator_loss_is_antisymmetric_and_ignores_a_constant() -> None:
    real, fake = torch.randn(2, 9)
    loss = wasserstein_discriminator_loss(real, fake)
    assert_near(wasserstein_discriminator_loss(fake, real), -loss)
    assert_near(wasserstein_discriminator_loss(real + 3, fake + 3), loss)


@pytest.mark.parametrize("shape", SHAPES)
def test_relativistic_losses_pair_row_by_row(shape: tuple[int, ...]) -> None:
    real, fake = 3 * torch.randn(2, *shape)
    pairs = list(zip(real.flatten().tolist(), fake.flatten().tolist(), strict=True))
    for_d = sum(math.log1p(math.exp(-(r - f))) for r, f in pairs) / len(pairs)
    for_g = sum(math.log1p(math.exp(-(f - r))) for r, f in pairs) / len(pairs)
    assert_near(relativistic_discriminator_loss(real, fake), for_d)
    assert_near(relativistic_generator_loss(real, fake), for_g)


def test_relativistic_gradients() -> None:
    real, fake = leaf([2.0, -1.0, 0.5]), leaf([-1.0, 3.0, 0.5])
    wrong = (fake - real).detach().sigmoid() / 3
    loss = relativistic_discriminator_loss(real, fake)
    assert_near(gradient(loss, real), -wrong)
    assert_near(gradient(loss, fake), wrong)
    loss = relativistic_generator_loss(real, fake)
    assert_near(gradient(loss, real), 1 / 3 - wrong)
    assert_near(gradient(loss, fake), wrong - 1 / 3)


def test_relativistic_losses_of_extreme_logits() -> None:
    real, fake = leaf([1e4, -1e4]), leaf([-1e4, 1e4])
    for loss in (
        relativistic_discriminator_loss(real, fake),
        relativistic_generator_loss(fake, real),
    ):
        assert_near(loss, 1e4)
        assert_near(gradient(loss, real), torch.tensor([0.0, -0.5]))


@pytest.mark.parametrize("loss", [relativistic_discriminator_loss, relativistic_generator_loss])
def test_relativistic_losses_ignore_a_constant_and_refuse_other_shapes(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    real, fake = torch.randn(2, 4)
    assert_near(loss(real + 5, fake + 5), loss(real, fake))
    message = "Expected 'real_logits' and 'fake_logits' to have the same shape, "
    message += r"got \(4,\) and \(4, 1\)\."
    with pytest.raises(ValueError, match=message):
        loss(real, fake[:, None])


@pytest.mark.parametrize("loss", PAIR_LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_discriminator_losses_are_means(
    loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    real, fake = torch.randn(2, *shape)
    value = loss(real, fake)
    assert value.shape == ()
    assert_near(loss(real.flatten().flip(0), fake.flatten()), value)
    assert_near(loss(real.repeat(2, *(1,) * (len(shape) - 1)), fake), value)


@pytest.mark.parametrize("loss", FAKE_LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_generator_losses_are_means(
    loss: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    fake = torch.randn(shape)
    value = loss(fake)
    assert value.shape == ()
    assert_near(loss(fake.flatten().flip(0).repeat(2)), value)


@pytest.mark.parametrize("loss", [*PAIR_LOSSES, relativistic_discriminator_loss])
def test_discriminator_losses_fall_when_real_rises_or_fake_falls(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    real, fake = torch.linspace(-0.8, 0.8, 6), torch.linspace(0.2, 1.4, 6)
    value = loss(real, fake)
    assert loss(real + 0.1, fake) < value
    assert loss(real, fake - 0.1) < value


@pytest.mark.parametrize("loss", FAKE_LOSSES)
def test_generator_losses_fall_when_fake_rises(loss: Callable[[Tensor], Tensor]) -> None:
    fake = torch.linspace(-0.8, 0.8, 6)
    assert loss(fake + 0.1) < loss(fake)
