"""DiffAugment against the paper's ranges and against all places that a loop finds."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.functional import zero_centered_gradient_penalty
from lightning_gan.training.diffaugment import DiffAugment, Policy

POLICIES: tuple[Policy, ...] = ("color", "translation", "cutout")


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    """Check range, mean and variance of a uniform distribution, within five standard errors."""
    assert values.min() >= low - 1e-4
    assert values.max() <= high + 1e-4
    unit = (values - low) / (high - low)
    n = len(values)
    assert unit.mean() == pytest.approx(1 / 2, abs=5 / (12 * n) ** 0.5)
    assert unit.var() == pytest.approx(1 / 12, abs=5 / (180 * n) ** 0.5)


def assert_each_equally_often(counts: Tensor) -> None:
    mean = counts.sum() / counts.numel()
    assert (counts - mean).abs().max() < 5 * mean.sqrt()


def test_colors_follow_the_paper() -> None:
    """The mean tells brightness, the spread of grey contrast, that around grey saturation."""
    images = torch.rand(2000, 3, 4, 5) * 2 - 1
    changed = DiffAugment(["color"])(images, 0)
    greys = [x.mean(dim=1, keepdim=True) for x in (images, changed)]
    means = [x.mean(dim=(1, 2, 3), keepdim=True) for x in (images, changed)]
    brightness = means[1] - means[0]
    contrast = (greys[1] - means[1]).flatten(1).norm(dim=1) / (
        (greys[0] - means[0]).flatten(1).norm(dim=1)
    )
    colors = [(x - grey).flatten(1) for x, grey in zip((images, changed), greys, strict=True)]
    saturation = colors[1].norm(dim=1) / colors[0].norm(dim=1) / contrast
    assert_uniform(brightness.flatten(), -0.5, 0.5)
    assert_uniform(saturation, 0, 2)
    assert_uniform(contrast, 0.5, 1.5)
    drawn = torch.stack([brightness.flatten(), saturation, contrast])
    assert (drawn.corrcoef() - torch.eye(3)).abs().max() < 5 / 2000**0.5
    # The paper's three steps, one after the other, lead to the same images.
    expected = images + brightness
    mean = expected.mean(dim=1, keepdim=True)
    expected = (expected - mean) * saturation.view(-1, 1, 1, 1) + mean
    mean = expected.mean(dim=(1, 2, 3), keepdim=True)
    expected = (expected - mean) * contrast.view(-1, 1, 1, 1) + mean
    torch.testing.assert_close(changed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "down", "right"), [(8, 12, 1, 2), (28, 3, 4, 0)])
def test_all_shifts_are_equally_likely(height: int, width: int, down: int, right: int) -> None:
    """The second image's height needs the halves rounded up: 28 / 8 = 3.5."""
    n = 60 * (2 * down + 1) * (2 * right + 1)
    image = torch.randn(1, 2, height, width)
    changed = DiffAugment(["translation"])(image.expand(n, -1, -1, -1), 0)
    counts = []
    for y in range(-down, down + 1):
        for x in range(-right, right + 1):
            padded = nn.functional.pad(image, (right, right, down, down))
            place = padded[..., down - y : down - y + height, right - x : right - x + width]
            counts.append((changed == place).flatten(1).all(dim=1).sum())
    assert sum(counts) == n
    assert_each_equally_often(torch.stack(counts).float())


@pytest.mark.parametrize(("height", "width"), [(4, 5), (6, 8), (7, 2)])
def test_all_squares_are_equally_likely(height: int, width: int) -> None:
    """The authors' indices: a start anywhere, half a size before it, clipped to the image."""
    high, wide = int(height / 2 + 0.5), int(width / 2 + 0.5)
    masks = []
    for y in range(height + 1 - high % 2):
        for x in range(width + 1 - wide % 2):
            mask = torch.ones(height, width)
            for row in range(y - high // 2, y - high // 2 + high):
                for column in range(x - wide // 2, x - wide // 2 + wide):
                    mask[min(max(row, 0), height - 1), min(max(column, 0), width - 1)] = 0
            masks.append(mask)
    image, n = torch.rand(1, 3, height, width) + 1, 60 * len(masks)
    changed = DiffAugment(["cutout"])(image.expand(n, -1, -1, -1), 0)
    found = [(changed == image * mask).flatten(1).all(dim=1).sum() for mask in masks]
    assert sum(found) == n
    assert_each_equally_often(torch.stack(found).float())


def test_policies_are_followed_in_their_order() -> None:
    images = torch.rand(30, 1, 8, 8)
    assert (DiffAugment(["color", "cutout"])(images, 0) == 0).flatten(1).any(dim=1).all()
    assert not (DiffAugment(["cutout", "color"])(images, 0) == 0).any()


def test_no_policy_changes_no_bit() -> None:
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(DiffAugment([])(images, 0), images)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_sample_is_changed_in_its_own_way(policy: Policy) -> None:
    images = torch.randn(1, 3, 16, 16).expand(8, -1, -1, -1)
    changed = DiffAugment([policy])(images, 0)
    assert len(changed.flatten(1).unique(dim=0)) >= 6
    torch.manual_seed(3)
    first = DiffAugment([policy])(images, 0)
    torch.manual_seed(3)
    assert torch.equal(DiffAugment([policy])(images, 10**6), first)
    assert not torch.equal(first, changed)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels: int) -> None:
    changed = DiffAugment()(torch.randn(3, channels, 8, 8), 0)
    assert changed.shape == (3, channels, 8, 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precision_is_kept(dtype: torch.dtype) -> None:
    images = torch.rand(6, 3, 8, 8).to(dtype)
    results = []
    for enabled, samples in [(False, images), (True, images), (False, images.float())]:
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(DiffAugment()(samples, 0))
    assert results[0].dtype == results[1].dtype == dtype
    assert torch.equal(results[0], results[1])
    torch.testing.assert_close(results[0].float(), results[2], rtol=1e-2, atol=1e-2)


def test_slope_penalty_through_the_augmentation() -> None:
    """The augmentation is affine, so that its Jacobian turns D's slope into that of the whole."""
    convolution = nn.Conv2d(3, 2, 3)
    discriminator = nn.Sequential(convolution, nn.Softplus(), nn.Flatten(), nn.Linear(32, 1))
    discriminator.double()
    images = torch.randn(1, 3, 6, 6, dtype=torch.float64)

    def changed(x: Tensor) -> Tensor:
        torch.manual_seed(2)
        result: Tensor = DiffAugment()(x, 0)
        return result

    penalty = zero_centered_gradient_penalty(lambda x: discriminator(changed(x)), images)
    shown = changed(images).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(shown).sum(), shown, create_graph=True)
    jacobian = torch.autograd.functional.jacobian(changed, images).view(108, 108)
    expected = 0.5 * (jacobian.T @ slope.flatten()).square().sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(x, convolution.weight) for x in (penalty, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert penalty > 0


def test_points_are_refused() -> None:
    message = r"Expected 'samples' of DiffAugment to be images \(N, C, H, W\), got the shape \(5, 2"
    with pytest.raises(ValueError, match=message):
        DiffAugment()(torch.zeros(5, 2), 0)


@pytest.mark.parametrize("policy", [["color", "flip"], "color,cutout"])
def test_unknown_policies_are_refused(policy: Sequence[Policy]) -> None:
    with pytest.raises(ValueError, match="Expected 'policy' to be a list of 'color', 'trans"):
        DiffAugment(policy)
