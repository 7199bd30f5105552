import pytest
import torch
from torch import Tensor

from lightning_gan.functional import lecam_penalty, wasserstein_discriminator_loss

COINS = torch.tensor([0.9, 0.1]), torch.tensor([0.3, 0.7])


def assert_near(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-5) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def gradient(value: Tensor, by: Tensor) -> Tensor:
    return torch.autograd.grad(value, by, retain_graph=True)[0]


def tosses(values: Tensor, probabilities: Tensor) -> Tensor:
    """Return each side's value as often as the coin shows it in 1000 tosses."""
    return values.repeat_interleave((1000 * probabilities).round().long())


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 2, 3)])
def test_is_the_sum_of_two_mean_squares(shape: tuple[int, ...]) -> None:
    real, fake = torch.randn(2, *shape)
    expected = sum((d - -0.3) ** 2 for d in real.flatten().tolist()) / real.numel()
    expected += sum((d - 0.8) ** 2 for d in fake.flatten().tolist()) / fake.numel()
    assert_near(lecam_penalty(real, fake, real_anchor=0.8, fake_anchor=-0.3), expected)


def test_gradients() -> None:
    real = torch.tensor([2.0, -1.0], requires_grad=True)
    fake = torch.tensor([-2.0, 0.5, 3.0, 1.0], requires_grad=True)
    value = lecam_penalty(real, fake, torch.tensor(1.0), torch.tensor(-0.5))
    assert_near(value, (6.25 + 0.25) / 2 + (9 + 0.25 + 4 + 0) / 4)
    assert_near(gradient(value, real), torch.tensor([2.5, -0.5]))
    assert_near(gradient(value, fake), torch.tensor([-3.0, -0.5, 2.0, 0.0]) / 2)


def test_one_sided() -> None:
    """Real logits below and generated ones above the other kind's anchor are free."""
    real = torch.tensor([2.0, -1.0], requires_grad=True)
    fake = torch.tensor([-2.0, 0.5, 3.0, 1.0], requires_grad=True)
    value = lecam_penalty(real, fake, 1.0, -0.5, one_sided=True)
    assert_near(value, 6.25 / 2 + (9 + 0.25) / 4)
    assert_near(gradient(value, real), torch.tensor([2.5, 0.0]))
    assert_near(gradient(value, fake), torch.tensor([-3.0, -0.5, 0.0, 0.0]) / 2)


@pytest.mark.parametrize("one_sided", [False, True])
def test_costs_nothing_at_the_other_anchor(one_sided: bool) -> None:
    real, fake = torch.full((3,), -0.7), torch.full((2,), 1.2)
    assert_near(lecam_penalty(real, fake, 1.2, -0.7, one_sided=one_sided), 0.0)
    assert lecam_penalty(real + 1, fake, 1.2, -0.7, one_sided=one_sided) > 0.9
    assert lecam_penalty(real, fake - 1, 1.2, -0.7, one_sided=one_sided) > 0.9


@pytest.mark.parametrize(("weight", "anchor"), [(0.3, 0.5), (1.0, 0.2)])
def test_wasserstein_with_the_penalty_measures_the_lecam_divergence(
    weight: float, anchor: float
) -> None:
    """At anchors of +-a the best D is c (p - q) / (p + q) with c = 1 / (2 w) - a (proposition 1).

    There the discriminator's gain is w c^2 LC - 2 w a^2, LC being the LeCam divergence.
    """
    p, q = COINS
    c = 1 / (2 * weight) - anchor
    best = (c * (p - q) / (p + q)).requires_grad_()
    real, fake = tosses(best, p), tosses(best, q)
    loss = wasserstein_discriminator_loss(real, fake)
    loss = loss + weight * lecam_penalty(real, fake, anchor, -anchor)
    divergence = ((p - q).square() / (p + q)).sum()
    assert_near(loss, 2 * weight * anchor**2 - weight * c**2 * divergence)
    assert_near(gradient(loss, best), torch.zeros(2))


def test_keeps_the_precision_of_the_logits() -> None:
    logits = torch.ones(3, dtype=torch.float64)
    anchor = torch.tensor(0.5)
    assert lecam_penalty(logits, logits, anchor, anchor).dtype == torch.float64
