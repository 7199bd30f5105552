"""One look at a training: complete for every variant, and without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning import Callback
from torch import Tensor, nn

from lightning_gan import GAN, SNGAN, WGAN
from lightning_gan.diagnostics import Motion, diversity, logit_figures, probe, steepness, unnoticed
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import MLPDiscriminator, ProGANDiscriminator, ProGANGenerator
from lightning_gan.training import ADA, ExperienceReplay, LeCam
from lightning_gan.training.batch import Batch, unpack
from tests.toys import (
    VARIANTS,
    assert_same,
    flat,
    image_networks,
    images,
    labelled,
    networks_for,
    points,
    toy_networks,
    toy_trainer,
)

ALWAYS = {
    *(f"real_logit_{of}" for of in ("mean", "std", "q05", "q50", "q95")),
    *(f"fake_logit_{of}" for of in ("mean", "std", "q05", "q50", "q95")),
    *("accuracy", "wasserstein", "g_grad_norm", "g_grad_logit", "diversity", "duplicates"),
}
SOMETIMES = {"overfitting", "clipped_share"}


def state_of(model: AdversarialModule) -> dict[str, Any]:
    """Return all that a training would go on with."""
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "trained": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "random": torch.get_rng_state(),
        "record": dict(model._record._values),
        "replay": None if model.replay is None else model.replay.state(),
        "images": model.images_seen,
    }


def prepare(model: AdversarialModule) -> None:
    """Give some weights a gradient, keep some from training, put a layer in evaluation mode."""
    weights = list(model.parameters())
    for weight in weights[::2]:
        weight.grad = torch.randn_like(weight)
    weights[1].requires_grad_(False)
    weights[-1].requires_grad_(False)
    list(model.discriminator.modules())[-1].eval()


@pytest.mark.parametrize("networks", [toy_networks, image_networks])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_is_probed_without_a_trace(
    variant: type[AdversarialModule], networks: Any
) -> None:
    model = variant(**networks_for(variant, networks))
    data = labelled(points() if networks is toy_networks else images())
    real, held_out = (unpack(batch) for batch in data.batches[:2])
    prepare(model)
    before = state_of(model)
    figures = probe(model, real, held_out)
    assert ALWAYS <= figures.keys() <= ALWAYS | SOMETIMES
    slopes = steepness(model, real)
    assert {"slope_mean", "slope_max", "largest_layer_norm"} <= slopes.keys()
    for name, figure in {**figures, **slopes}.items():
        assert type(figure) is float, name
        assert isfinite(figure), name
    assert_same(state_of(model), before)


class Watching(Callback):
    """Looks at each iteration."""

    def __init__(self) -> None:
        self.motion = Motion()
        self.figures: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        real = pl_module.receive(batch)
        found = probe(pl_module, real, real) | steepness(pl_module, real)
        self.figures.append(found | self.motion.update(pl_module, {"g": 1.0, "d": 1.0}))


def stateful() -> SNGAN:
    """Return a game in which everything that learns or remembers takes part."""
    return SNGAN(
        **image_networks(norm="batch"),
        n_critic=1,
        penalties=[LeCam()],
        augmentation=ADA(images=100, interval=1),
        replay=ExperienceReplay(capacity=20),
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_a_watched_training_is_the_same(precision: Any, tmp_path: Path) -> None:
    ends, watching = [], Watching()
    for callbacks in ([], [watching]):
        torch.manual_seed(0)
        model = stateful()
        trainer = toy_trainer(
            tmp_path, max_steps=3, callbacks=callbacks, precision=precision, log_every_n_steps=1
        )
        trainer.fit(model, images())
        record = {k: v for k, v in trainer.logged_metrics.items() if "per_second" not in k}
        ends.append([model.state_dict(), model.replay and model.replay.state(), record])
    assert_same(ends[1], ends[0])
    assert len(watching.figures) == 3
    assert watching.figures[-1].keys() >= ALWAYS | {"slope_mean", "rotation_g", "rotation_d"}


def test_figures_are_those_of_the_instruments() -> None:
    model, real = GAN(**toy_networks()), torch.randn(50, 2)
    with torch.random.fork_rng(devices=[]):
        fake = model.generate(50)
    found = probe(model, Batch(real), Batch(real + 0.1))
    with torch.no_grad():
        logits = [model.logits(Batch(x)) for x in (real, fake.samples, real + 0.1)]
    expected = logit_figures(*logits) | diversity(real, fake.samples)
    expected["g_grad_logit"] = float((1 - logits[1].sigmoid()).mean())
    assert found.keys() == expected.keys() | {"g_grad_norm"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_the_first_128_samples_are_looked_at() -> None:
    model, real, held_out = GAN(**toy_networks()), Batch(torch.randn(300, 2)), torch.randn(300, 2)
    first = probe(model, real.rows(slice(128)), Batch(held_out[:128]))
    assert probe(model, real, Batch(held_out)) == first
    assert probe(model, real.rows(slice(100)), Batch(held_out)) != first
    assert steepness(model, real) == steepness(model, real.rows(slice(128)))


def test_overfitting_needs_samples_that_are_held_out() -> None:
    model = GAN(**toy_networks())
    real = Batch(torch.randn(60, 2) + 100)
    nn.init.constant_(model.discriminator.head.linear.weight, 1.0)  # type: ignore[union-attr, arg-type]
    assert "overfitting" not in probe(model, real)
    assert probe(model, real, real)["overfitting"] == 0


def test_clipping_is_looked_at_where_weights_are_clipped() -> None:
    networks, real = toy_networks(), Batch(torch.randn(10, 2))
    assert probe(WGAN(**networks, weight_clip_val_d=1e-9), real)["clipped_share"] == 1
    assert "clipped_share" not in probe(WGAN(**networks, weight_clip_val_d=None), real)


def test_autocast_does_not_blur() -> None:
    model, real = GAN(**image_networks()), unpack(images().batches[0])
    expected = probe(model, real) | steepness(model, real)
    with torch.autocast("cpu", torch.bfloat16):
        assert probe(model, real) | steepness(model, real) == expected


def test_runs_uncompiled() -> None:
    """Compiled code would be made anew for another number of samples."""
    model, stances = GAN(**toy_networks()), []

    @contextmanager
    def uncompiled() -> Iterator[None]:
        stances.append("eager")
        yield
        stances.append("as before")

    model.generator.register_forward_hook(lambda *_: stances.append("generated"))
    with patch.object(model, "uncompiled", uncompiled):
        probe(model, Batch(torch.randn(10, 2)))
    assert stances == ["eager", "generated", "as before"]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(context: Any) -> None:
    model, real = GAN(**toy_networks()), Batch(torch.randn(10, 2))
    expected = probe(model, real)
    with context():
        assert probe(model, real) == expected


@pytest.mark.parametrize("size", [2, 3])
def test_packs(size: int) -> None:
    networks = toy_networks()
    networks["discriminator"] = MLPDiscriminator((2 * size,), hidden=(16,))
    model, real = GAN(**networks, packing=size), torch.randn(13, 2)
    found = probe(model, Batch(real), Batch(real[:1]))
    logits = model.discriminator(real[: 13 // size * size].reshape(-1, 2 * size))
    assert found["real_logit_mean"] == pytest.approx(float(logits.mean().detach()), rel=1e-5)


def test_networks_that_grow() -> None:
    options: dict[str, Any] = {"image_channels": 1, "fmap_base": 32, "fmap_max": 8}
    model = GAN(ProGANGenerator(4, 16, **options), ProGANDiscriminator(16, **options))
    for network in (model.generator, model.discriminator):
        network.grow(8, alpha=0.5)  # type: ignore[operator]
    real = model.receive(torch.rand(6, 1, 16, 16))
    assert probe(model, real, real).keys() >= ALWAYS


class Counting(nn.Module):
    """Replaces its buffer instead of changing it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x.sum(dim=1)


