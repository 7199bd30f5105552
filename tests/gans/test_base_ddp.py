"""Plain ddp on two processes against one process on the union of their batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_gan import GAN, WGANGP
from lightning_gan.layers import apply
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from tests.ranks import WORLD_SIZE, Ranks
from tests.toys import (
    NUM_CLASSES,
    VARIANTS,
    ToyData,
    flat,
    image_networks,
    labelled,
    networks_for,
    sgd,
    toy_networks,
    toy_trainer,
)

STEPS, N_CRITIC, BATCH = 3, 2, 8


class _PartlyUsed(nn.Module):
    """Has a parameter no step uses, and one that not every call uses."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.inner = generator
        self.never = nn.Parameter(torch.ones(3))
        self.sometimes = nn.Parameter(torch.ones(()))
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("latent_dim", "num_classes", "num_generators", "choose", "assign"):
            return getattr(self.inner, name)
        return super().__getattr__(name)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls += 1
        x: Tensor = apply(self.inner, z, labels)
        return x * self.sometimes if self.calls % 3 else x


class _UnionRandom:
    """Draws for the union of all ranks and gives each rank its rows."""

    def __init__(self, draw: Any, rank: int, world_size: int) -> None:
        self.draw, self.rank, self.world_size, self.calls = draw, rank, world_size, 0

    def __call__(self, *shape: Any, **_: Any) -> Tensor:
        self.calls += 1
        rows, *rest = shape[0] if isinstance(shape[0], tuple) else shape
        generator = torch.Generator().manual_seed(self.calls)
        union = self.draw((rows * self.world_size, *rest), generator=generator)
        share: Tensor = union[self.rank * rows : (self.rank + 1) * rows]
        return share


def _networks(case: str, variant: str) -> dict[str, Any]:
    torch.manual_seed(0)
    networks = networks_for(VARIANTS[variant])
    if case != "plain":
        for layer in networks["discriminator"].modules():
            if isinstance(layer, nn.Linear):
                spectral_norm(layer)
        networks["generator"] = _PartlyUsed(networks["generator"])
    return networks


def _batches(data: Tensor, classes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(data.flatten(1, -2), classes.flatten(1), strict=True)


def _train(rank: int, world_size: int, folder: Path, case: str, variant: str) -> Tensor:
    """Return all weights after some steps, on this rank's share of fixed data."""
    data = torch.randn(
        STEPS, N_CRITIC, WORLD_SIZE, BATCH, 2, generator=torch.Generator().manual_seed(1)
    )
    classes = torch.arange(BATCH).expand(data.shape[:-1]) % NUM_CLASSES
    ranks = slice(None) if world_size == 1 else rank
    model_options = _networks(case, variant) | {"optimizer_g": sgd, "optimizer_d": sgd}
    if case != "plain":
        model_options["weight_clip_val_d"] = None  # WGAN's would be refused
    model = VARIANTS[variant](**model_options, n_critic=N_CRITIC)
    options: dict[str, Any] = {"max_steps": STEPS}
    if world_size > 1:
        options |= {"strategy": "ddp", "devices": world_size, "use_distributed_sampler": False}
    rand, randn = torch.rand, torch.randn
    with (
        patch("torch.rand", _UnionRandom(rand, rank, world_size)),
        patch("torch.randn", _UnionRandom(randn, rank, world_size)),
    ):
        toy_trainer(folder, **options).fit(
            model, ToyData(*_batches(data[:, :, ranks], classes[:, :, ranks]))
        )
    return flat(model)


def _train_rank(rank: int, folder: Path, case: str, variant: str) -> Tensor:
    return _train(rank, WORLD_SIZE, folder, case, variant)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", ["plain", "spectral norm, unused parameters"])
def test_two_ranks_equal_one_on_the_union(
    ranks: Ranks, tmp_path: Path, case: str, variant: str
) -> None:
    expected = _train(0, 1, tmp_path, case, variant)
    for weights in ranks.run(_train_rank, tmp_path, case, variant):
        torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)


class _Latents(WGANGP):
    """Remembers what it drew and the buffers it would save."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drawn: list[Tensor] = []
        self.saved: list[Tensor] = []

    def sample_latents(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        self.drawn.append(super().sample_latents(n, generator))
        return self.drawn[-1]

    def on_train_batch_end(self, *_: Any) -> None:
        self.saved.append(torch.cat([b.flatten().float() for b in self.generator.buffers()]))


def _train_batch_norm(rank: int, folder: Path) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    model = _Latents(**image_networks(), n_critic=2)
    batches = torch.rand(3, 8, 1, 8, 8, generator=torch.Generator().manual_seed(rank)) * 2 - 1
    trainer = toy_trainer(folder, max_steps=3, strategy="ddp", devices=2)
    trainer.fit(model, ToyData(*batches))
    return torch.stack(model.saved), torch.cat(model.drawn[1:])


def test_buffers_are_equal_and_latents_differ(ranks: Ranks, tmp_path: Path) -> None:
    (buffers, latents), (other_buffers, other_latents) = ranks.run(_train_batch_norm, tmp_path)
    torch.testing.assert_close(buffers, other_buffers, rtol=0, atol=0)
    assert len(buffers.unique(dim=0)) == 3
    assert not torch.isclose(latents, other_latents).any()


class _Overflowing(GAN):
    """In the second iteration, the generator's loss overflows on rank 1."""

    def generator_loss(self, real: Batch, fake: Batch) -> Terms:
        terms = super().generator_loss(real, fake)
        if self.trainer.global_step == 1 and self.global_rank == 1:
            terms["adversarial"] = terms["adversarial"] * torch.inf
        return terms


def _train_overflowing(rank: int, folder: Path) -> tuple[Tensor, Tensor, float]:
    torch.manual_seed(0)
    model = _Overflowing(**toy_networks(), optimizer_g=sgd, optimizer_d=sgd)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    generators = []

    class Watch(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            generators.append(flat(model.generator))

    trainer = toy_trainer(
        folder,
        max_steps=3,
        strategy="ddp",
        devices=2,
        plugins=MixedPrecision("16-mixed", "cpu", scaler),
        callbacks=[Watch()],
    )
    batches = torch.randn(3, BATCH, 2, generator=torch.Generator().manual_seed(rank))
    trainer.fit(model, ToyData(*batches))
    return torch.stack(generators), flat(model), scaler.get_scale()


def test_overflow_on_one_rank_skips_the_step_on_all(ranks: Ranks, tmp_path: Path) -> None:
    (generators, weights, scale), other = ranks.run(_train_overflowing, tmp_path)
    assert torch.equal(generators[0], generators[1])  # skipped
    assert not torch.equal(generators[1], generators[2])
    assert weights.isfinite().all()
    assert torch.equal(generators, other[0])
    assert torch.equal(weights, other[1])
    assert scale == other[2] == 128.0


def _train_half(rank: int, folder: Path, variant: str) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    model = VARIANTS[variant](
        **networks_for(VARIANTS[variant], image_networks), optimizer_g=sgd, optimizer_d=sgd
    )
    before = flat(model)
    batches = torch.rand(2, 10, 1, 8, 8, generator=torch.Generator().manual_seed(rank)) * 2 - 1
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "precision": "bf16-mixed"}
    toy_trainer(folder, **options).fit(model, labelled(ToyData(*batches)))
    return before, flat(model)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bf16_on_two_ranks(ranks: Ranks, tmp_path: Path, variant: str) -> None:
    (before, after), (_, other) = ranks.run(_train_half, tmp_path, variant)
    assert torch.equal(after, other)
    assert after.isfinite().all()
    assert not torch.equal(after, before)
