import cmath
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from lightning_gan import CGAN, GAN, R3GAN, SNGAN, WGAN, WGANGP
from lightning_gan.diagnostics.jacobian import (
    Spectrum,
    arnoldi,
    game_eigenvalues,
    game_jacobian,
)
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import (
    DiracDiscriminator,
    DiracGenerator,
    MLPDiscriminator,
    MLPGenerator,
)
from lightning_gan.training import (
    R1,
    R2,
    ConsensusOptimization,
    FeatureMatching,
    GradientPenalty,
    InstanceNoise,
    LatentConsistency,
)
from lightning_gan.training.batch import Batch
from tests.toys import image_networks

ZEROS = torch.zeros(4, 1, dtype=torch.float64)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Draw random numbers as a training in double precision does: the games' weights are so."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def dirac(variant: type[AdversarialModule], psi: float = 0.0, **options: Any) -> AdversarialModule:
    return variant(DiracGenerator(0.0), DiracDiscriminator(psi), **options).double()


def minimax(*penalties: Any) -> AdversarialModule:
    return dirac(GAN, generator_objective="minimax", penalties=penalties)


def pair(damping: float, slope: float) -> tuple[complex, complex]:
    root = cmath.sqrt(damping**2 / 4 - slope**2)
    return -damping / 2 + root, -damping / 2 - root


