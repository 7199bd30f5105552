"""SAGAN: spectral norms of both networks by a singular value decomposition."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_gan import SAGAN
from lightning_gan.layers import attention_maps
from lightning_gan.networks import DCGANDiscriminator, DCGANGenerator
from lightning_gan.training.batch import Batch
from tests.toys import images, sgd, toy_networks, toy_trainer


def _networks() -> dict[str, Any]:
    sizes: dict[str, Any] = {"image_size": 8, "image_channels": 1, "base_channels": 8}
    return {
        "generator": DCGANGenerator(latent_dim=4, attention=[4], **sizes),
        "discriminator": DCGANDiscriminator(norm="none", attention=[4], **sizes),
    }


def _largest_singular_values(network: nn.Module) -> Tensor:
    """Of each weight as a matrix with a row per output, the effective one of evaluation mode."""
    matrices = []
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.ConvTranspose2d):
                matrices.append(module.weight.transpose(0, 1).flatten(1))
            elif isinstance(module, nn.Linear | nn.Conv2d):
                matrices.append(module.weight.flatten(1))
    return torch.stack([torch.linalg.svdvals(matrix)[0] for matrix in matrices])


def test_spectral_norms_of_both_are_one_after_training(tmp_path: Path) -> None:
    model = SAGAN(**_networks(), optimizer_g=sgd, optimizer_d=sgd)
    toy_trainer(tmp_path, max_steps=30).fit(model, images())
    for network, layers in ((model.generator, 6), (model.discriminator, 6)):
        norms = _largest_singular_values(network.eval())
        assert len(norms) == layers  # four of them the attention's
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=0.03)


def test_attention_is_learnt_and_can_be_read(tmp_path: Path) -> None:
    model = SAGAN(**_networks())
    gains = [p for name, p in model.named_parameters() if name.endswith("gamma")]
    assert [gain.item() for gain in gains] == [0, 0]
    toy_trainer(tmp_path).fit(model, images())
    assert all(gain.item() != 0 for gain in gains)
    [maps] = attention_maps(model.discriminator, torch.rand(3, 1, 8, 8)).values()
    assert maps.shape == (3, 4, 4, 2, 2)


def test_normalised_networks_are_left_alone() -> None:
    networks = toy_networks()
    for network in networks.values():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                spectral_norm(layer)
    before = {name: [*net.state_dict()] for name, net in networks.items()}
    model = SAGAN(**networks)
    assert {name: [*getattr(model, name).state_dict()] for name in networks} == before


def test_terms_are_hinges() -> None:
    discriminator = nn.Linear(2, 1, bias=False)
    discriminator.weight = nn.Parameter(torch.tensor([[-3.0, 4.0]]))
    model = SAGAN(nn.Linear(3, 2), discriminator, latent_dim=3)
    real, fake = torch.randn(6, 2), torch.randn(6, 2)
    slope = torch.tensor([-0.6, 0.8])  # of norm 1
    [d_term] = model.discriminator_loss(Batch(real), Batch(fake)).values()
    expected = (1 - real @ slope).clip(min=0).mean() + (1 + fake @ slope).clip(min=0).mean()
    torch.testing.assert_close(d_term, expected, rtol=1e-5, atol=1e-5)
    [g_term] = model.generator_loss(Batch(real), Batch(fake)).values()
    torch.testing.assert_close(g_term, -(fake @ slope).mean(), rtol=1e-5, atol=1e-5)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model = SAGAN(**_networks())
    trainer = toy_trainer(tmp_path)
    trainer.fit(model, images())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = SAGAN.load_from_checkpoint(tmp_path / "model.ckpt", **_networks())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    latents = torch.randn(5, 4)
    # A run lays convolutions out in another order, in which sums are rounded differently.
    rendered = loaded.render(latents), model.render(latents)
    torch.testing.assert_close(*rendered, rtol=1e-5, atol=1e-6)


def test_defaults_are_the_papers() -> None:
    model = SAGAN(**toy_networks())
    assert model.n_critic == 1
    optimizers = model.configure_optimizers()[0]
    assert [optimizer.defaults["lr"] for optimizer in optimizers] == [1e-4, 4e-4]
    for optimizer in optimizers:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["betas"] == (0.0, 0.9)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"SAGAN has no argument 'real_target'\. .* GAN "):
        SAGAN(**toy_networks(), real_target=0.9)
    with pytest.raises(TypeError, match=r"Did you mean 'penalties'\?"):
        SAGAN(**toy_networks(), penalty=[])
