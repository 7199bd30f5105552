"""ADA's transformations against what they leave of known images, its p against a loop."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lightning_gan.functional import zero_centered_gradient_penalty
from lightning_gan.training.ada import ADA, AugmentationPipeline, Transform
from lightning_gan.training.schedules import LinearSchedule
from tests.ranks import Ranks

TRANSFORMS: tuple[Transform, ...] = ("blit", "geometry", "color", "noise", "cutout")


def pipeline(p: float, *transforms: Transform) -> AugmentationPipeline:
    return AugmentationPipeline(p, transforms or TRANSFORMS)


def assert_share(chosen: Tensor, expected: float) -> None:
    """Check how often something happened, within five standard errors."""
    error = (expected * (1 - expected) / len(chosen)) ** 0.5
    assert chosen.float().mean().item() == pytest.approx(expected, abs=5 * error + 1e-6)


def assert_normal(values: Tensor, std: float) -> None:
    """Check the shares within one and two deviations, and on either side of the mean."""
    assert_share(values.abs() < std, math.erf(1 / 2**0.5))
    assert_share(values.abs() < 2 * std, math.erf(2**0.5))
    assert_share(values > 0, 0.5)


def assert_uniform(angles: Tensor) -> None:
    for quarter in range(4):
        low = (quarter - 2) * math.pi / 2
        assert_share((angles >= low) & (angles < low + math.pi / 2), 0.25)


def changed(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(dim=1)


# Blits


def test_blits_are_turned_mirrored_and_shifted_images() -> None:
    """Of 8 pixels an eighth is one, to which U(-1, 1) is rounded in a quarter of the cases."""
    image, n = torch.randn(1, 2, 8, 8), 3000
    results = pipeline(1.0, "blit")(image.expand(n, -1, -1, -1), 0)
    counts: dict[tuple[int, int, int, int], int] = {}
    for mirrored in range(2):
        for quarters in range(4):
            blit = torch.rot90(image.flip(3) if mirrored else image, quarters, dims=(2, 3))
            padded = np.pad(blit[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect")
            for y in range(3):
                for x in range(3):
                    place = torch.tensor(padded[:, y : y + 8, x : x + 8])
                    counts[mirrored, quarters, y, x] = n - int(changed(place, results).sum())
    assert sum(counts.values()) == n
    for (_, _, y, x), count in counts.items():
        expected = n / 8 * (0.5 if y == 1 else 0.25) * (0.5 if x == 1 else 0.25)
        assert abs(count - expected) < 5 * expected**0.5


def test_shifts_reach_an_eighth_of_each_side() -> None:
    """Of an image of slopes, its middle tells how far it was moved, if nothing turned it."""
    columns, rows = torch.meshgrid(torch.arange(41.0), torch.arange(21.0), indexing="xy")
    images = torch.stack([columns, rows]).expand(1500, -1, -1, -1)
    results = pipeline(0.5, "blit")(images, 0)[:, :, 9:12, 19:22]
    upright = (results[:, 0].diff(dim=2) == 1).flatten(1).all(dim=1)
    upright &= (results[:, 1].diff(dim=1) == 1).flatten(1).all(dim=1)
    moves = results[upright][:, :, 1, 1] - torch.tensor([20.0, 10.0])
    assert moves.abs().max(dim=0).values.tolist() == [5, 3]  # round(41 / 8) and round(21 / 8)
    assert torch.equal(moves, moves.round())
    # Both directions are moved together: with p = 1 / 2, and of these few by 0.
    still = 0.5 + 0.5 * (1 / (41 / 4)) * (1 / (21 / 4))
    assert_share((moves == 0).all(dim=1), still)


def test_each_blit_has_its_own_chance() -> None:
    """Half of the mirrorings, a quarter of the turns and of the shifts of 8 pixels are none."""
    images, p = torch.randn(4000, 1, 8, 8), 0.3
    results = pipeline(p, "blit")(images, 0)
    untouched = (1 - p / 2) * (1 - 3 * p / 4) * (1 - 3 * p / 4)
    # A mirroring on top of half a turn is an image that neither leaves as it is.
    assert_share(~changed(images, results), untouched)


# Geometry


def motions(n: int, p: float, side: int = 25) -> tuple[Tensor, Tensor]:
    """Read maps (n, 2, 2) and shifts (n, 2) in sides off the middle of images of slopes."""
    columns, rows = torch.meshgrid(*[torch.arange(float(side)) - side // 2] * 2, indexing="xy")
    images = torch.stack([columns, rows]).expand(n, -1, -1, -1)
    m = side // 2
    near = pipeline(p, "geometry")(images, 0)[:, :, m - 1 : m + 2, m - 1 : m + 2]
    linear = torch.stack([near[:, :, 1, 2] - near[:, :, 1, 0],
                          near[:, :, 2, 1] - near[:, :, 0, 1]], dim=2) / 2  # fmt: skip
    return linear, -torch.linalg.solve(linear, near[:, :, 1, 1]) / side


def test_motions_follow_the_paper() -> None:
    linear, shift = motions(2500, p=1.0)
    u, values, v = torch.linalg.svd(linear)
    assert_normal(values.log2().mean(dim=1), 0.2)  # scales both directions
    stretch = (values[:, 0] / values[:, 1]).log2() / 2
    assert_share(stretch < 0.2, math.erf(1 / 2**0.5))
    assert_normal(shift[:, 0], 0.125)
    assert_normal(shift[:, 1], 0.125)
    assert_share((shift > 0).all(dim=1), 1 / 4)
    # The turns before and after a stretch together, and the direction of the stretch.
    whole = u @ v
    assert_uniform(torch.atan2(whole[:, 1, 0], whole[:, 0, 0]))
    axis = 2 * torch.atan2(u[:, 1, 0], u[:, 0, 0])  # of an axis, not an arrow
    assert_uniform(torch.atan2(axis.sin(), axis.cos()))


def test_each_motion_has_its_own_chance() -> None:
    p, eye = 0.4, torch.eye(2)
    linear, shift = motions(2500, p)
    turned = (linear - linear * eye).abs().flatten(1).amax(dim=1) > 1e-4
    turned |= linear.diagonal(dim1=1, dim2=2).amin(dim=1) < 0
    assert_share(turned, p)
    assert_share((shift.abs() > 1e-6).any(dim=1), p)
    assert_share((shift.abs() > 1e-6).all(dim=1), p)
    assert_share((torch.linalg.det(linear) - 1).abs() > 1e-5, p)
    values = torch.linalg.svdvals(linear)
    assert_share(values[:, 0] / values[:, 1] - 1 > 1e-4, p)
    assert_share(~changed(linear, eye) & (shift == 0).all(dim=1), (1 - p) ** 4)


# Colours


def colors(n: int, p: float) -> tuple[Tensor, Tensor]:
    """Read maps (n, 3, 3) and offsets (n, 3) of colours off an image of four pixels."""
    pixels = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).T.view(1, 3, 2, 2)
    results = pipeline(p, "color")(pixels.expand(n, -1, -1, -1), 0).flatten(2)
    offset = results[:, :, :1]
    return results[:, :, 1:] - offset, offset[:, :, 0]


def test_colors_follow_the_paper() -> None:
    linear, offset = colors(4000, p=1.0)
    grey = torch.full((3,), 3**-0.5)
    along = linear @ grey  # stays on the grey axis
    contrast = along @ grey
    torch.testing.assert_close(along, contrast[:, None] * grey, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grey @ linear, contrast[:, None] * grey, rtol=1e-4, atol=1e-4)
    assert_share(contrast < 0, 0.5)
    assert_normal(contrast.abs().log2(), 0.5)
    brightness = offset / contrast[:, None]
    torch.testing.assert_close(brightness, brightness[:, :1].expand(-1, 3), rtol=1e-3, atol=1e-4)
    assert_normal(brightness[:, 0], 0.2)
    # Across that axis colours are turned, and their distance from it is multiplied.
    plane = torch.linalg.qr(torch.stack([grey, *torch.eye(3)[:2]], dim=1)).Q[:, 1:]
    across = plane.T @ linear @ plane
    saturation = torch.linalg.det(across).sqrt() / contrast.abs()
    assert_normal(saturation.log2(), 1.0)
    turn = across / (saturation * contrast.abs())[:, None, None]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(2).expand_as(turn), rtol=0, atol=1e-3)
    assert_uniform(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]))


def test_each_color_has_its_own_chance() -> None:
    p = 0.4
    linear, offset = colors(4000, p)
    contrast = linear.sum(dim=(1, 2)) / 3
    assert_share(contrast < 0, p / 2)
    assert_share((contrast.abs() - 1).abs() > 1e-5, p)
    assert_share((offset != 0).any(dim=1), p)
    untouched = ~changed(linear, torch.eye(3)) & (offset == 0).all(dim=1)
    assert_share(untouched, (1 - p) ** 4 * (1 - p / 2))


def test_grey_images_get_brightness_and_contrast() -> None:
    pixels = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(4000, -1, -1, -1)
    offset, end = pipeline(1.0, "color")(pixels, 0).view(-1, 2).T
    contrast = end - offset
    assert_share(contrast < 0, 0.5)
    assert_normal(contrast.abs().log2(), 0.5)
    assert_normal(offset / contrast, 0.2)


# Noise and cutout


def test_noise_is_as_strong_as_a_half_normal() -> None:
    results = pipeline(0.6, "noise")(torch.zeros(2000, 3, 12, 12), 0)
    std = results.flatten(1).std(dim=1)
    noisy = std > 0
    assert_share(noisy, 0.6)
    # 432 values tell a deviation up to 3 %; three of these blur the shares by 1 % of them.
    assert_share(std[noisy] < 0.1, math.erf(1 / 2**0.5))
    assert_share(std[noisy] < 0.2, math.erf(2**0.5))
    unit = results[noisy] / std[noisy].view(-1, 1, 1, 1)
    assert unit.mean().item() == pytest.approx(0, abs=5 / unit.numel() ** 0.5)
    assert unit.pow(4).mean().item() == pytest.approx(3, abs=0.05)


def test_cutout_cuts_a_quarter_that_lies_anywhere() -> None:
    """Pixel i of a side is cut if |(i + 1/2) / side - c| < 1/4, c uniform."""
    images = torch.rand(4000, 2, 6, 10) + 1
    kept = pipeline(0.7, "cutout")(images, 0) / images
    assert kept.unique().tolist() == [0, 1]
    assert torch.equal(kept[:, 0], kept[:, 1])
    assert_share((kept == 0).flatten(1).any(dim=1), 0.7)
    places = [(np.arange(side) + 0.5) / side for side in (6, 10)]
    rows, columns = (np.minimum(1, x + 0.25) - np.maximum(0, x - 0.25) for x in places)
    for row in range(6):
        for column in range(10):
            assert_share(kept[:, 0, row, column] == 0, 0.7 * rows[row] * columns[column])
    cut = kept[:, 0] == 0
    rectangle = cut.any(dim=2, keepdim=True) & cut.any(dim=1, keepdim=True)
    assert torch.equal(cut, rectangle)


# All of them


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_without_probability_no_bit_is_changed(transform: Transform) -> None:
    images = torch.cat([torch.randn(4, 3, 8, 8), torch.full((1, 3, 8, 8), -0.0)])
    for augmentation in (pipeline(0.0, transform), ADA(transforms=[transform])):
        for samples in (images, images.bfloat16()):
            bits = augmentation(samples, 10**6).view(torch.int16)
            assert torch.equal(bits, samples.view(torch.int16))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_sample_is_changed_in_its_own_way(transform: Transform) -> None:
    images, augmentation = torch.randn(1, 3, 16, 16).expand(8, -1, -1, -1), pipeline(1, transform)
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(augmentation(images, 0))
    assert len(results[0].flatten(1).unique(dim=0)) >= 6
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_probability_follows_its_schedule_and_multipliers() -> None:
    augmentation = AugmentationPipeline(
        LinearSchedule(0, 1, images=100), ["cutout", "noise"], {"cutout": 0.5}
    )
    samples = torch.ones(2000, 1, 4, 4)
    for images, p in [(0, 0.0), (40, 0.4), (100, 1.0)]:
        assert augmentation.probability(images) == p
        results = augmentation(samples, images)
        assert_share((results == 0).flatten(1).any(dim=1), p / 2)
        assert_share(((results != 0) & (results != 1)).flatten(1).any(dim=1), p)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precision_is_kept(dtype: torch.dtype) -> None:
    images = torch.rand(6, 3, 8, 8).to(dtype)
    results = []
    for enabled, samples in [(False, images), (True, images), (False, images.float())]:
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(pipeline(1.0)(samples, 0))
    assert results[0].dtype == results[1].dtype == dtype
    assert torch.equal(results[0], results[1])
    torch.testing.assert_close(results[0].float(), results[2], rtol=1e-2, atol=1e-2)


def test_slope_penalty_through_the_augmentation() -> None:
    """The augmentation is affine, so that its Jacobian turns D's slope into that of the whole."""
    convolution = nn.Conv2d(3, 2, 3)
    discriminator = nn.Sequential(convolution, nn.Softplus(), nn.Flatten(), nn.Linear(32, 1))
    discriminator.double()
    images = torch.randn(1, 3, 6, 6, dtype=torch.float64)

    def through(x: Tensor) -> Tensor:
        torch.manual_seed(2)
        result: Tensor = pipeline(1.0)(x, 0)
        return result

    penalty = zero_centered_gradient_penalty(lambda x: discriminator(through(x)), images)
    shown = through(images).requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(shown).sum(), shown, create_graph=True)
    jacobian = torch.autograd.functional.jacobian(through, images).view(108, 108)
    expected = 0.5 * (jacobian.T @ slope.flatten()).square().sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(x, convolution.weight) for x in (penalty, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert penalty > 0


def test_points_and_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'samples' of ADA to be images \(N, C, H, W\), got the"):
        ADA()(torch.zeros(5, 2), 0)
    message = "'samples' of AugmentationPipeline to have 1 or 3 channels for 'color', got 4"
    with pytest.raises(ValueError, match=message):
        pipeline(0.0)(torch.zeros(5, 4, 8, 8), 0)
    assert pipeline(1.0, "blit", "geometry")(torch.zeros(5, 4, 8, 8), 0).shape == (5, 4, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.1}, r"Expected 'p' to be in \[0, 1\], got 1.1"),
        ({"p": LinearSchedule(0, 2, images=5)}, r"Expected 'p' to be in \[0, 1\], got Linear"),
        ({"p": 0.1, "transforms": []}, r"Expected 'transforms' to be a list of .*, got \[\]"),
        ({"p": 0.1, "transforms": ["bgc"]}, r"Expected 'transforms' to be a list .*'blit'.*bgc"),
        ({"p": 0.1, "multipliers": {"noise": 1}}, r"Expected 'multipliers' of .*'blit'.*'noise'"),
        ({"p": 0.1, "multipliers": {"blit": 2}}, r"'multipliers\[blit\]' to be in \[0, 1\], got 2"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentationPipeline(**arguments)


# The adaptive probability


def batches(count: int) -> list[tuple[Tensor, int]]:
    """Return logits of real samples, at first of an overfitting discriminator, and their number."""
    sizes = [8, 6, 12, 7, 9]
    means = torch.linspace(4, -3, count)
    return [(torch.randn(n := sizes[i % 5]) + means[i], n) for i in range(count)]


def test_p_follows_the_paper() -> None:
    target, horizon, interval = 0.5, 200, 3
    ada = ADA(target, horizon, interval)
    p, signs, seen, path = 0.0, 0.0, 0, []
    for update, (logits, n) in enumerate(batches(90)):
        ada.observe(logits, n)
        signs += sum(math.copysign(1, logit) for logit in logits.tolist())
        seen += n
        if (update + 1) % interval == 0:
            p += float(np.sign(signs / seen - target)) * seen / horizon
            p = min(max(p, 0.0), 1.0)
            signs, seen = 0.0, 0
        path.append(p)
        assert ada.probability(0) == pytest.approx(p, abs=1e-6)
    assert max(path) == 1  # rises and stops there, ...
    assert path[-1] == 0  # ... and falls and stops
    assert path.index(1.0) < 60 - 1


def test_patches_count_as_shares_of_an_image() -> None:
    """With as many signs of each kind r is 0, which is between the two targets."""
    logits = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 5, 5)
    for target, expected in [(-0.01, 0.2), (0.01, 0.0)]:
        ada = ADA(target, images=10, interval=1)
        ada.observe(logits, 2)
        assert ada.probability(0) == pytest.approx(expected)


