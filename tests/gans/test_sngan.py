"""SNGAN: spectral norms by a singular value decomposition, and what becomes of given networks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_gan import SNGAN
from lightning_gan.training.batch import Batch
from tests.toys import flat, image_networks, images, labelled, sgd, toy_networks, toy_trainer

LAYERS = nn.Linear | nn.Conv2d | nn.Embedding


def _largest_singular_values(network: nn.Module) -> Tensor:
    """Of each weight as a matrix with a row per output, the effective one of evaluation mode."""
    with torch.no_grad():
        matrices = [m.weight.flatten(1) for m in network.modules() if isinstance(m, LAYERS)]
    return torch.stack([torch.linalg.svdvals(matrix)[0] for matrix in matrices])


def _networks() -> dict[str, Any]:
    return image_networks(num_classes=10, norm="none", conditioning="projection")


def test_spectral_norms_are_one_after_training(tmp_path: Path) -> None:
    networks = _networks()
    before = _largest_singular_values(networks["discriminator"])
    assert not torch.isclose(before, torch.ones_like(before), rtol=0.1).any()
    model = SNGAN(**networks, optimizer_d=sgd)
    initial = flat(model.discriminator)
    toy_trainer(tmp_path, max_steps=20).fit(model, labelled(images()))
    assert not torch.allclose(flat(model.discriminator), initial, rtol=1e-2)
    norms = _largest_singular_values(model.discriminator.eval())
    assert len(norms) == 3  # a convolution, a linear layer, an embedding
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=0.02)


def test_generator_is_not_normalised() -> None:
    networks = image_networks()
    weights = flat(networks["generator"])
    model = SNGAN(**networks)
    assert torch.equal(flat(model.generator), weights)
    assert not any("parametrizations" in name for name, _ in model.generator.named_parameters())


def test_normalised_discriminator_is_left_alone() -> None:
    networks = toy_networks()
    for layer in networks["discriminator"].modules():
        if isinstance(layer, nn.Linear):
            spectral_norm(layer)
    before = {name: value.clone() for name, value in networks["discriminator"].state_dict().items()}
    model = SNGAN(**networks)
    assert model.discriminator is networks["discriminator"]
    after = model.discriminator.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value)


def test_terms_are_hinges_of_the_normalised_discriminator() -> None:
    discriminator = nn.Linear(2, 1)
    discriminator.weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    discriminator.bias = nn.Parameter(torch.tensor([0.25]))
    model = SNGAN(nn.Linear(3, 2), discriminator, latent_dim=3)
    real, fake = torch.randn(6, 2), torch.randn(6, 2)
    slope = torch.tensor([0.6, 0.8])  # of norm 1
    real_logits, fake_logits = real @ slope + 0.25, fake @ slope + 0.25
    [d_term] = model.discriminator_loss(Batch(real), Batch(fake)).values()
    expected = (1 - real_logits).clip(min=0).mean() + (1 + fake_logits).clip(min=0).mean()
    torch.testing.assert_close(d_term, expected, rtol=1e-5, atol=1e-5)
    [g_term] = model.generator_loss(Batch(real), Batch(fake)).values()
    torch.testing.assert_close(g_term, -fake_logits.mean(), rtol=1e-5, atol=1e-5)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model = SNGAN(**_networks())
    trainer = toy_trainer(tmp_path)
    trainer.fit(model, labelled(images()))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    # New networks are normalised by the constructor, so that the names fit.
    loaded = SNGAN.load_from_checkpoint(tmp_path / "model.ckpt", **_networks())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    batch, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    outputs = [m.discriminator.eval()(batch, labels) for m in (model, loaded)]
    # A run lays convolutions out in another order, in which sums are rounded differently.
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)


def test_defaults_are_the_papers() -> None:
    model = SNGAN(**toy_networks())
    assert model.n_critic == 5
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.0, 0.9)


def test_weights_of_zeros_are_refused() -> None:
    networks = toy_networks()
    nn.init.zeros_(networks["discriminator"].head.linear.weight)
    with pytest.raises(ValueError, match=r"weight of 'head\.linear' not to be all zeros"):
        SNGAN(**networks)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"SNGAN has no argument 'label_smoothing'\. .* GAN "):
        SNGAN(**toy_networks(), label_smoothing=0.1)
    with pytest.raises(TypeError, match=r"Did you mean 'optimizer_d'\?"):
        SNGAN(**toy_networks(), optimiser_d=sgd)
