"""BigGAN: spectral norms of both networks, orthogonal filters, and its defaults."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_gan import BigGAN
from lightning_gan.callbacks import GeneratorEMA
from lightning_gan.networks import BigGANDiscriminator, BigGANGenerator
from lightning_gan.training import R1, Batch, OrthogonalRegularization
from tests.toys import (
    NUM_CLASSES,
    ToyData,
    flat,
    image_networks,
    images,
    labelled,
    sgd,
    toy_networks,
    toy_trainer,
)

LAYERS = nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding


def matrices(network: nn.Module, original: bool = False) -> list[Tensor]:
    """Return each weight as a matrix with a row per output: the effective or the trained one."""
    found = []
    for layer in network.modules():
        if isinstance(layer, LAYERS):
            weight: Any = layer.weight
            if original:
                weight = layer.get_parameter("parametrizations.weight.original")
            if isinstance(layer, nn.ConvTranspose2d):
                weight = weight.transpose(0, 1)
            found.append(weight.detach().flatten(1))
    return found


def test_spectral_norms_of_both_are_one_after_training(tmp_path: Path) -> None:
    model = BigGAN(
        **image_networks(NUM_CLASSES, conditioning="projection"),
        optimizer_g=sgd,
        optimizer_d=sgd,
    )
    toy_trainer(tmp_path, max_steps=5).fit(model, labelled(images()))
    labels = torch.arange(4)
    for network, count in ((model.generator, 2), (model.discriminator, 3)):
        with torch.no_grad():
            for _ in range(100):  # power iterations find the norms where the weights are now
                model.discriminator(model.generator(torch.randn(4, 4), labels), labels)
            weights = matrices(network.eval())
        assert len(weights) == count
        norms = torch.stack([torch.linalg.svdvals(weight)[0] for weight in weights])
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=0.01)


def test_terms_are_hinges_and_orthogonality() -> None:
    model = BigGAN(**toy_networks(), orthogonal_weight=0.5)
    real, fake = Batch(torch.randn(6, 2)), model.generate(6)
    [(name, _)] = model.discriminator_terms(real, Batch(fake.samples.detach()), 0).items()
    assert name == "hinge"
    terms = model.generator_terms(real, fake, 0)
    assert list(terms) == ["hinge", "orthogonal"]
    expected = 0.0
    for matrix in matrices(model.generator, original=True):
        rows = matrix.double().numpy()
        for i in range(len(rows)):
            for j in range(len(rows)):
                expected += float(np.dot(rows[i], rows[j])) ** 2 if i != j else 0.0
    assert terms["orthogonal"].item() == pytest.approx(0.5 * expected, rel=1e-4)
    model.discriminator.eval()
    values = model.generator_loss(real, fake)["hinge"]
    torch.testing.assert_close(values, -model.discriminator(fake.samples).mean())


def test_defaults_are_the_papers() -> None:
    model = BigGAN(**toy_networks(), penalties=[R1()])
    assert model.n_critic == 2
    orthogonal, other = model.penalties
    assert isinstance(orthogonal, OrthogonalRegularization)
    assert (orthogonal.network, orthogonal.weight) == ("generator", 1e-4)
    assert isinstance(other, R1)
    for optimizer, rate in zip(model.configure_optimizers()[0], (5e-5, 2e-4), strict=True):
        assert optimizer.defaults["lr"] == rate
        assert optimizer.defaults["betas"] == (0.0, 0.999)


def _own_networks(num_classes: int | None) -> dict[str, Any]:
    torch.manual_seed(0)
    options: Any = {"image_channels": 1, "base_channels": 2, "num_classes": num_classes}
    return {
        "generator": BigGANGenerator(latent_dim=8, embedding_dim=5, **options),
        "discriminator": BigGANDiscriminator(**options),
    }


@pytest.mark.parametrize("num_classes", [None, NUM_CLASSES])
def test_own_networks_learn_and_sample(num_classes: int | None, tmp_path: Path) -> None:
    model = BigGAN(**_own_networks(num_classes))
    before = [flat(model.generator), flat(model.discriminator)]
    batch = torch.rand(6, 1, 32, 32) * 2 - 1, torch.arange(6)
    trainer = toy_trainer(tmp_path, callbacks=[GeneratorEMA()], precision="bf16-mixed")
    trainer.fit(model, ToyData(batch))
    after = [flat(model.generator), flat(model.discriminator)]
    assert not any(map(torch.equal, before, after))
    assert all(weights.isfinite().all() for weights in after)
    model.standing_statistics(batches=2, batch_size=8, truncation=0.5)
    samples = model.sample(5, truncation=0.5)
    assert samples.shape == (5, 1, 32, 32)
    assert samples.abs().max() <= 1


def test_shared_embedding_is_neither_normalised_nor_made_orthogonal() -> None:
    model = BigGAN(**_own_networks(NUM_CLASSES), orthogonal_weight=1.0)
    generator = model.generator
    assert isinstance(generator, BigGANGenerator)
    embedding = generator.layers.embedding
    assert isinstance(embedding, nn.Parameter)
    normalised = [layer for layer in generator.modules() if parametrize.is_parametrized(layer)]
    assert len(normalised) == len(matrices(generator))
    real, fake = Batch(torch.zeros(2, 1, 32, 32)), model.generate(2, torch.arange(2))
    term = model.generator_terms(real, fake, 0)["orthogonal"]
    (gradient,) = torch.autograd.grad(term, embedding, allow_unused=True)
    assert gradient is None
