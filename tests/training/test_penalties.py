from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.networks import DCGANDiscriminator
from lightning_gan.training import DRAGAN, R1, R2, Drift, GradientPenalty, Penalty
from lightning_gan.training.penalties import Penalties

REAL, FAKE = torch.full((4, 2), 2.0), torch.full((4, 2), 3.0)
SLOPE_KINDS: list[Any] = [DRAGAN, GradientPenalty, R1, R2]
KINDS: list[Any] = [*SLOPE_KINDS, Drift]


def critic(x: Tensor) -> Tensor:
    """Return |x|^2 / 2, whose slope is x."""
    return x.square().sum(1) / 2


def linear(x: Tensor) -> Tensor:
    return x @ torch.tensor([3.0, 4.0])


def assert_near(actual: Tensor, expected: float) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=1e-5, atol=1e-5)


class BatchVariance(Penalty):
    """Differentiates nothing, so that batch normalisation does no harm."""

    name = "variance"
    per_sample_gradient = False

    def penalty(self, discriminator: Any, real: Tensor, fake: Tensor) -> Tensor:
        logits: Tensor = discriminator(real)
        return logits.var()


def test_gradient_penalty() -> None:
    assert_near(GradientPenalty()(linear, REAL, FAKE), 10 * 16.0)
    assert_near(GradientPenalty(weight=0.1)(linear, REAL, FAKE), 0.1 * 16)
    assert_near(GradientPenalty(target=7)(linear, REAL, FAKE), 10 * 4.0)
    assert_near(GradientPenalty(target=7, one_sided=True)(linear, REAL, FAKE), 0.0)
    assert_near(GradientPenalty(target=0)(linear, REAL, FAKE), 10 * 25.0)
    assert_near(GradientPenalty()(critic, REAL, REAL), 10 * (8**0.5 - 1) ** 2)


def test_dragan() -> None:
    assert_near(DRAGAN()(linear, REAL, FAKE), 10 * 16.0)
    assert_near(DRAGAN(weight=0.1)(linear, REAL, FAKE), 0.1 * 16)
    real = torch.tensor([[0.0, 6.0], [8.0, 6.0]])  # of variance 9, at distances 6 and 10
    assert_near(DRAGAN(scale=0)(critic, real, FAKE), 10 * (25 + 81) / 2)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_dragan_looks_up_to_its_scale_around_real_samples(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.ones(shape))
    real = torch.tensor([[0.0, 6.0], [6.0, 0.0]])  # of mean 3 and variance 9
    expected = ((scale * 3) ** 2 + (6 + scale * 3) ** 2) ** 0.5
    assert_near(DRAGAN(scale=scale)(critic, real, FAKE), 10 * (expected - 1) ** 2)


def test_dragan_defaults_to_half_a_standard_deviation() -> None:
    assert DRAGAN().scale == 0.5


def test_drift() -> None:
    assert_near(Drift()(critic, REAL, FAKE), 1e-3 * 16)
    assert_near(Drift(weight=2.0)(linear, REAL, FAKE), 2 * 14.0**2)


def test_r1_looks_at_real_samples_and_r2_at_fake_ones() -> None:
    assert_near(R1()(critic, REAL, FAKE), 10 / 2 * 8.0)
    assert_near(R2()(critic, REAL, FAKE), 10 / 2 * 18.0)
    assert_near(R1(weight=0.3)(linear, REAL, FAKE), 0.3 / 2 * 25)
    assert_near(R2(weight=0.3)(linear, REAL, FAKE), 0.3 / 2 * 25)


def test_names() -> None:
    names = ["dragan", "gradient_penalty", "r1", "r2", "drift"]
    penalties = Penalties([kind() for kind in KINDS], nn.Identity())
    assert list(penalties(linear, REAL, FAKE, 0)) == names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", [1, 2, 5])
def test_lazy_penalty_keeps_its_mean_strength(kind: Any, interval: int) -> None:
    lazy, eager = kind(interval=interval), kind()
    assert [i for i in range(11) if lazy.due(i)] == list(range(0, 11, interval))
    terms = [lazy(linear, REAL, FAKE) for i in range(10) if lazy.due(i)]
    assert_near(torch.stack(terms).sum() / 10, eager(linear, REAL, FAKE).item())
    assert_near(terms[0], interval * eager(linear, REAL, FAKE).item())


@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_is_never_due(kind: Any) -> None:
    penalty = kind(weight=0, interval=2)
    assert not any(penalty.due(i) for i in range(5))
    assert Penalties([penalty], nn.Identity())(critic, REAL, FAKE, 0) == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [-1, -1e-9, float("nan"), float("inf")])
def test_wrong_weight(kind: Any, weight: float) -> None:
    with pytest.raises(ValueError, match=f"'weight' to be non-negative and finite, got {weight}"):
        kind(weight=weight)


@pytest.mark.parametrize(("kind", "name"), [(GradientPenalty, "target"), (DRAGAN, "scale")])
@pytest.mark.parametrize("value", [-1, -1e-9, float("nan"), float("inf")])
def test_wrong_numbers_of_one_kind(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"'{name}' to be non-negative and finite, got {value}"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", [0, -1])
def test_wrong_interval(kind: Any, interval: int) -> None:
    with pytest.raises(ValueError, match=f"'interval' to be at least 1, got {interval}"):
        kind(interval=interval)


def test_all_terms_that_are_due_by_name() -> None:
    penalties = Penalties([R1(interval=2), R2(interval=3), GradientPenalty()], nn.Identity())
    names = [list(penalties(critic, REAL, FAKE, update)) for update in range(4)]
    assert names[0] == ["r1", "r2", "gradient_penalty"]
    assert names[1:] == [["gradient_penalty"], ["r1", "gradient_penalty"], ["r2", names[1][0]]]
    terms = penalties(critic, REAL, FAKE, 0)
    assert_near(terms["r1"], 2 * 10 / 2 * 8.0)
    assert_near(terms["r2"], 3 * 10 / 2 * 18.0)


def test_no_penalties() -> None:
    assert Penalties([], nn.BatchNorm1d(2))(critic, REAL, FAKE, 0) == {}


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
    for name, term in penalties(network, REAL, FAKE, 0).items():
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
    terms = Penalties([GradientPenalty(), R1()], network)(network, x, x, 0)
    assert all(term.isfinite() for term in terms.values())


def test_accepts_batch_normalization_where_nothing_is_differentiated() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    real = torch.randn(4, 2)
    terms = Penalties([BatchVariance(2.0), Drift(3.0)], network)(network, real, FAKE, 0)
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
    terms = Penalties([R1()], network)(network, torch.randn(4, 2), FAKE, 0)
    assert terms["r1"] > 0


def test_refuses_mixing_layers_that_do_not_allow_penalties() -> None:
    network = Comparing()
    network.allows_penalty = False
    with pytest.raises(ValueError, match="got Comparing in ''"):
        Penalties([R1()], network)


def test_penalties_have_no_state() -> None:
    assert not Penalties([kind() for kind in KINDS], nn.Identity()).state_dict()
