from typing import Any

import pytest
import torch

from lightning_gan.layers import (
    MinibatchDiscrimination,
    MinibatchStdDev,
    empirical_slope,
    lipschitz_bound,
)
from lightning_gan.networks import (
    DCGANDiscriminator,
    Discriminator,
    Head,
    MLPDiscriminator,
    ResNetDiscriminator,
)


def test_equals_the_written_formula() -> None:
    """Equation (5) of Miyato and Koyama, sample by sample."""
    head = Head(4, num_classes=3)
    features, labels = torch.randn(5, 4), torch.tensor([2, 0, 1, 2, 2])
    weight, bias, vectors = (p.detach().numpy() for p in head.parameters())
    expected = [
        sum(weight[0, j] * f[j] for j in range(4))
        + bias[0]
        + sum(vectors[y, j] * f[j] for j in range(4))
        for f, y in zip(features.numpy(), labels.tolist(), strict=True)
    ]
    logits = head(features, labels)
    assert logits.shape == (5, 1)
    torch.testing.assert_close(
        logits.detach(), torch.tensor(expected)[:, None], rtol=1e-5, atol=1e-6
    )


def test_without_classes_it_is_linear() -> None:
    head, features = Head(4, num_outputs=3), torch.randn(5, 4)
    weight, bias = head.parameters()
    assert head.num_classes is None
    torch.testing.assert_close(head(features), features @ weight.T + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("minibatch", "layer", "extra"),
    [("stddev", MinibatchStdDev, 1), ("discrimination", MinibatchDiscrimination, 100)],
)
def test_both_terms_see_the_batch(minibatch: Any, layer: Any, extra: int) -> None:
    head = Head(4, num_classes=3, minibatch=minibatch)
    assert isinstance(head.minibatch, layer)
    assert head.embedding is not None
    assert head.embedding.weight.shape == (3, 4 + extra)
    features, labels = torch.randn(4, 4), torch.tensor([2, 0, 1, 2])
    wide = head.minibatch(features)
    expected = wide @ head.linear.weight[0] + head.linear.bias
    expected = expected + (wide * head.embedding.weight[labels]).sum(1)
    torch.testing.assert_close(head(features, labels)[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_initial_vectors() -> None:
    """Glorot's uniform bound, as in the authors' code."""
    vectors = Head(90, num_classes=10).embedding
    assert vectors is not None
    bound = (6 / (90 + 10)) ** 0.5
    assert 0.9 * bound < vectors.weight.detach().abs().max().item() <= bound


def test_unknown_minibatch_layer() -> None:
    kind: Any = "std"
    message = r"'minibatch' to be 'none', 'stddev' or 'discrimination', got 'std'\."
    with pytest.raises(ValueError, match=message):
        Head(4, minibatch=kind)


@pytest.mark.parametrize(
    "discriminator",
    [
        MLPDiscriminator((3,), hidden=(8, 8)),
        DCGANDiscriminator(image_size=8, image_channels=1, base_channels=4, norm="none"),
        ResNetDiscriminator(image_channels=1, base_channels=4),
        ResNetDiscriminator(image_channels=1, base_channels=4, branches="mean"),
    ],
)
def test_no_slope_of_a_discriminator_exceeds_its_bound(discriminator: Discriminator) -> None:
    samples = torch.randn(8, *discriminator.sample_shape)
    bound = lipschitz_bound(discriminator, samples[:1])
    slopes = empirical_slope(discriminator, samples)
    assert 0 < slopes.max() <= bound
