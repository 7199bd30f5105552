from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor

from lightning_gan.networks import DCGANDiscriminator
from lightning_gan.training.preflight import check_batch, check_networks, check_trainer
from tests.toys import toy_trainer

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": None},
        {"gradient_clip_val": 0},
        {"strategy": "ddp", "devices": 2},
        {"strategy": "ddp_spawn", "devices": 2},
        {"strategy": "ddp_fork", "devices": 2},
        {"strategy": "ddp_notebook", "devices": 2},
        {"strategy": "ddp_find_unused_parameters_true", "devices": 2},
    ],
    ids=str,
)
def test_trainer_that_fits(tmp_path: Path, options: dict[str, Any]) -> None:
    trainer = toy_trainer(tmp_path, **options)
    check_trainer(trainer)
    assert not trainer.training  # nothing was started


def test_refuses_gradient_clipping_by_the_trainer(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, gradient_clip_val=0.5)
    with pytest.raises(ValueError) as error:
        check_trainer(trainer)
    assert "no 'gradient_clip_val' on the Trainer, got 0.5" in str(error.value)
    assert "'gradient_clip_val_g' and 'gradient_clip_val_d'" in str(error.value)


def test_refuses_accumulation_by_the_trainer(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, accumulate_grad_batches=4)
    with pytest.raises(ValueError) as error:
        check_trainer(trainer)
    assert "no 'accumulate_grad_batches' on the Trainer, got 4" in str(error.value)
    assert "Use a larger batch size" in str(error.value)


def test_refuses_sharding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = toy_trainer(tmp_path)
    monkeypatch.setattr(Trainer, "strategy", FSDPStrategy())
    with pytest.raises(ValueError, match=r"'strategy' to be .* 'ddp' .*, got FSDPStrategy: "):
        check_trainer(trainer)


def test_refuses_unknown_strategies() -> None:
    class OtherStrategy: ...

    trainer: Any = SimpleNamespace(
        gradient_clip_val=None, accumulate_grad_batches=1, strategy=OtherStrategy()
    )
    with pytest.raises(ValueError, match="got OtherStrategy: "):
        check_trainer(trainer)


@pytest.mark.parametrize(
    "real",
    [
        torch.rand(2, 3, 4, 4) * 2 - 1,
        torch.ones(2, 1, 4, 4),
        torch.full((2, 1, 4, 4), 1.0009),  # an overshoot of resizing
        -torch.full((2, 1, 4, 4), 1.0009),
        torch.zeros(2, 1, 4, 4, dtype=torch.float16),
        torch.zeros(2, 1, 4, 4, dtype=torch.bfloat16),
        torch.zeros(2, 1, 4, 4, dtype=torch.float64),
        100 * torch.randn(5, 2),  # points may lie anywhere
    ],
    ids=lambda x: f"{tuple(x.shape)} {x.dtype}",
)
def test_samples_that_fit(real: Tensor) -> None:
    before = real.clone()
    check_batch(real, None, None)
    torch.testing.assert_close(real, before, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 2)])
def test_refuses_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    message = rf"images as float in \[-1, 1\], got {dtype}\. .* x / 127\.5 - 1"
    with pytest.raises(TypeError, match=message):
        check_batch(torch.zeros(shape, dtype=dtype), None, None)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 2)])
def test_refuses_values_that_are_not_finite(bad: float, shape: tuple[int, ...]) -> None:
    real = torch.zeros(shape)
    real.view(-1)[3] = bad
    with pytest.raises(ValueError, match=f"Expected finite values in the data, got .*{bad}"):
        check_batch(real, None, None)


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.002, 1.0), (-1.0, 1.002), (-2.1, 2.6)])
def test_refuses_images_out_of_range(low: float, high: float) -> None:
    real = torch.linspace(low, high, 32).view(2, 1, 4, 4)
    message = rf"images in \[-1, 1\], got minimum {low:.4g}, maximum {high:.4g}\. .* 2 \* x - 1"
    with pytest.raises(ValueError, match=message):
        check_batch(real, None, None)


@pytest.mark.parametrize("labels", [[0, 0], [2, 1], [0, 2]])
def test_labels_that_fit(labels: list[int]) -> None:
    check_batch(torch.zeros(2, 2), torch.tensor(labels), 3)


def test_labels_are_ignored_without_classes() -> None:
    check_batch(torch.zeros(2, 2), torch.tensor([-5, 99]), None)


def test_refuses_missing_labels() -> None:
    message = r"batches of \(images, labels\) .* num_classes=3, got images alone"
    with pytest.raises(ValueError, match=message):
        check_batch(torch.zeros(2, 2), None, 3)


@pytest.mark.parametrize(("labels", "named"), [([0, 3], 3), ([-1, 0], -1), ([-1, 7], -1)])
def test_refuses_labels_out_of_range(labels: list[int], named: int) -> None:
    message = rf"labels in \[0, 2\] for networks with num_classes=3, got {named}\."
    with pytest.raises(ValueError, match=message):
        check_batch(torch.zeros(2, 2), torch.tensor(labels), 3)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 3, 3)])
def test_networks_that_fit(shape: tuple[int, ...]) -> None:
    calls: list[Tensor] = []

    def discriminator(x: Tensor) -> Tensor:
        calls.append(x)
        return torch.zeros(shape)

    real = torch.zeros(2, 3, 8, 8)
    check_networks(real, torch.ones_like(real), discriminator)
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 16, 16), (2, 3)])
def test_refuses_a_generator_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as error:
        check_networks(torch.zeros(2, 3, 8, 8), torch.zeros(shape), lambda x: x)
    assert str(error.value) == (
        f"Expected 'generator' to make samples of the data's shape (3, 8, 8), got {shape[1:]}."
    )


def test_refuses_a_discriminator_of_another_shape() -> None:
    x = torch.zeros(2, 3, 8, 8)
    network = DCGANDiscriminator(16, 3, base_channels=2)
    message = r"'discriminator' to take .* \(3, 8, 8\), got the error: .*\(3, 16, 16\)"
    with pytest.raises(ValueError, match=message):
        check_networks(x, x, network)
    foreign = torch.nn.Conv2d(1, 1, 3)
    with pytest.raises(ValueError, match=r"'discriminator' .* to have 1 channels") as error:
        check_networks(x, x, foreign)
    assert isinstance(error.value.__cause__, RuntimeError)


@pytest.mark.parametrize("shape", [(), (1,), (6, 1)])
def test_refuses_a_discriminator_without_a_logit_per_sample(shape: tuple[int, ...]) -> None:
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError) as error:
        check_networks(x, x, lambda _: torch.zeros(shape))
    assert str(error.value) == (
        f"Expected 'discriminator' to return one row of logits per sample, (2, ...), got {shape}."
    )