# Mescheder et al. (2018), each re-derived: the damping is the discriminator's, the slope f'(0).
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (minimax(), (0.5j, -0.5j)),
        (dirac(GAN), (0.5j, -0.5j)),
        (dirac(WGAN), (1j, -1j)),
        (minimax(R1(0.3)), (-0.15 + 0.4769696j, -0.15 - 0.4769696j)),
        (minimax(R2(0.3)), pair(0.3, 0.5)),
        (minimax(R1(1.0)), (-0.5, -0.5)),
        (minimax(R1(2.0)), (-0.1339746, -1.8660254)),
        (minimax(R1(2.0, interval=16)), (-0.1339746, -1.8660254)),
        (dirac(R3GAN, gamma=0.3), (-0.3 + 0.4j, -0.3 - 0.4j)),
        (minimax(ConsensusOptimization(1.0)), (-0.25 + 0.5j, -0.25 - 0.5j)),
        # Beside the equilibrium, because the norm of the slope has no derivative there.
        (dirac(WGAN, 1e-9, penalties=[GradientPenalty(0.15, target=0.0)]), pair(0.3, 1.0)),
        (minimax(R1(0.3), R2(0.7)), (-0.5, -0.5)),
    ],
)
def test_dirac_gan_has_the_eigenvalues_of_theory(
    model: AdversarialModule, expected: tuple[complex, complex]
) -> None:
    found = game_eigenvalues(model, Batch(ZEROS), ZEROS)
    reals, imags = found.values.real.sort()[0], found.values.imag.sort()[0]
    wanted = torch.tensor(expected, dtype=torch.complex128)
    torch.testing.assert_close(reals, wanted.real.sort()[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(imags, wanted.imag.sort()[0], rtol=0, atol=1e-6)
    assert found.residuals.tolist() == [0, 0]
    assert found.largest_real == pytest.approx(
        max(e.real for e in map(complex, expected)), abs=1e-6
    )


def test_instance_noise_damps_by_its_variance() -> None:
    std, zeros = 0.7, torch.zeros(40_000, 1, dtype=torch.float64)
    model = dirac(GAN, generator_objective="minimax", augmentation=InstanceNoise(std))
    found = game_eigenvalues(model, Batch(zeros), zeros)
    assert found.largest_real == pytest.approx(-(std**2) / 4, rel=0.03)
    assert found.rotation == pytest.approx(0.48476 / 0.1225, rel=0.03)


class Vector(nn.Module):
    """Generate the same point for every latent."""

    latent_dim, sample_shape = 1, (3,)

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(3))

    def forward(self, z: Tensor) -> Tensor:
        return self.point.repeat(len(z), 1)


class Form(nn.Module):
    """The critic x^T A psi."""

    num_outputs = 1
    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.slope = nn.Parameter(torch.randn(matrix.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        judged: Tensor = x @ self.matrix @ self.slope
        return judged


@pytest.mark.parametrize("exact_up_to", [500, 0])
def test_bilinear_game_turns_as_fast_as_its_singular_values(exact_up_to: int) -> None:
    matrix = torch.randn(3, 4)
    model = WGAN(Vector(), Form(matrix)).double()
    latents = torch.zeros(4, 1, dtype=torch.float64)
    real = Batch(torch.randn(4, 3, dtype=torch.float64))
    found = game_eigenvalues(model, real, latents, exact_up_to=exact_up_to)
    speeds = torch.linalg.svdvals(matrix.double())
    expected = torch.cat([-speeds, torch.zeros(1), speeds]).sort()[0].double()
    torch.testing.assert_close(found.values.imag.sort()[0], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.values.real, torch.zeros(7).double(), rtol=0, atol=1e-9)


def tanh_game(variant: Any = GAN, hidden: int = 2, **options: Any) -> AdversarialModule:
    def smooth(network: Any) -> None:
        for i, layer in enumerate(network):
            if isinstance(layer, nn.ReLU | nn.LeakyReLU):
                network[i] = nn.Tanh()

    generator, discriminator = MLPGenerator(2, (2,), (hidden,)), MLPDiscriminator((2,), (hidden,))
    smooth(generator.layers)
    smooth(discriminator.layers)
    model: AdversarialModule = variant(generator, discriminator, **options)
    return model.double()


def sample(n: int = 6) -> tuple[Batch, Tensor]:
    return Batch(torch.randn(n, 2).double()), torch.randn(n, 2).double()


def descent(model: AdversarialModule, real: Batch, latents: Tensor) -> Tensor:
    """Return minus both gradients as the training computes them: each for itself."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    torch.manual_seed(1)
    with model.rehearsal():
        terms = model.generator_terms(real, model.regenerate(latents, None), 0)
        of_g = torch.autograd.grad(
            torch.stack([*terms.values()]).sum(), [*model.generator.parameters()]
        )
        with torch.no_grad():
            fake = model.regenerate(latents, None)
        terms = model.discriminator_terms(real, fake, 0)
        of_d = torch.autograd.grad(
            torch.stack([*terms.values()]).sum(), [*model.discriminator.parameters()]
        )
    for name, buffer in model.named_buffers():
        buffer.copy_(kept[name])
    return -torch.cat([g.flatten() for g in (*of_g, *of_d)])


def by_differences(model: AdversarialModule, real: Batch, latents: Tensor) -> Tensor:
    columns = []
    for weight in (*model.generator.parameters(), *model.discriminator.parameters()):
        for i in range(weight.numel()):
            sides = []
            for step in (1e-6, -1e-6):
                weight.data.view(-1)[i] += step
                sides.append(descent(model, real, latents))
                weight.data.view(-1)[i] -= step
            columns.append((sides[0] - sides[1]) / 2e-6)
    return torch.stack(columns, dim=1)


def hiding_game() -> AdversarialModule:
    """Return a game whose losses keep much out of their own gradients, and draw random numbers."""
    penalties = [R2(1.0), FeatureMatching(1.0), LatentConsistency(50.0, std=0.5)]
    return tanh_game(penalties=penalties, augmentation=InstanceNoise(0.5), top_k=0.5)


GAMES: dict[str, Callable[[], AdversarialModule]] = {
    "GAN": tanh_game,
    "R3GAN": lambda: tanh_game(R3GAN, gamma=0.5),
    "WGAN-GP": lambda: tanh_game(WGANGP),
    "hiding": hiding_game,
    "consensus": lambda: tanh_game(penalties=[ConsensusOptimization(1.0)]),
}


@pytest.mark.parametrize("name", GAMES)
def test_jacobian_is_that_of_finite_differences(name: str) -> None:
    model = GAMES[name]()
    real, latents = sample()
    expected = by_differences(model, real, latents)
    torch.manual_seed(1)
    found = game_jacobian(model, real, latents)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_eigenvalues_are_those_of_finite_differences() -> None:
    model = tanh_game(R3GAN, gamma=0.5)
    real, latents = sample()
    values = game_eigenvalues(model, real, latents).values.numpy()
    wanted = np.linalg.eigvals(by_differences(model, real, latents).numpy())
    outermost = wanted[np.argsort(-np.abs(wanted))]
    np.testing.assert_allclose(np.abs(values[:6]), np.abs(outermost[:6]), rtol=1e-6)
    assert np.abs(values[:6, None] - wanted).min(axis=1).max() < 1e-6


def test_spectral_normalisation_counts_its_vectors_as_constant() -> None:
    model = tanh_game(SNGAN)
    real, latents = sample()
    found = game_jacobian(model, real, latents)
    for module in model.modules():
        if isinstance(module, ParametrizationList):
            module.eval()
    expected = by_differences(model, real, latents)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_packs_and_classes() -> None:
    networks = MLPGenerator(2, (2,), (2,)), MLPDiscriminator((4,), (2,))
    packed = WGAN(*networks, packing=2, weight_clip_val_d=None).double()
    real, latents = sample(4)
    jacobian = game_jacobian(packed, real, latents)
    size = sum(p.numel() for p in networks[0].parameters())
    cross, back = jacobian[:size, size:], jacobian[size:, :size]
    torch.testing.assert_close(cross, -back.T, rtol=0, atol=1e-12)  # of a zero-sum game
    assert cross.abs().max() > 1e-3
    conditional = CGAN(
        MLPGenerator(2, (2,), (2,), num_classes=2), MLPDiscriminator((2,), (2,), num_classes=2)
    ).double()
    one, other = (
        game_jacobian(conditional, real._replace(labels=torch.tensor(labels)), latents)
        for labels in ([0, 0, 0, 0], [1, 1, 1, 1])
    )
    assert (one - other).abs().max() > 1e-3


def test_arnoldi_finds_the_outermost_first() -> None:
    model = tanh_game(hidden=20)
    real, latents = sample(16)
    exact = game_eigenvalues(model, real, latents)
    assert len(exact.values) == 183
    found = game_eigenvalues(model, real, latents, k=40, exact_up_to=182)
    assert len(found.values) == 40
    assert (found.residuals[:4] < 1e-6).all()
    expected = exact.values[:4]
    errors = (found.values[:4, None] - expected).abs()
    assert errors.min(dim=0).values.max() < 1e-6
    assert errors.min(dim=1).values.max() < 1e-6
    modulus = found.values.abs()
    assert (modulus[:-1] >= modulus[1:]).all()


def test_residuals_are_those_of_the_ritz_vectors() -> None:
    matrix = torch.randn(30, 30, dtype=torch.float64)
    start = torch.randn(30, dtype=torch.float64)
    found = arnoldi(lambda v: matrix @ v, start, 8)
    krylov = [start]
    for _ in range(7):
        krylov.append(matrix @ krylov[-1])
    basis, _ = np.linalg.qr(torch.stack(krylov, dim=1).numpy())
    values, mixtures = np.linalg.eig(basis.T @ matrix.numpy() @ basis)
    vectors = basis @ mixtures
    residuals = np.linalg.norm(matrix.numpy() @ vectors - values * vectors, axis=0)
    order = np.argsort(-np.abs(values))
    np.testing.assert_allclose(found.values.abs(), np.abs(values[order]), rtol=1e-6)
    np.testing.assert_allclose(found.residuals, residuals[order], rtol=1e-4)


def test_arnoldi_ends_where_there_is_no_more() -> None:
    found = arnoldi(lambda v: v * torch.tensor([3.0, -2.0, -2.0, -2.0]), torch.ones(4), 4)
    torch.testing.assert_close(found.values.real, torch.tensor([3.0, -2.0]).double())
    assert found.residuals.tolist() == [0, 0]


def test_what_a_spectrum_says() -> None:
    values = torch.tensor([-3.0 + 4.0j, -3.0 - 4.0j, 0.5 + 0j])
    found = Spectrum(values, torch.tensor([0.0, 0.0, 0.2]))
    assert found.largest_real == 0.5
    assert found.rotation == pytest.approx(4 / 3)
    assert found.within(0.01).largest_real == -3
    assert found.within(0.05).largest_real == 0.5
    still = Spectrum(torch.tensor([-1.0 + 0j, 0j]), torch.zeros(2))
    assert still.rotation == 0
    assert Spectrum(torch.tensor([1j, -1j]), torch.zeros(2)).rotation == float("inf")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("exact_up_to", [500, 0])
def test_a_game_that_is_not_finite_has_an_undefined_spectrum(
    exact_up_to: int, value: float
) -> None:
    model = tanh_game()
    next(model.discriminator.parameters()).data[0, 0] = value
    spectrum = game_eigenvalues(model, *sample(), exact_up_to=exact_up_to)
    assert spectrum.values.isnan().all()
    assert len(spectrum.within().values) == 0


def test_leaves_no_trace() -> None:
    model = SNGAN(**image_networks(norm="none"), penalties=[R1(1.0, interval=4)])
    model.discriminator.eval()
    model.generator.requires_grad_(True)
    next(model.generator.parameters()).grad = torch.ones_like(next(model.generator.parameters()))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    with torch.inference_mode():
        real, latents = Batch(torch.rand(6, 1, 8, 8)), torch.zeros(6, 4)
        torch.set_rng_state(state)
        found = game_eigenvalues(model, real, latents, k=3, exact_up_to=0)
        again = game_eigenvalues(model, real, latents, k=3, exact_up_to=0)
    assert torch.equal(found.values, again.values)
    assert torch.equal(torch.get_rng_state(), state)
    for name, x in model.state_dict().items():
        assert torch.equal(x, before[name]), name
    assert [module.training for module in model.modules()] == modes
    first, *others = [p.grad for p in model.parameters()]
    assert first is not None
    assert (first == 1).all()
    assert all(gradient is None for gradient in others)
    assert all(p.requires_grad for p in model.parameters())
    assert model.penalties.all()[0].interval == 4


def test_refuses() -> None:
    model = tanh_game(hidden=60)
    real, latents = sample()
    with pytest.raises(ValueError, match=r"at most 500 trained weights, got 543; 'game_eigen"):
        game_jacobian(model, real, latents)
    with pytest.raises(ValueError, match=r"Expected 'k' to be at least 1, got 0"):
        game_eigenvalues(model, real, latents, k=0)
    with pytest.raises(ValueError, match=r"Expected 'latents' to be \(6, 2\).*got \(5, 2\)"):
        game_eigenvalues(model, real, latents[:5])
    unrolled = tanh_game(unrolled_steps=3)
    with pytest.raises(ValueError, match="got unrolled_steps=3"):
        game_eigenvalues(unrolled, real, latents)
