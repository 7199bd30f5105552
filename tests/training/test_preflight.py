from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn

from lightning_gan.layers import equalize_learning_rate, spectral_normalize
from lightning_gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MixtureGenerator,
    MLPDiscriminator,
    MLPGenerator,
)
from lightning_gan.training import R1
from lightning_gan.training.penalty import LogitPenalty, Penalties
from lightning_gan.training.preflight import (
    check_batch,
    check_conditional,
    check_mixture,
    check_networks,
    check_outputs,
    check_packing,
    check_plain_weights,
    check_same_classes,
    check_synchronization,
    check_trainer,
    check_unrolling,
)
from tests.toys import toy_trainer

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": None},
        {"gradient_clip_val": 0},
        {"strategy": "ddp", "devices": 2},
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


@pytest.mark.parametrize("num_outputs", [2, 11])
def test_several_outputs_that_fit(num_outputs: int) -> None:
    x = torch.zeros(2, 3, 8, 8)
    check_networks(x, x, lambda _: torch.zeros(2, num_outputs), num_outputs)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3), (2, 4, 1), (4,), (3, 4), (4, 2)])
def test_refuses_another_number_of_outputs(shape: tuple[int, ...]) -> None:
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError) as error:
        check_networks(x, x, lambda _: torch.zeros(shape), num_outputs=4)
    assert str(error.value) == (
        f"Expected 'discriminator' to return 4 outputs per sample, (2, 4), got {shape}."
    )


@pytest.mark.parametrize(("expected", "found"), [(1, 1), (4, 4), (1, None), (4, None)])
def test_outputs_that_fit_or_are_unknown(expected: int, found: int | None) -> None:
    check_outputs(expected, found)


@pytest.mark.parametrize(("expected", "found"), [(4, 1), (1, 4), (11, 10)])
def test_refuses_a_discriminator_of_other_outputs(expected: int, found: int) -> None:
    message = (
        rf"'discriminator' with num_outputs={expected}, .* losses read, got num_outputs={found}\.$"
    )
    with pytest.raises(ValueError, match=message):
        check_outputs(expected, found)


def _of_classes(num_classes: int | None) -> nn.Module:
    network = nn.Linear(2, 2)
    network.num_classes = num_classes  # type: ignore[assignment]
    return network


def test_conditional_networks_that_fit() -> None:
    check_conditional("X", generator=_of_classes(3))
    check_conditional("X", generator=_of_classes(3), discriminator=_of_classes(3))


@pytest.mark.parametrize("unconditional", [nn.Linear(2, 2), _of_classes(None)])
def test_refuses_unconditional_networks(unconditional: nn.Module) -> None:
    message = r"conditional 'second' for X, .* num_classes=None\. Give the network its num_classes"
    with pytest.raises(ValueError, match=message):
        check_conditional("X", first=_of_classes(3), second=unconditional)


def test_refuses_networks_of_different_classes() -> None:
    message = r"same num_classes, got {'first': 3, 'second': 10}\."
    with pytest.raises(ValueError, match=message):
        check_conditional("X", first=_of_classes(3), second=_of_classes(10))


class _OwnMixture(nn.Module):
    num_generators = 2

    def choose(self, z: Tensor) -> Tensor:
        return (z[:, 0] > 0).long()

    def assign(self, z: Tensor, indices: Tensor) -> Tensor:
        return torch.cat([2.0 * indices[:, None] - 1, z[:, 1:]], dim=1)


def test_synchronised_batch_norm_of_a_mixture() -> None:
    def mixture(share: Any) -> nn.Module:
        pattern = DCGANGenerator(image_size=8, base_channels=4)
        network = MixtureGenerator(pattern, 2, share)
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # as the Trainer
        return converted

    check_synchronization(mixture("trunk"))
    check_synchronization(MixtureGenerator(DCGANGenerator(image_size=8, base_channels=4), 2))
    check_synchronization(nn.SyncBatchNorm(2))
    with pytest.raises(ValueError, match="no 'sync_batchnorm' on the Trainer for a mixture"):
        check_synchronization(mixture("none"))


def test_mixtures() -> None:
    check_mixture("X", MixtureGenerator(MLPGenerator(), 2))
    check_mixture("X", _OwnMixture())  # of the user's own


@pytest.mark.parametrize(
    "attributes",
    [{}, {"num_generators": 2}, {"choose": "any"}, {"num_generators": 2, "choose": "any"}],
)
def test_refuses_single_generators(attributes: dict[str, Any]) -> None:
    network = nn.Linear(2, 2)
    for name, value in attributes.items():
        setattr(network, name, value)
    message = (
        r"MixtureGenerator as 'generator' of X, got Linear\. "
        r"Wrap it: MixtureGenerator\(generator, num_generators=4\)\."
    )
    with pytest.raises(ValueError, match=message):
        check_mixture("X", network)


def test_refuses_spawned_processes(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, strategy="ddp_spawn", devices=2)
    with pytest.raises(ValueError, match=r"\('ddp'\) or to fork them .* got a spawning one"):
        check_trainer(trainer)