def test_p_is_that_of_the_images_drawn() -> None:
    ada = ADA(0.0, images=100, interval=1, transforms=["cutout", "noise"], multipliers={"noise": 0})
    ada.observe(torch.ones(30), 30)
    results = ada(torch.ones(2000, 1, 4, 4), 0)
    assert_share((results == 0).flatten(1).any(dim=1), 0.3)
    assert set(results.unique().tolist()) == {0, 1}


def test_state_in_the_middle_of_an_interval_resumes_exactly() -> None:
    def ada() -> ADA:
        return ADA(0.2, images=100, interval=4)

    whole, resumed = ada(), ada()
    for i, (logits, n) in enumerate(batches(30)[:20]):
        if i == 6:
            resumed.load_state_dict(whole.state_dict())
        for augmentation in (whole, resumed)[: 1 + (i >= 6)]:
            augmentation.observe(logits, n)
    assert 0 < whole.probability(0) < 1
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_half_precision_weights_leave_p_exact() -> None:
    """A step of 4 images in 500,000 would be lost in bfloat16."""
    ada = ADA(interval=1).to(torch.bfloat16)
    for _ in range(1000):
        ada.observe(torch.ones(4, dtype=torch.bfloat16), 4)
    assert ada.probability(0) == pytest.approx(4000 / 500_000, rel=1e-6)


