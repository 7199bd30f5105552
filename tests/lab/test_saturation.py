"""Saturating against non-saturating, short runs."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan import GAN, WGANGP
from lightning_gan.lab import Row
from lightning_gan.lab.saturation import Saturation, discriminator_updates
from lightning_gan.networks import MLPDiscriminator
from tests.toys import flat

# Gradients at a logit of -6, of the oracle table: -D and -(1 - D).
AT_MINUS_6 = {"minimax": -0.00247, "non_saturating": -0.99753}


def rows_of(experiment: Saturation) -> list[Row]:
    return [trial | experiment.measure(**trial) for trial in experiment.trials()]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(Saturation(logits=[-6.0, 0.0, 3.0], std=0.25, steps=200, rate=5e-3))


def test_gradients_at_logits(rows: list[Row]) -> None:
    measured = {row["objective"]: row["gradients"] for row in rows if row["part"] == "logit"}
    assert measured.keys() == AT_MINUS_6.keys()
    for objective, expected in AT_MINUS_6.items():
        low, middle, _ = measured[objective]
        assert low == pytest.approx(expected, abs=5e-6)
        assert middle == -0.5
    high = 1 / (1 + math.exp(-3))
    assert measured["minimax"][2] == pytest.approx(-high, rel=1e-12)
    assert measured["non_saturating"][2] == pytest.approx(high - 1, rel=1e-12)


def test_the_gradient_vanishes_for_one_loss_alone(rows: list[Row]) -> None:
    [row] = [row for row in rows if row["part"] == "run"]
    assert row["steps"][:3] == [0, 1, 3]
    assert row["steps"][-1] == 200
    assert row["confidence"][0] == pytest.approx(0.5, abs=0.2)
    assert row["confidence"][-1] < 0.01
    assert row["minimax"][-1] < 0.1 * max(row["minimax"])
    assert row["non_saturating"][-1] > 0.5 * max(row["non_saturating"])
    [exact, vanishes, stays] = Saturation().findings(rows)
    assert (exact.holds, stays.holds) == (True, True)
    assert "over 6 gradients" in exact.evidence
    assert vanishes.holds == (row["minimax"][-1] < 0.01 * max(row["minimax"]))


def test_a_wrong_gradient_is_found(rows: list[Row]) -> None:
    wrong = [row | {"gradients": [-0.5] * 3} if row["part"] == "logit" else row for row in rows]
    assert Saturation().findings(wrong)[0].holds is False
    assert [finding.holds for finding in Saturation().findings([])] == [None] * 3


def test_drawn_with_and_without_rows(rows: list[Row]) -> None:
    [left, right] = Saturation().draw(rows).axes
    assert [len(left.lines), len(right.lines)] == [4, 3]
    assert "403 times " in [text.get_text() for text in left.texts]
    assert [len(axes.lines) for axes in Saturation().draw([]).axes] == [0, 0]


def test_a_trial_comes_out_the_same_twice() -> None:
    experiment = Saturation(steps=2)
    first = experiment.measure(part="run", seed=3)
    torch.rand(7)
    assert experiment.measure(part="run", seed=3) == first
    assert experiment.measure(part="run", seed=4) != first


def test_the_discriminator_alone_is_trained() -> None:
    torch.manual_seed(0)
    generator, discriminator = nn.Linear(2, 2), MLPDiscriminator(hidden=(8,))
    model = GAN(generator, discriminator, latent_dim=2)
    before = flat(generator), flat(discriminator)
    steps = list(discriminator_updates(model, lambda: torch.randn(16, 2), 3))
    assert steps == [0, 1, 2, 3]
    torch.testing.assert_close(flat(generator), before[0], rtol=0, atol=0)
    assert not torch.equal(flat(discriminator), before[1])


def test_penalties_take_part() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[30.0, 40.0]]))
    # Nothing else can pull the slope from 50 to 1: both kinds of samples are one point.
    model = WGANGP(nn.Linear(2, 2), linear, latent_dim=2, optimizer_d=_sgd)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.zero_()
    for _ in discriminator_updates(model, lambda: torch.zeros(4, 2), 200):
        pass
    assert torch.linalg.vector_norm(linear.weight).item() == pytest.approx(1.0, abs=1e-3)


def _sgd(parameters: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=0.01)


@pytest.mark.parametrize("name", ["distance", "std", "steps", "rate", "batch_size"])
def test_numbers_are_checked(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"'{name}' to be positive"):
        Saturation(**options)


def test_logits_are_needed() -> None:
    with pytest.raises(ValueError, match="'logits' to name at least one, got none"):
        Saturation(logits=[])