def test_networks_of_different_classes() -> None:
    check_same_classes(generator=MLPGenerator(num_classes=3), discriminator=MLPDiscriminator())
    with pytest.raises(ValueError, match=r"same num_classes, got {'generator': 3, 'disc.*': 2}"):
        check_same_classes(
            generator=MLPGenerator(num_classes=3), discriminator=MLPDiscriminator(num_classes=2)
        )


@pytest.mark.parametrize("normalize", [spectral_normalize, equalize_learning_rate])
def test_parametrised_weights_are_not_clipped(normalize: Any) -> None:
    check_plain_weights(MLPDiscriminator())
    with pytest.raises(ValueError, match=r"'layers\.1'.*'weight_clip_val_d' to None"):
        check_plain_weights(normalize(MLPDiscriminator()))


# Packs


def _of_shape(*shape: int) -> nn.Module:
    network = nn.Linear(2, 2)
    network.sample_shape = shape  # type: ignore[assignment]
    return network


@pytest.mark.parametrize(
    ("packing", "made", "taken"),
    [
        (1, (3, 8, 8), (3, 8, 8)),
        (2, (3, 8, 8), (6, 8, 8)),
        (3, (2,), (6,)),
        (5, (1, 4, 4), (5, 4, 4)),
    ],
)
def test_packs_that_fit(packing: int, made: tuple[int, ...], taken: tuple[int, ...]) -> None:
    check_packing(packing, _of_shape(*made), _of_shape(*taken), num_outputs=1)
    check_packing(packing, _of_classes(3), _of_shape(*taken), num_outputs=1)  # of an unknown shape
    check_packing(packing, _of_shape(*made), nn.Linear(2, 2), num_outputs=1)


def test_single_samples_may_have_classes() -> None:
    check_packing(1, _of_classes(3), _of_classes(3), num_outputs=1)
    check_packing(1, nn.Linear(2, 2), nn.Linear(2, 2), num_outputs=11)
    check_packing(2, _of_classes(3), _of_classes(None), num_outputs=1)  # of the generator only


@pytest.mark.parametrize("packing", [0, -3])
def test_refuses_packs_of_nothing(packing: int) -> None:
    with pytest.raises(ValueError) as error:
        check_packing(packing, nn.Linear(2, 2), nn.Linear(2, 2), num_outputs=1)
    assert str(error.value) == f"Expected 'packing' to be at least 1, got {packing}."


@pytest.mark.parametrize(("num_classes", "num_outputs"), [(3, 1), (None, 4), (3, 4)])
def test_refuses_packs_of_several_classes(num_classes: int | None, num_outputs: int) -> None:
    message = r"under packing=2, got one with classes: those of a pack's samples differ\."
    with pytest.raises(ValueError, match=message):
        check_packing(2, nn.Linear(2, 2), _of_classes(num_classes), num_outputs)


@pytest.mark.parametrize(
    ("packing", "made", "taken"),
    [(2, (3, 8, 8), (3, 8, 8)), (2, (3, 8, 8), (9, 8, 8)), (4, (2,), (2,))],
)
def test_refuses_a_discriminator_of_other_packs(
    packing: int, made: tuple[int, ...], taken: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError) as error:
        check_packing(packing, _of_shape(*made), _of_shape(*taken), num_outputs=1)
    assert str(error.value) == (
        f"Expected a 'discriminator' for {packing * made[0]} channels under packing={packing}, "
        f"{packing} times the generator's {made[0]}, got one for {taken[0]}."
    )


@pytest.mark.parametrize(
    ("samples", "packing", "rows"), [(4, 2, 2), (5, 2, 2), (6, 3, 2), (1, 3, 1)]
)
def test_a_row_for_each_pack(samples: int, packing: int, rows: int) -> None:
    x = torch.zeros(samples, 3, 8, 8)
    check_networks(x, x, lambda _: torch.zeros(rows, 5), packing=packing)
    message = rf"one row of logits per sample, \({rows}, \.\.\.\), got \({rows + 1},\)"
    with pytest.raises(ValueError, match=message):
        check_networks(x, x, lambda _: torch.zeros(rows + 1), packing=packing)


class _NeedsBoth(LogitPenalty):
    name = "both"
    needs_both_networks = True

    def penalty(self, discriminator: Any, real: Tensor, fake: Tensor) -> Tensor:
        return real.sum()


def test_unrolling_that_fits() -> None:
    network = nn.Identity()
    check_unrolling(0, 0.01, Penalties([_NeedsBoth(1.0)], network))
    check_unrolling(3, None, Penalties([R1()], network))


@pytest.mark.parametrize(
    ("steps", "clip", "penalties", "message"),
    [
        (-1, None, [], r"'unrolled_steps' to be at least 0, got -1"),
        (1, 0.01, [], r"'weight_clip_val_d' to be None .* got 0\.01"),
        (2, None, [_NeedsBoth(1.0)], r"no penalty on both networks' .* got unrolled_steps=2"),
    ],
)
def test_refuses_unrolling_of_other_steps(
    steps: int, clip: float | None, penalties: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_unrolling(steps, clip, Penalties(penalties, nn.Identity()))
