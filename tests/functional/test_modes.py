import math

import numpy as np
import pytest
import torch

from lightning_gan.functional.modes import (
    class_coverage,
    expected_coverage,
    memorization,
    mixture_coverage,
    repetition,
)


def exactly(actual: torch.Tensor | float, expected: float) -> None:
    torch.testing.assert_close(float(actual), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shares", [None, [0.1, 0.2, 0.3, 0.4], [30.0, 10.0, 0.0, 10.0]])
def test_divergence_of_classes(shares: list[float] | None) -> None:
    predictions = [0, 0, 0, 1, 3, 3]
    real = np.ones(4) if shares is None else np.array(shares)
    real = real / real.sum()
    expected = 0.0
    for label in set(predictions):
        share = predictions.count(label) / len(predictions)
        expected += share * math.log(share / real[label])
    weights = None if shares is None else torch.tensor(shares)
    found = class_coverage(torch.tensor(predictions), 4, weights)
    assert found.modes.item() == 3
    torch.testing.assert_close(found.kl.item(), expected, rtol=1e-6, atol=0)


def test_divergence_of_a_share_of_the_classes_is_its_logarithm() -> None:
    found = class_coverage(torch.arange(100).repeat(3), 1000)
    assert found.modes.item() == 100
    exactly(found.kl, math.log(10))
    exactly(class_coverage(torch.arange(10), 10).kl, 0.0)


def test_a_class_that_the_data_lack() -> None:
    shares = torch.tensor([1.0, 1.0, 0.0])
    assert class_coverage(torch.tensor([0, 1, 2]), 3, shares).kl == math.inf
    exactly(class_coverage(torch.tensor([0, 1]), 3, shares).kl, 0.0)


def test_divergence_by_chance() -> None:
    draws = torch.randint(10, (400, 500))
    mean = torch.stack([class_coverage(draw, 10).kl for draw in draws]).mean()
    torch.testing.assert_close(mean.item(), 9 / (2 * 500), rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("predictions", "shares", "message"),
    [
        (torch.zeros(0, dtype=torch.int64), None, r"to be classes \(M,\), got shape \(0,\)"),
        (torch.zeros(2, 2, dtype=torch.int64), None, r"got shape \(2, 2\)"),
        (torch.tensor([0, 4]), None, r"'predictions' to be in \[0, 2\], got 4"),
        (torch.tensor([0, -1]), None, r"'predictions' to be in \[0, 2\], got -1"),
        (torch.tensor([0]), torch.ones(2), r"'real_shares' to have shape \(3,\), got \(2,\)"),
        (torch.tensor([0]), torch.zeros(3), "'real_shares' not to be below 0 and not all 0"),
        (torch.tensor([0]), torch.tensor([1.0, -1.0, 1.0]), "'real_shares' not to be below 0"),
        (torch.tensor([0]), torch.tensor([1.0, math.nan, 1.0]), "'real_shares' not to be below 0"),
    ],
)
def test_wrong_classes(
    predictions: torch.Tensor, shares: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        class_coverage(predictions, 3, shares)


def test_logits_are_no_classes() -> None:
    with pytest.raises(TypeError, match=r"'predictions' to be int64, got torch\.float32"):
        class_coverage(torch.randn(3), 3)


SQUARE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_coverage_of_a_mixture_by_hand() -> None:
    """Of six points one lies outside of all discs and one on the border of its own."""
    samples = torch.tensor(
        [[0.0, 0.0], [0.25, 0.0], [1.0, 1.2], [0.5, 0.5], [0.0, 1.0], [0.0, 0.5]]
    )
    found = mixture_coverage(samples, SQUARE, std=0.125, radius=4.0)
    assert found.modes.item() == 3
    exactly(found.high_quality, 4 / 6)
    exactly(found.reverse_kl, 0.5 * math.log(4 * 0.5) + 2 * 0.25 * math.log(4 * 0.25))


@pytest.mark.parametrize("modes", [1, 2, 4])
def test_coverage_of_some_modes_is_the_logarithm_of_their_share(modes: int) -> None:
    found = mixture_coverage(SQUARE[:modes].repeat(5, 1), SQUARE, std=0.01)
    assert found.modes.item() == modes
    exactly(found.high_quality, 1.0)
    exactly(found.reverse_kl, math.log(4 / modes))


def test_a_mixture_without_a_good_sample() -> None:
    found = mixture_coverage(SQUARE + 0.5, SQUARE, std=0.01)
    assert (found.modes.item(), found.high_quality.item()) == (0, 0.0)
    assert found.reverse_kl.isnan()


@pytest.mark.parametrize(("layout", "floor"), [("ring", 0.0014), ("grid", 0.0048)])
def test_coverage_of_perfect_samples(layout: str, floor: float) -> None:
    """The chance that a normal vector of the plane is shorter than 3, and plug-in KL's bias."""
    side, angles = torch.arange(-4.0, 5.0, 2.0), torch.arange(8) * math.pi / 4
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    centers = torch.cartesian_prod(side, side) if layout == "grid" else ring
    labels = torch.randint(len(centers), (100, 2500))
    draws = centers[labels] + 0.05 * torch.randn(100, 2500, 2)
    found = [mixture_coverage(draw, centers, 0.05) for draw in draws]
    assert {scores.modes.item() for scores in found} == {len(centers)}
    quality = torch.stack([scores.high_quality for scores in found]).mean()
    divergence = torch.stack([scores.reverse_kl for scores in found]).mean()
    torch.testing.assert_close(quality.item(), 0.98889, rtol=0, atol=0.0007)
    torch.testing.assert_close(divergence.item(), floor, rtol=0.15, atol=0)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (torch.zeros(0, 2), {}, r"'samples' to be points \(N, d\), got shape \(0, 2\)"),
        (torch.zeros(4), {}, r"'samples' to be points \(N, d\), got shape \(4,\)"),
        (torch.zeros(4, 3), {}, "'samples' and 'centers' of one dimension, got 3 and 2"),
        (torch.full((4, 2), math.nan), {}, "finite 'samples', got NaN or infinity"),
        (torch.zeros(4, 2), {"std": 0.0}, "'std' to be positive, got 0.0"),
        (torch.zeros(4, 2), {"radius": -1.0}, "'radius' to be positive, got -1.0"),
    ],
)
def test_no_points_of_a_mixture(
    samples: torch.Tensor, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mixture_coverage(samples, SQUARE, **{"std": 0.1} | options)


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_memorization_is_the_statistic_of_mann_and_whitney(digits: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    fake, held_out = torch.rand(40).double().round(decimals=digits), torch.rand(31).double() + 0.2
    held_out = held_out.round(decimals=digits)
    wins = 0.0
    for f in fake.tolist():
        wins += sum((f < h) + 0.5 * (f == h) for h in held_out.tolist())
    found = memorization(fake, held_out)
    exactly(found.score, wins / (40 * 31))
    exactly(found.score, stats.mannwhitneyu(held_out, fake).statistic / (40 * 31))


def test_copies_are_memorized() -> None:
    held_out = torch.arange(1.0, 1001.0)
    found = memorization(torch.zeros(50), held_out)
    assert (found.score.item(), found.copies.item()) == (1, 1)
    exactly(memorization(held_out, held_out).score, 0.5)
    exactly(memorization(held_out, held_out).copies, 0.01)
    exactly(memorization(torch.tensor([9.5, 10.0, 10.5, 99.0]), held_out).copies, 0.5)
    assert memorization(torch.full((3,), 2000.0), held_out).score.item() == 0


def test_copies_where_held_out_samples_are_copies_too() -> None:
    found = memorization(torch.zeros(4), torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert found.copies.item() == 1
    exactly(found.score, 0.625)


def test_memorization_of_many_takes_no_pairs() -> None:
    found = memorization(torch.rand(100_000), torch.rand(90_000))  # pairs: 72 GB
    torch.testing.assert_close(found.score.item(), 0.5, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(0), r"to be distances \(N,\), got shape \(0,\)"),
        (torch.zeros(3, 2), r"to be distances \(N,\), got shape \(3, 2\)"),
        (torch.tensor([1.0, math.nan]), "to be numbers, got NaN"),
    ],
)
def test_wrong_distances(wrong: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match="'held_out_nearest' " + message):
        memorization(torch.ones(2), wrong)
    with pytest.raises(ValueError, match="'fake_nearest' " + message):
        memorization(wrong, torch.ones(2))
    with pytest.raises(ValueError, match="'fake_radii' " + message):
        repetition(torch.ones(2), wrong)


def test_repetition() -> None:
    real, fake = torch.rand(31) + 1, torch.cat([torch.zeros(10), torch.rand(21) / 4])
    typical = float(np.median(real.numpy()))
    found = repetition(real, fake)
    torch.testing.assert_close(
        found.spread.item(), float(np.median(fake.numpy())) / typical, rtol=1e-6, atol=0
    )
    exactly(found.repeats, float(np.mean(fake.numpy() < 0.1 * typical)))
    assert repetition(torch.zeros(3), torch.zeros(3)).spread.isnan()


@pytest.mark.parametrize(("real", "fake", "k"), [(7, 4, 3), (50, 50, 5), (20, 90, 5), (30, 1, 1)])
def test_coverage_of_one_distribution(real: int, fake: int, k: int) -> None:
    """Of a sample's N - 1 + M neighbours in any order, not all k nearest ones are real."""
    expected = 1 - math.comb(real - 1, k) / math.comb(real - 1 + fake, k)
    exactly(expected_coverage(real, fake, k), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 5, 5), "'k' to be at least 1 and below the 5 real samples, got 5"),
        ((5, 5, 0), "'k' to be at least 1"),
        ((9, 0, 5), "'num_fake' to be at least 1, got 0"),
    ],
)
def test_coverage_of_nothing(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_coverage(*arguments)
