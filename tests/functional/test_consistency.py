from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_gan.functional import consistency_penalty, feature_matching_loss, latent_diversity

SHAPES = [(5,), (5, 1), (5, 1, 3, 2)]


def assert_near(actual: Tensor, expected: Tensor | float) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def gradient(value: Tensor, by: Tensor) -> Tensor:
    return torch.autograd.grad(value, by, retain_graph=True)[0]


@pytest.mark.parametrize("shape", [(3,), (3, 2, 4)])
def test_feature_matching_is_the_squared_norm_of_the_difference_of_means(
    shape: tuple[int, ...],
) -> None:
    real, fake = torch.randn(6, *shape), 2 * torch.randn(9, *shape) + 1
    difference = np.mean(real.numpy(), axis=0) - np.mean(fake.numpy(), axis=0)
    expected = float(np.linalg.norm(difference.ravel()) ** 2)
    value = feature_matching_loss(real, fake)
    assert value.shape == ()
    assert_near(value, expected)


def test_feature_matching_gradient() -> None:
    """Each of M generated rows has the gradient -2 (mean_real - mean_fake) / M."""
    real, fake = torch.randn(6, 3), torch.randn(4, 3, requires_grad=True)
    value = feature_matching_loss(real, fake)
    expected = -2 / 4 * (real.mean(0) - fake.detach().mean(0))
    assert_near(gradient(value, fake), expected.expand(4, 3))


def test_feature_matching_sees_means_alone() -> None:
    real = torch.randn(6, 3)
    spread = real.mean(0) + torch.tensor([[5.0], [-5.0]])
    assert_near(feature_matching_loss(real, spread), 0.0)


def test_feature_matching_of_half_precision_is_not_lost_in_rounding() -> None:
    """Means 100 and 100.125 are one number in bfloat16, whose spacing there is 0.5."""
    real = torch.full((8, 1), 100.0, dtype=torch.bfloat16)
    fake = torch.tensor([100.0] * 6 + [100.5] * 2, dtype=torch.bfloat16)[:, None].requires_grad_()
    value = feature_matching_loss(real, fake)
    assert value.dtype == torch.float32
    assert_near(value, 1 / 64)
    assert_near(gradient(value, fake), torch.full((8, 1), 2 / 8 / 8, dtype=torch.bfloat16))


def test_feature_matching_keeps_double_precision() -> None:
    real, fake = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    assert feature_matching_loss(real, fake).dtype == torch.float64


def test_feature_matching_refuses_other_features() -> None:
    message = r"'real_features' and 'fake_features' to have the same shape, got \(1,\) and \(3,\)\."
    with pytest.raises(ValueError, match=message):
        feature_matching_loss(torch.zeros(4, 1), torch.zeros(4, 3))


@pytest.mark.parametrize("shape", SHAPES)
def test_consistency_penalty_is_the_mean_squared_difference(shape: tuple[int, ...]) -> None:
    logits, augmented = torch.randn(2, *shape)
    pairs = zip(logits.flatten().tolist(), augmented.flatten().tolist(), strict=True)
    expected = sum((a - b) ** 2 for a, b in pairs) / logits.numel()
    assert_near(consistency_penalty(logits, augmented), expected)


def test_consistency_penalty_has_a_gradient_by_both() -> None:
    logits = torch.tensor([1.0, -2.0], requires_grad=True)
    augmented = torch.tensor([4.0, -2.0], requires_grad=True)
    value = consistency_penalty(logits, augmented)
    assert_near(value, 4.5)
    assert_near(gradient(value, logits), torch.tensor([-3.0, 0.0]))
    assert_near(gradient(value, augmented), torch.tensor([3.0, 0.0]))


def test_consistency_penalty_of_a_linear_critic() -> None:
    """For T(x) = x + e the penalty is E[(w.e)^2] and has the gradient 2 E[e e'] w."""
    w = torch.randn(3, requires_grad=True)
    x, moves = torch.randn(2, 8, 3)
    value = consistency_penalty(x @ w, (x + moves) @ w)
    assert_near(gradient(value, w), 2 * (moves.T @ moves / 8) @ w.detach())


def test_consistency_penalty_makes_a_critic_blind_to_the_augmentation() -> None:
    critic, x = nn.Linear(2, 1), torch.randn(64, 2)
    mirrored = x * torch.tensor([-1.0, 1.0])
    descent = torch.optim.SGD(critic.parameters(), lr=0.1)
    kept = critic.weight.detach()[0, 1].clone()
    for _ in range(60):
        descent.zero_grad()
        consistency_penalty(critic(x), critic(mirrored)).backward()
        descent.step()
    assert_near(critic.weight.detach()[0], torch.stack([torch.tensor(0.0), kept]))


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 2, 2)])
def test_latent_diversity_is_the_negative_mean_over_pixels(shape: tuple[int, ...]) -> None:
    samples, moved = torch.randn(2, *shape)
    expected = -np.mean((samples.numpy() - moved.numpy()) ** 2)
    assert_near(latent_diversity(samples, moved), float(expected))


def test_latent_diversity_does_not_grow_with_the_image() -> None:
    samples, moved = torch.randn(2, 4, 3, 2, 2)
    larger = [x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (samples, moved)]
    assert_near(latent_diversity(*larger), latent_diversity(samples, moved))


def test_latent_diversity_of_a_linear_generator() -> None:
    """For G(z) = Az in D dimensions the gradient by A is -2 A E[e e'] / D: A grows."""
    a = torch.randn(4, 3, requires_grad=True)
    z, moves = torch.randn(2, 16, 3)
    value = latent_diversity(z @ a.T, (z + moves) @ a.T)
    assert_near(gradient(value, a), -2 / 4 * a.detach() @ (moves.T @ moves / 16))


def test_latent_diversity_is_bounded_for_images() -> None:
    black = -torch.ones(2, 3, 4, 4)
    assert_near(latent_diversity(black, -black), -4.0)
    assert_near(latent_diversity(black, black), 0.0)


@pytest.mark.parametrize(
    ("distance", "names"),
    [
        (consistency_penalty, "'logits' and 'augmented_logits'"),
        (latent_diversity, "'samples' and 'moved_samples'"),
    ],
)
def test_different_shapes_are_refused(
    distance: Callable[[Tensor, Tensor], Tensor], names: str
) -> None:
    message = rf"Expected {names} to have the same shape, got \(4, 1\) and \(4,\)\."
    with pytest.raises(ValueError, match=message):
        distance(torch.zeros(4, 1), torch.zeros(4))
