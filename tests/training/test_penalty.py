"""What all penalties share, and several of them together."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.networks import DCGANDiscriminator
from lightning_gan.training import R1, R2, Batch, Drift, GradientPenalty, LinearSchedule
from lightning_gan.training.penalty import LogitPenalty, Penalties
from tests.training.test_penalties import (
    FAKE,
    KINDS,
    REAL,
    SLOPE_KINDS,
    assert_near,
    critic,
    linear,
)


class BatchVariance(LogitPenalty):
    """Differentiates nothing, so that batch normalisation does no harm."""

    name = "variance"

    def penalty(self, discriminator: Any, real: Tensor, fake: Tensor) -> Tensor:
        logits: Tensor = discriminator(real)
        return logits.var()


class Judge:
    """As much of a game as these penalties look at."""

    def __init__(self, discriminator: Any) -> None:
        self.discriminator = discriminator

    def logits(self, batch: Batch) -> Tensor:
        logits: Tensor = self.discriminator(batch.samples)
        return logits


def terms_of(
    penalties: Penalties, discriminator: Any, real: Tensor, fake: Tensor, update: int = 0
) -> dict[str, Tensor]:
    game: Any = Judge(discriminator)
    return penalties.of_discriminator(game, Batch(real), Batch(fake), update, 0)


def test_names() -> None:
    names = ["dragan", "gradient_penalty", "r1", "r2", "drift"]
    penalties = Penalties([kind() for kind in KINDS], nn.Identity())
    assert list(terms_of(penalties, linear, REAL, FAKE, 0)) == names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", [1, 2, 5])
def test_lazy_penalty_keeps_its_mean_strength(kind: Any, interval: int) -> None:
    lazy, eager = kind(interval=interval), kind()
    assert [i for i in range(11) if lazy.factor(i, 0) > 0] == list(range(0, 11, interval))
    terms = [lazy(linear, REAL, FAKE) for i in range(10) if lazy.factor(i, 0) > 0]
    assert_near(torch.stack(terms).sum() / 10, eager(linear, REAL, FAKE).item())
    assert_near(terms[0], interval * eager(linear, REAL, FAKE).item())


@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_is_never_due(kind: Any) -> None:
    penalty = kind(weight=0, interval=2)
    assert not any(penalty.factor(i, 0) > 0 for i in range(5))
    assert terms_of(Penalties([penalty], nn.Identity()), critic, REAL, FAKE) == {}


def test_all_terms_that_are_due_by_name() -> None:
    penalties = Penalties([R1(interval=2), R2(interval=3), GradientPenalty()], nn.Identity())
    names = [list(terms_of(penalties, critic, REAL, FAKE, update)) for update in range(4)]
    assert names[0] == ["r1", "r2", "gradient_penalty"]
    assert names[1:] == [["gradient_penalty"], ["r1", "gradient_penalty"], ["r2", names[1][0]]]
    terms = terms_of(penalties, critic, REAL, FAKE, 0)
    assert_near(terms["r1"], 2 * 10 / 2 * 8.0)
    assert_near(terms["r2"], 3 * 10 / 2 * 18.0)


def test_no_penalties() -> None:
    assert terms_of(Penalties([], nn.BatchNorm1d(2)), critic, REAL, FAKE) == {}


def test_terms_reach_the_weights() -> None:
    network = nn.Linear(2, 1)
    penalties = Penalties([kind() for kind in KINDS], network)
    w = network.weight.detach()
    norm = w.norm()
    expected = {
        "dragan": 20 * (norm - 1) * w / norm,
        "gradient_penalty": 20 * (norm - 1) * w / norm,
        "r1": 10 * w,
        "r2": 10 * w,
        "drift": 2e-3 * (w @ REAL[0] + network.bias.detach()) * REAL[:1],
    }
    for name, term in terms_of(penalties, network, REAL, FAKE, 0).items():
        (by_w,) = torch.autograd.grad(term, network.weight)
        torch.testing.assert_close(by_w, expected[name], rtol=1e-5, atol=1e-5)


def test_refuses_two_of_one_name() -> None:
    with pytest.raises(ValueError, match="'penalties' of different names, got 'r1' twice"):
        Penalties([R1(1), R2(), R1(2)], nn.Identity())


@pytest.mark.parametrize("kind", SLOPE_KINDS)
def test_refuses_batch_normalization(kind: Any) -> None:
    network = DCGANDiscriminator(16, 1, base_channels=2)
    with pytest.raises(ValueError) as error:
        Penalties([kind()], network)
    assert f"under the penalty '{kind.name}', got BatchNorm2d in 'layers.3'" in str(error.value)
    assert "Use norm='layer', 'instance' or 'none'" in str(error.value)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2)], ids=lambda m: str(type(m))
)
def test_refuses_every_kind_of_batch_normalization(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"got {type(layer).__name__} in '1'"):
        Penalties([R1()], nn.Sequential(nn.Identity(), layer))


@pytest.mark.parametrize("norm", ["layer", "instance", "none"])
def test_accepts_other_normalizations(norm: Any) -> None:
    network = DCGANDiscriminator(16, 1, base_channels=2, norm=norm)
    x = torch.randn(3, 1, 16, 16)
    terms = terms_of(Penalties([GradientPenalty(), R1()], network), network, x, x)
    assert all(term.isfinite() for term in terms.values())


def test_accepts_batch_normalization_where_nothing_is_differentiated() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    real = torch.randn(4, 2)
    terms = terms_of(Penalties([BatchVariance(2.0), Drift(3.0)], network), network, real, FAKE)
    logits = network(real)
    torch.testing.assert_close(terms["variance"], 2 * logits.var(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(terms["drift"], 3 * (logits**2).mean(), rtol=1e-5, atol=1e-6)


class Comparing(nn.Module):
    """Looks across the batch, but says that it may be differentiated."""

    mixes_samples = True
    allows_penalty = True

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) + x.std()


def test_accepts_mixing_layers_that_allow_penalties() -> None:
    network = Comparing()
    terms = terms_of(Penalties([R1()], network), network, torch.randn(4, 2), FAKE)
    assert terms["r1"] > 0


def test_refuses_mixing_layers_that_do_not_allow_penalties() -> None:
    network = Comparing()
    network.allows_penalty = False
    with pytest.raises(ValueError, match="got Comparing in ''"):
        Penalties([R1()], network)


def test_penalties_have_no_state() -> None:
    assert not Penalties([kind() for kind in KINDS], nn.Identity()).state_dict()


def test_penalties_of_the_discriminator_leave_the_generator_alone() -> None:
    penalties, game = Penalties([kind() for kind in KINDS], nn.Identity()), Judge(critic)
    assert penalties.of_generator(game, Batch(REAL), Batch(FAKE), 0, 0) == {}  # type: ignore[arg-type]


def test_weight_follows_images_seen() -> None:
    penalty = R1(LinearSchedule(4.0, 0.0, images=100), interval=2)
    assert [penalty.factor(0, images) for images in (0, 50, 75, 100)] == [8.0, 4.0, 2.0, 0.0]
    assert penalty.factor(1, 0) == 0
    assert_near(penalty(critic, REAL, FAKE, images=50), 2 * 2.0 / 2 * 8.0)


def test_schedule_that_becomes_negative_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'weight' to be non-negative and finite, got Linear.*1"):
        R1(LinearSchedule(1.0, -1.0, images=10))