def test_buffers_that_are_replaced_come_back() -> None:
    networks = toy_networks() | {"discriminator": (network := Counting())}
    buffer = network.calls
    probe(GAN(**networks), Batch(torch.randn(10, 2)))
    assert network.calls is buffer
    assert buffer == 0


def test_a_failure_leaves_no_trace_either() -> None:
    model = GAN(**image_networks(norm="batch"))
    prepare(model)
    before = state_of(model)
    for bad in (torch.zeros(1, 1, 8, 8), torch.zeros(6, 1, 7, 7)):
        with pytest.raises(ValueError, match="Expected"):
            probe(model, Batch(bad))
    assert_same(state_of(model), before)


def test_what_is_not_finite_is_left_out() -> None:
    model = GAN(**toy_networks())
    nn.init.constant_(model.discriminator.head.linear.bias, torch.nan)  # type: ignore[union-attr, arg-type]
    found = probe(model, Batch(torch.randn(10, 2)))
    assert {"diversity", "duplicates"} <= found.keys()
    assert "real_logit_mean" not in found
    assert all(map(isfinite, found.values()))


def test_a_look_of_ones_own_leaves_no_trace() -> None:
    model = stateful()
    weights = flat(model)
    before = state_of(model)
    with unnoticed(model):
        real, fake = Batch(torch.rand(6, 1, 8, 8)), model.generate(6)
        model.record("loss", sum(model.discriminator_loss(real, fake).values(), torch.zeros(())))
        assert_same(flat(model), weights)
        assert not torch.equal(torch.get_rng_state(), before["random"])
    assert_same(state_of(model), before)