def _observe(rank: int, logits: list[Tensor]) -> tuple[list[float], dict[str, Tensor]]:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    ada, path = ADA(0.3, images=100, interval=3), []
    for both in logits:
        ada.observe(both[rank], both.numel())
        path.append(ada.probability(0))
    return path, ada.state_dict()


def test_two_ranks_are_as_one(ranks: Ranks) -> None:
    """Also in the middle of an interval, as 17 updates are no multiple of 3."""
    means = torch.linspace(2, -0.5, 17)
    logits = [torch.randn(2, 5) + torch.tensor([[mean + 1], [mean - 1]]) for mean in means]
    (first, state), (second, other) = ranks.run(_observe, logits)
    ada, alone = ADA(0.3, images=100, interval=3), []
    for both in logits:
        ada.observe(both.flatten(), 10)
        alone.append(ada.probability(0))
    assert first == second == alone
    assert max(alone) > 0.5
    for name, value in ada.state_dict().items():
        assert torch.equal(state[name], value)
        assert torch.equal(other[name], value)


def test_nothing_waits_for_the_device() -> None:
    """Tensors without values refuse to be read."""
    with FakeTensorMode():
        ada = ADA(transforms=TRANSFORMS, interval=1)
        ada.observe(torch.randn(4), 4)
        assert ada(torch.randn(4, 3, 8, 8), 4).shape == (4, 3, 8, 8)
        with pytest.raises(DataDependentOutputException):
            ada.probability(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 1.5}, r"Expected 'target' to be in \[-1, 1\], got 1.5"),
        ({"images": 0.5}, "Expected 'images' to be at least 1 and finite, got 0.5"),
        ({"images": math.inf}, "Expected 'images' to be at least 1 and finite, got inf"),
        ({"interval": 0}, "Expected 'interval' to be at least 1, got 0"),
        ({"transforms": ["bg"]}, "Expected 'transforms' to be a list"),
    ],
)
def test_bad_arguments_of_the_adaptive_one_are_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ADA(**arguments)
