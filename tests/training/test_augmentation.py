"""Instance noise against its schedule and the moments of a normal distribution."""

import pytest
import torch

from lightning_gan.training.augmentation import InstanceNoise
from lightning_gan.training.schedules import LinearSchedule

STD, FALLING = 0.4, LinearSchedule(0.4, 0.0, images=200)


@pytest.mark.parametrize(("images", "std"), [(0, 0.4), (100, 0.2)])
@pytest.mark.parametrize("shape", [(100, 1, 20, 20), (20_000, 2)])
def test_noise_is_normal_of_the_scheduled_std(
    images: int, std: float, shape: tuple[int, ...]
) -> None:
    samples = torch.rand(shape) * 2 - 1
    noise = InstanceNoise(FALLING)(samples, images) - samples
    n = noise.numel()
    assert noise.shape == shape
    # Five standard errors of the mean, the variance and the fourth moment.
    assert noise.mean().item() == pytest.approx(0, abs=5 * std / n**0.5)
    assert noise.var().item() == pytest.approx(std**2, rel=5 * (2 / n) ** 0.5)
    assert (noise / std).pow(4).mean().item() == pytest.approx(3, abs=5 * (96 / n) ** 0.5)
    # Every value has noise of its own.
    first, second = noise[0::2].flatten(), noise[1::2].flatten()
    assert (first * second).mean().item() == pytest.approx(0, abs=5 * std**2 / (n / 2) ** 0.5)


def test_noise_is_drawn_anew_from_the_global_generator() -> None:
    samples, augmentation = torch.zeros(4, 2), InstanceNoise(STD)
    draws = [augmentation(samples, 0) for _ in range(2)]
    assert not torch.isclose(*draws).any()
    torch.manual_seed(3)
    first = augmentation(samples, 0)
    torch.manual_seed(3)
    assert torch.equal(augmentation(samples, 0), first)


@pytest.mark.parametrize(("std", "images"), [(0.0, 0), (FALLING, 200), (FALLING, 201)])
def test_no_noise_changes_no_bit(std: float | LinearSchedule, images: int) -> None:
    samples, before = torch.randn(5, 3), torch.get_rng_state()
    assert torch.equal(InstanceNoise(std)(samples, images), samples)
    torch.randn(5, 3)
    torch.set_rng_state(before)
    InstanceNoise(std)(samples, images)
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_left_as_they_are() -> None:
    samples = torch.randn(5, 3)
    before = samples.clone()
    InstanceNoise(STD)(samples, 0)
    assert torch.equal(samples, before)


def test_gradient_passes() -> None:
    samples = torch.randn(5, 3, requires_grad=True)
    weights = torch.randn(5, 3)
    (InstanceNoise(STD)(samples, 0) * weights).sum().backward()  # type: ignore[no-untyped-call, unused-ignore]
    assert samples.grad is not None
    torch.testing.assert_close(samples.grad, weights, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_kept(dtype: torch.dtype) -> None:
    assert InstanceNoise(STD)(torch.zeros(3, 2, dtype=dtype), 0).dtype == dtype


def test_nothing_is_saved() -> None:
    augmentation = InstanceNoise(FALLING)
    assert not augmentation.state_dict()
    assert not [*augmentation.parameters()]


@pytest.mark.parametrize("std", [-0.1, float("nan")])
def test_bad_std_is_refused(std: float) -> None:
    with pytest.raises(
        ValueError, match=f"Expected 'std' to be non-negative and finite, got {std}"
    ):
        InstanceNoise(std)
