"""ProGAN with a linear critic, of which everything is known, and with networks that grow."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan import LSGAN, R3GAN, WGAN, ProGAN
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import ProGANDiscriminator, ProGANGenerator
from lightning_gan.training import R1
from lightning_gan.training.batch import Batch
from tests.toys import ToyData, flat, images, labelled, sgd, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
SLOPE = torch.tensor([[3.0, 4.0]])  # of norm 5


def _model(**options: Any) -> ProGAN:
    critic = nn.Linear(2, 1, bias=False)
    critic.weight = nn.Parameter(SLOPE.clone())
    return ProGAN(nn.Linear(3, 2), critic, latent_dim=3, **options)


def _growing(num_classes: int | None = None) -> dict[str, Any]:
    options: Any = {"image_size": 8, "image_channels": 1, "fmap_base": 16, "fmap_max": 4}
    return {
        "generator": ProGANGenerator(4, **options, num_classes=num_classes),
        "discriminator": ProGANDiscriminator(**options, num_classes=num_classes),
    }


def _grow(model: AdversarialModule, side: int, alpha: float) -> None:
    for network in (model.generator, model.discriminator):
        assert isinstance(network, ProGANGenerator | ProGANDiscriminator)
        network.grow(side, alpha)


@pytest.mark.parametrize(("target", "weight"), [(1.0, 10.0), (750.0, 10.0), (0.5, 3.0)])
def test_terms_of_a_linear_critic(target: float, weight: float) -> None:
    model = _model(gp_target=target, gp_weight=weight, drift_weight=0.2)
    distance = ((REAL - FAKE) @ SLOPE.T).mean()
    d_terms = model.discriminator_loss(Batch(REAL), Batch(FAKE))
    torch.testing.assert_close(d_terms["wasserstein"], -distance, rtol=1e-5, atol=1e-5)
    g_terms = model.generator_loss(Batch(REAL), Batch(FAKE))
    expected = -(FAKE @ SLOPE.T).mean()
    torch.testing.assert_close(g_terms["wasserstein"], expected, rtol=1e-5, atol=1e-5)
    penalties = model.penalties.of_discriminator(model, Batch(REAL), Batch(FAKE), 0, 0)
    assert set(penalties) == {"gradient_penalty", "drift"}
    slope = weight / target**2 * (5 - target) ** 2
    assert penalties["gradient_penalty"].item() == pytest.approx(slope, rel=1e-5)
    drift = 0.2 * (REAL @ SLOPE.T).square().mean()
    torch.testing.assert_close(penalties["drift"], drift, rtol=1e-5, atol=1e-5)


def test_update_is_the_closed_form(tmp_path: Path) -> None:
    """With a generator of zeros, one critic step by gradient descent is known exactly."""
    options: Any = {"gp_weight": 0.5, "gp_target": 2.0, "drift_weight": 0.1}
    model = _model(optimizer_g=sgd, optimizer_d=sgd, **options)
    for parameter in model.generator.parameters():
        nn.init.zeros_(parameter)
    toy_trainer(tmp_path, max_steps=1).fit(model, ToyData(REAL))
    gradient = -REAL.mean(dim=0) + 0.5 / 2**2 * 2 * (5 - 2) * SLOPE[0] / 5
    gradient += 0.1 * 2 * (REAL @ SLOPE.T * REAL).mean(dim=0)
    expected = SLOPE[0] - 0.05 * gradient  # the rate of tests.toys.sgd
    torch.testing.assert_close(model.discriminator.weight[0].detach(), expected)  # type: ignore[index]


def test_defaults_are_the_papers() -> None:
    model = _model(penalties=[R1()])
    assert isinstance(model, WGAN)
    assert model.n_critic == 1
    assert model.weight_clip_val_d is None
    slope, drift, r1 = model.penalties
    assert [type(p).__name__ for p in (slope, drift, r1)] == ["GradientPenalty", "Drift", "R1"]
    assert slope.weight == 10
    assert drift.weight == 1e-3
    assert getattr(slope, "target", None) == 1
    for optimizer in model.configure_optimizers()[0]:
        assert optimizer.defaults["lr"] == 1e-3
        assert optimizer.defaults["betas"] == (0.0, 0.99)
        assert optimizer.defaults["eps"] == 1e-8


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_refuses_a_target_that_divides_by_nothing(target: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected 'gp_target' to be positive, got {target}\."):
        _model(gp_target=target)


@pytest.mark.parametrize(
    "options", [{"drift_weight": -1e-3}, {"gp_weight": -1.0}, {"gp_target": float("inf")}]
)
def test_refusals(options: Any) -> None:
    with pytest.raises(ValueError, match="Expected '"):
        _model(**options)


@pytest.mark.parametrize(("side", "alpha"), [(4, 1.0), (8, 0.25), (8, 1.0)])
def test_real_images_are_what_the_networks_show(side: int, alpha: float) -> None:
    model = ProGAN(**_growing())
    _grow(model, side, alpha)
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    received = model.receive(x).samples
    low = x.reshape(3, 1, 4, 2, 4, 2).mean(dim=(3, 5))
    expected = low if side == 4 else (1 - alpha) * torch.kron(low, torch.ones(2, 2)) + alpha * x
    torch.testing.assert_close(received, expected, rtol=1e-5, atol=1e-6)
    assert model.sample(2).shape[2:] == received.shape[2:]


@pytest.mark.parametrize("num_classes", [None, 10])
@pytest.mark.parametrize(("side", "alpha"), [(4, 1.0), (8, 0.5), (8, 1.0)])
def test_trains_the_layers_in_use(
    tmp_path: Path, side: int, alpha: float, num_classes: int | None
) -> None:
    model = ProGAN(**_growing(num_classes))
    _grow(model, side, alpha)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    toy_trainer(tmp_path).fit(model, images() if num_classes is None else labelled(images()))
    idle = {4: ("blocks.1.", "_image.1."), 8: ("_image.0.",)}[side] if alpha == 1 else ()
    for name, weight in model.named_parameters():
        moved = not torch.equal(weight, before[name])
        assert moved == (not any(layer in name for layer in idle)), name
        assert weight.isfinite().all()


def test_optimisers_know_nothing_of_layers_not_in_use(tmp_path: Path) -> None:
    model = ProGAN(**_growing())
    _grow(model, 4, 1.0)
    trainer = toy_trainer(tmp_path)
    trainer.fit(model, images())
    networks = (model.generator, model.discriminator)
    for optimizer, network in zip(trainer.optimizers, networks, strict=True):
        idle = ("blocks.1.", "to_image.1.", "from_image.1.")
        used = [w for name, w in network.named_parameters() if not name.startswith(idle)]
        assert set(optimizer.state) == set(used)


@pytest.mark.parametrize("variant", [LSGAN, R3GAN])
@pytest.mark.parametrize(("side", "alpha"), [(4, 1.0), (8, 0.5)])
def test_networks_grow_with_other_losses(
    tmp_path: Path, variant: type[AdversarialModule], side: int, alpha: float
) -> None:
    model = variant(**_growing())
    _grow(model, side, alpha)
    before: Tensor = flat(model)
    toy_trainer(tmp_path, max_steps=1).fit(model, images())
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model), before)
