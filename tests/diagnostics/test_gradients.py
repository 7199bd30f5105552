from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan import GAN, MGAN, R3GAN, WGAN, HingeGAN
from lightning_gan.diagnostics import generator_gradients
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import PatchDiscriminator
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from tests.toys import image_networks, networks_for, toy_networks


def played(model: AdversarialModule, real: Tensor) -> tuple[dict[str, float], Tensor, Tensor]:
    """Return the figures, and the logits of the real and the generated samples."""
    batch, fake = Batch(real), model.generate(len(real))
    figures = generator_gradients(model, batch, fake)
    with torch.no_grad():
        return figures, model.logits(batch), model.logits(fake)


@pytest.mark.parametrize("objective", ["non_saturating", "minimax"])
@pytest.mark.parametrize("shift", [-6.0, 0.0, 6.0])
def test_logit_gradients_of_both_losses(objective: Any, shift: float) -> None:
    """1 - D and D, of which the latter vanishes where samples are rejected."""
    model = GAN(**toy_networks(), generator_objective=objective)
    nn.init.constant_(model.discriminator.head.linear.bias, shift)  # type: ignore[union-attr, arg-type]
    figures, _, logits = played(model, torch.randn(30, 2))
    d = logits.sigmoid()
    expected = float((d if objective == "minimax" else 1 - d).mean())
    assert figures["g_grad_logit"] == pytest.approx(expected, rel=1e-4)
    assert (expected < 0.01) == ((shift < 0) == (objective == "minimax") and shift != 0)


@pytest.mark.parametrize("variant", [WGAN, HingeGAN])
def test_linear_losses_always_have_1(variant: type[AdversarialModule]) -> None:
    figures, *_ = played(variant(**toy_networks()), torch.randn(30, 2))
    assert figures["g_grad_logit"] == pytest.approx(1, rel=1e-6)


def test_relativistic_loss_counts_generated_samples_alone() -> None:
    figures, real, fake = played(R3GAN(**toy_networks()), torch.randn(30, 2))
    expected = float((real - fake).sigmoid().mean())
    assert figures["g_grad_logit"] == pytest.approx(expected, rel=1e-5)


def test_other_outputs_do_not_count() -> None:
    model = MGAN(**networks_for(MGAN), diversity_weight=5.0)
    figures, _, logits = played(model, torch.randn(30, 2))
    expected = float((1 - logits.sigmoid()).mean())
    assert figures["g_grad_logit"] == pytest.approx(expected, rel=1e-5)


def test_a_map_of_logits_counts_as_their_mean() -> None:
    networks = image_networks()
    networks["discriminator"] = PatchDiscriminator(image_channels=1, num_layers=1)
    figures, _, logits = played(GAN(**networks), torch.randn(6, 1, 8, 8))
    assert logits.dim() == 3
    expected = float((1 - logits.sigmoid()).mean())
    assert figures["g_grad_logit"] == pytest.approx(expected, rel=1e-5)


class Unheard(GAN):
    """Looks at outputs by itself."""

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        return {"own": -self.outputs(fake).mean()}


def test_without_logits_the_norm_remains() -> None:
    figures, *_ = played(Unheard(**toy_networks()), torch.randn(5, 2))
    assert figures.keys() == {"g_grad_norm"}


class Line(nn.Linear):
    """A linear generator of points, or a linear discriminator."""

    def __init__(self, out_features: int) -> None:
        super().__init__(2, out_features)
        self.latent_dim = 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


def test_norm_is_that_of_a_linear_game() -> None:
    """-mean w(Az + b) has the gradients -w z' by A and -w by b."""
    model = WGAN(Line(2), critic := Line(1))
    latents = torch.randn(9, 2)
    fake = Batch(model.generator(latents), latents=latents)
    figures = generator_gradients(model, Batch(torch.randn(9, 2)), fake)
    expected = critic.weight.detach().norm() * (1 + latents.mean(dim=0).square().sum()).sqrt()
    assert figures["g_grad_norm"] == pytest.approx(float(expected), rel=1e-5)


def test_several_terms_are_one_loss() -> None:
    """Their sum is differentiated, and the discriminator's method is the class's own again."""
    model = MGAN(**networks_for(MGAN), diversity_weight=3.0)
    real, fake = Batch(torch.randn(8, 2)), model.generate(8)
    loss = torch.stack(list(model.generator_loss(real, fake).values())).sum()
    weights = list(model.generator.parameters())
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
    expected = torch.cat([g.flatten() for g in gradients]).norm()
    actual = generator_gradients(model, real, fake)["g_grad_norm"]
    assert actual == pytest.approx(float(expected), rel=1e-5)
    assert "verdict" not in vars(model)
