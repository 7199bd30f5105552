import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_gan.functional import (
    non_saturating_discriminator_loss,
    non_saturating_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)

SHAPES = [(7,), (7, 1), (3, 1, 2, 2)]
PAIR_LOSSES = [non_saturating_discriminator_loss, wasserstein_discriminator_loss]
FAKE_LOSSES = [non_saturating_generator_loss, wasserstein_generator_loss]


def assert_near(actual: Tensor, expected: Tensor | float) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def leaf(values: list[float]) -> Tensor:
    return torch.tensor(values, requires_grad=True)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_non_saturating_losses_are_cross_entropies(shape: tuple[int, ...]) -> None:
    real, fake = 3 * torch.randn(2, *shape)
    ones, zeros = torch.ones(shape), torch.zeros(shape)
    expected = binary_cross_entropy_with_logits(real, ones)
    expected = expected + binary_cross_entropy_with_logits(fake, zeros)
    assert_near(non_saturating_discriminator_loss(real, fake), expected)
    assert_near(non_saturating_generator_loss(fake), binary_cross_entropy_with_logits(fake, ones))


def test_non_saturating_losses_where_nothing_is_known() -> None:
    zeros = torch.zeros(5)
    assert_near(non_saturating_discriminator_loss(zeros, zeros), math.log(4))
    assert_near(non_saturating_generator_loss(zeros), math.log(2))


def test_optimal_discriminator_reaches_the_jensen_shannon_bound() -> None:
    """With D = p / (p + q) the loss is log 4 - 2 JSD(p, q), here for two coins."""
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.3, 0.7])
    best = (p / q).log()
    tosses = 1000
    real = best.repeat_interleave((p * tosses).round().long())
    fake = best.repeat_interleave((q * tosses).round().long())
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    torch.testing.assert_close(
        non_saturating_discriminator_loss(real, fake),
        math.log(4) - 2 * divergence,
        rtol=1e-5,
        atol=1e-5,
    )


def test_non_saturating_gradients() -> None:
    real, fake = leaf([-6.0, -0.5, 0.0, 2.0]), leaf([-6.0, 0.3, 0.0, 4.0])
    loss = non_saturating_discriminator_loss(real, fake)
    assert_near(gradient(loss, real), -(1 - real.sigmoid()) / 4)
    assert_near(gradient(loss, fake), fake.sigmoid() / 4)
    loss = non_saturating_generator_loss(fake)
    assert_near(gradient(loss, fake), -(1 - fake.sigmoid()) / 4)


def test_generator_learns_from_samples_that_are_rejected() -> None:
    """At logit -6 the minimax form has 1 / e^6 = 1 / 403 of this gradient."""
    fake = leaf([-6.0])
    ours = gradient(non_saturating_generator_loss(fake), fake)
    minimax = gradient((1 - fake.sigmoid()).log().mean(), fake)
    torch.testing.assert_close(ours / minimax, torch.tensor([math.exp(6)]), rtol=1e-4, atol=0)


def test_extreme_logits() -> None:
    real, fake = leaf([1e4, -1e4]), leaf([1e4, -1e4])
    loss = non_saturating_discriminator_loss(real, fake)
    assert_near(loss, 1e4)
    assert_near(gradient(loss, real), torch.tensor([0.0, -0.5]))
    assert_near(gradient(loss, fake), torch.tensor([0.5, 0.0]))
    loss = non_saturating_generator_loss(fake)
    assert_near(loss, 5e3)
    assert_near(gradient(loss, fake), torch.tensor([0.0, -0.5]))


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


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_discriminator_losses_fall_when_real_rises_or_fake_falls(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    real, fake = torch.randn(2, 6)
    value = loss(real, fake)
    assert loss(real + 0.1, fake) < value
    assert loss(real, fake - 0.1) < value


@pytest.mark.parametrize("loss", FAKE_LOSSES)
def test_generator_losses_fall_when_fake_rises(loss: Callable[[Tensor], Tensor]) -> None:
    fake = torch.randn(6)
    assert loss(fake + 0.1) < loss(fake)
