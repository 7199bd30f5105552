"""The Dirac-GAN: our losses and penalties have the vector fields and eigenvalues of theory."""

import cmath
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from lightning_gan import GAN, LSGAN, WGAN, WGANGP
from lightning_gan.functional import (
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
    zero_centered_gradient_penalty,
)
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import DiracDiscriminator, DiracGenerator
from tests.toys import ToyData, toy_trainer

Losses = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]

MINIMAX: Losses = minimax_discriminator_loss, minimax_generator_loss
NON_SATURATING: Losses = minimax_discriminator_loss, non_saturating_generator_loss
WASSERSTEIN: Losses = wasserstein_discriminator_loss, wasserstein_generator_loss

GENERATOR, DISCRIMINATOR = DiracGenerator().double(), DiracDiscriminator().double()
REAL = torch.zeros(3, 1, dtype=torch.float64)


def field(place: Tensor, losses: Losses, r1: float = 0.0, r2: float = 0.0) -> Tensor:
    """Return where gradient descent of both moves (theta, psi): minus each one's own gradient."""
    loss_d, loss_g = losses
    theta, psi = place.split(1)
    fake: Tensor = functional_call(GENERATOR, {"theta": theta}, REAL)

    def logits(samples: Tensor) -> Tensor:
        judged: Tensor = functional_call(DISCRIMINATOR, {"psi": psi}, samples)
        return judged

    value_d = loss_d(logits(REAL), logits(fake))
    for weight, samples in ((r1, REAL), (r2, fake)):
        if weight > 0:
            value_d = value_d + weight * zero_centered_gradient_penalty(logits, samples)
    (of_theta,) = torch.autograd.grad(loss_g(logits(fake)), theta, create_graph=True)
    (of_psi,) = torch.autograd.grad(value_d, psi, create_graph=True)
    return -torch.cat([of_theta, of_psi])


# With our sign, by which large logits mean real, psi is minus that of the paper.
@pytest.mark.parametrize(
    ("losses", "slope_g", "slope_d"),
    [
        (MINIMAX, torch.sigmoid, torch.sigmoid),
        (NON_SATURATING, lambda s: torch.sigmoid(-s), torch.sigmoid),
        (WASSERSTEIN, torch.ones_like, torch.ones_like),
    ],
)
@pytest.mark.parametrize(("r1", "r2"), [(0.0, 0.0), (0.3, 0.0), (0.3, 1.0)])
def test_vector_field(
    losses: Losses,
    slope_g: Callable[[Tensor], Tensor],
    slope_d: Callable[[Tensor], Tensor],
    r1: float,
    r2: float,
) -> None:
    for theta, psi in ((1.0, 1.0), (-0.7, 2.0), (0.3, -1.5), (0.0, 0.4)):
        place = torch.tensor([theta, psi], dtype=torch.float64, requires_grad=True)
        logit = torch.tensor(theta * psi, dtype=torch.float64)
        expected = torch.stack([psi * slope_g(logit), -theta * slope_d(logit) - (r1 + r2) * psi])
        torch.testing.assert_close(field(place, losses, r1, r2), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("losses", "slope"), [(MINIMAX, 0.5), (NON_SATURATING, 0.5), (WASSERSTEIN, 1.0)]
)
@pytest.mark.parametrize(
    ("r1", "r2"), [(0, 0), (0.3, 0), (1, 0), (2, 0), (0, 0.3), (0.3, 0.3), (0.5, 0.5)]
)
def test_eigenvalues_at_the_equilibrium(losses: Losses, slope: float, r1: float, r2: float) -> None:
    jacobian = torch.autograd.functional.jacobian(
        lambda place: field(place, losses, r1, r2), torch.zeros(2, dtype=torch.float64)
    )
    gamma = r1 + r2
    root = cmath.sqrt(gamma**2 / 4 - slope**2)
    assert_eigenvalues(jacobian, -gamma / 2 + root, -gamma / 2 - root)


@pytest.mark.parametrize(
    ("losses", "gammas", "expected"),
    [
        (MINIMAX, (0.0, 0.0), (0.5j, -0.5j)),
        (WASSERSTEIN, (0.0, 0.0), (1j, -1j)),
        (NON_SATURATING, (0.3, 0.0), (-0.15 + 0.4769696j, -0.15 - 0.4769696j)),
        (MINIMAX, (2.0, 0.0), (-0.1339746, -1.8660254)),
        (MINIMAX, (0.3, 0.3), (-0.3 + 0.4j, -0.3 - 0.4j)),
    ],
)
def test_eigenvalues_in_numbers(
    losses: Losses, gammas: tuple[float, float], expected: tuple[complex, complex]
) -> None:
    jacobian = torch.autograd.functional.jacobian(
        lambda place: field(place, losses, *gammas), torch.zeros(2, dtype=torch.float64)
    )
    assert_eigenvalues(jacobian, *expected)


def assert_eigenvalues(jacobian: Tensor, *expected: complex) -> None:
    """Compare as sets."""
    found = torch.linalg.eigvals(jacobian).tolist()
    for value in expected:
        assert min(abs(value - other) for other in found) < 1e-6
    for value in found:
        assert min(abs(value - other) for other in expected) < 1e-6


def test_all_latents_give_one_point() -> None:
    generator = DiracGenerator(0.25)
    samples = generator(torch.randn(5, generator.latent_dim))
    assert samples.shape == (5, *generator.sample_shape)
    assert (samples == 0.25).all()
    (gradient,) = torch.autograd.grad(samples.sum(), generator.theta)
    assert gradient.item() == 5


def test_discriminator_is_a_line_through_the_origin() -> None:
    x = torch.linspace(-2, 2, 5).unsqueeze(1)
    logits = DiracDiscriminator(-1.5)(x)
    torch.testing.assert_close(logits, torch.tensor([3.0, 1.5, 0.0, -1.5, -3.0]), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 1, 8, 8)])
def test_other_samples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected samples of the shape \(N, 1\), got \(4,"):
        DiracDiscriminator()(torch.zeros(shape))


@pytest.mark.parametrize("variant", [GAN, LSGAN, WGAN, WGANGP])
def test_is_trained_like_any_network(variant: type[AdversarialModule], tmp_path: Path) -> None:
    model = variant(DiracGenerator(0.5), DiracDiscriminator(-0.5))
    trainer = toy_trainer(tmp_path, max_steps=3)
    trainer.fit(model, ToyData(*torch.zeros(3, 10, 1)))
    assert isinstance(model.generator, DiracGenerator)
    assert model.generator.theta.item() != 0.5
    assert model.sample(4).shape == (4, 1)
