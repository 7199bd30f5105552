"""AC-GAN with a linear discriminator against torch's cross-entropies."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lightning_gan import ACGAN
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import GradientPenalty
from lightning_gan.training.batch import Batch
from tests.toys import ToyData, flat, points, sgd, toy_networks, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
REAL_LABELS, FAKE_LABELS = torch.tensor([0, 1, 2, 2, 1, 0]), torch.tensor([2, 2, 2, 1, 0, 0])


def _model(outputs: int = 4, **options: Any) -> ACGAN:
    generator = MLPGenerator(latent_dim=3, hidden=(4,), num_classes=3)
    return ACGAN(generator, nn.Linear(2, outputs), **options)


def _targets(value: float) -> Tensor:
    return torch.full((6,), value)


@pytest.mark.parametrize("options", [{}, {"class_weight_d": 0.5, "class_weight_g": 3.0}])
@pytest.mark.parametrize(("b", "a"), [(1.0, 0.0), (0.9, 0.1)])
def test_terms_are_cross_entropies(options: dict[str, Any], b: float, a: float) -> None:
    model = _model(real_target=b, fake_target=a, **options)
    real, fake = Batch(REAL, REAL_LABELS), Batch(FAKE, FAKE_LABELS)
    real_outputs, fake_outputs = model.discriminator(REAL), model.discriminator(FAKE)
    entropy = binary_cross_entropy_with_logits
    expected = entropy(real_outputs[:, 0], _targets(b)) + entropy(fake_outputs[:, 0], _targets(a))
    d_terms = model.discriminator_loss(real, fake)
    torch.testing.assert_close(d_terms["adversarial"], expected, rtol=1e-5, atol=1e-5)
    classes = cross_entropy(real_outputs[:, 1:], REAL_LABELS)
    classes = classes + cross_entropy(fake_outputs[:, 1:], FAKE_LABELS)
    expected = options.get("class_weight_d", 1.0) * classes
    torch.testing.assert_close(d_terms["classes"], expected, rtol=1e-5, atol=1e-5)

    g_terms = model.generator_loss(real, fake)
    expected = entropy(fake_outputs[:, 0], _targets(1.0))
    torch.testing.assert_close(g_terms["adversarial"], expected, rtol=1e-5, atol=1e-5)
    classes = cross_entropy(fake_outputs[:, 1:], FAKE_LABELS)
    expected = options.get("class_weight_g", 1.0) * classes
    torch.testing.assert_close(g_terms["classes"], expected, rtol=1e-5, atol=1e-5)
    assert [*d_terms] == [*g_terms] == ["adversarial", "classes"]


def test_logits_are_the_first_column() -> None:
    model = _model()
    assert torch.equal(model.logits(Batch(REAL)), model.discriminator(REAL)[:, 0])


@pytest.mark.parametrize("others", [0.0, 1.0, 100.0])
def test_penalties_see_the_first_column_alone(others: float, tmp_path: Path) -> None:
    model = _model(penalties=[GradientPenalty(10.0)], optimizer_g=sgd, optimizer_d=sgd)
    weight = others * torch.randn(4, 2)
    weight[0] = torch.tensor([3.0, 4.0])  # of norm 5
    model.discriminator.weight = nn.Parameter(weight)
    trainer = toy_trainer(tmp_path, max_steps=1, log_every_n_steps=1)
    trainer.fit(model, ToyData((REAL, REAL_LABELS)))
    logged = trainer.callback_metrics["train/d_gradient_penalty"].item()
    assert logged == pytest.approx(10 * (5 - 1) ** 2)


def test_defaults_are_the_papers() -> None:
    model = _model()
    assert (model.n_critic, model.class_weight_d, model.class_weight_g) == (1, 1.0, 1.0)
    assert (model.num_classes, model.num_outputs) == (3, 4)
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (toy_networks(), r"Expected a conditional 'generator' for ACGAN"),
        (toy_networks(3), r"Expected an unconditional 'discriminator' for ACGAN"),
        (
            toy_networks(3) | {"discriminator": MLPDiscriminator(num_outputs=3)},
            r"'discriminator' with num_outputs=4, .* got num_outputs=3\.",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused(networks: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ACGAN(**networks)


@pytest.mark.parametrize("name", ["class_weight_d", "class_weight_g"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_negative_weights_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be non-negative, got {value}"):
        _model(**{name: value})


@pytest.mark.parametrize(
    ("outputs", "data", "message"),
    [
        (4, points(), r"\(images, labels\) for networks with num_classes=3, got images alone"),
        (4, ToyData((REAL, 1 + REAL_LABELS)), r"labels in \[0, 2\] .* got 3"),
        (5, ToyData((REAL, REAL_LABELS)), r"return 4 outputs per sample, \(2, 4\), got \(2, 5\)"),
    ],
)
def test_bad_data_are_refused_before_training(
    outputs: int, data: ToyData, message: str, tmp_path: Path
) -> None:
    model = _model(outputs)
    before = flat(model)
    with pytest.raises(ValueError, match=message):
        toy_trainer(tmp_path).fit(model, data)
    assert torch.equal(flat(model), before)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"ACGAN has no argument 'class_weight'\. Did you mean 'c"):
        _model(class_weight=2.0)
