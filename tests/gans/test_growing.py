"""Networks that grow, from end to end: all variants, pieces, precisions, processes, and resume."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback
from lightning.pytorch.plugins import MixedPrecision
from PIL import Image
from torch import Tensor

from lightning_gan import ACGAN, GAN, LSGAN, ProGAN
from lightning_gan.callbacks import (
    GANCheckpoint,
    GeneratorEMA,
    LookaheadMinimax,
    ProgressiveGrowing,
)
from lightning_gan.callbacks.pictures import drawable
from lightning_gan.cli import main
from lightning_gan.commands import sample
from lightning_gan.data import Digits
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import Growing, ProGANDiscriminator, ProGANGenerator
from lightning_gan.training import (
    ADA,
    R1,
    R2,
    AugmentationPipeline,
    ConsensusOptimization,
    ConsistencyRegularization,
    DiffAugment,
    DRAGANPenalty,
    Drift,
    ExperienceReplay,
    FeatureMatching,
    GradientPenalty,
    LatentConsistency,
    LatentDiversity,
    LeCam,
    OptimisticAdam,
    OrthogonalRegularization,
    Penalty,
    read_checkpoint,
)
from lightning_gan.training.augmentation import InstanceNoise
from tests.gans.test_base_ddp import _UnionRandom
from tests.ranks import WORLD_SIZE, Ranks
from tests.toys import (
    VARIANTS,
    Pair,
    ToyData,
    assert_same,
    flat,
    images,
    labelled,
    networks_for,
    sgd,
    toy_trainer,
)

# Each case resumes from one reference run's folder into a folder of its own.
pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def growing_networks(
    num_classes: int | None = None, image_size: int = 8, **discriminator: Any
) -> dict[str, Any]:
    """Return a pair for images with one channel, from 4x4 on; the rest as for `image_networks`."""
    sizes: Any = {"image_size": image_size, "image_channels": 1, "fmap_base": 64, "fmap_max": 4}
    options: Any = {"num_classes": num_classes} | discriminator.pop("instead", {})
    return {
        "generator": ProGANGenerator(latent_dim=4, num_classes=num_classes, **sizes),
        "discriminator": ProGANDiscriminator(**sizes, **options, **discriminator),
    }


def growing_model(
    variant: type[AdversarialModule],
    pair: Pair = growing_networks,
    conditional: bool = False,
    **options: Any,
) -> AdversarialModule:
    """Return a variant with the simplest networks of a growing pair that it accepts."""
    torch.manual_seed(0)
    if variant.__name__ == "WGAN":  # whose clipping is refused for weights that are scaled
        options["weight_clip_val_d"] = None
        return variant(**pair(10 if conditional else None), **options)
    return variant(**networks_for(variant, pair, conditional), **options)


def growing_parts(model: AdversarialModule) -> list[Growing]:
    return [part for part in model.modules() if isinstance(part, Growing)]


class Watch(Callback):
    """Keep where the networks stand in each iteration."""

    def __init__(self) -> None:
        self.places: list[set[tuple[int, float]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.places.append({(part.resolution, part.alpha) for part in growing_parts(pl_module)})


# In iterations of 20 images: two at 4x4, two in which 8x8 fades in, and one at 8x8.
PLACES = [{(4, 1.0)}, {(4, 1.0)}, {(8, 0.0)}, {(8, 0.5)}, {(8, 1.0)}]


def train(folder: Path, model: AdversarialModule, *callbacks: Callback, **options: Any) -> Watch:
    """Train with images of 8x8 through all phases."""
    watch = Watch()
    growing = ProgressiveGrowing(stable_images=40, fade_images=40, end_resolution=8)
    trainer = toy_trainer(
        folder, **{"max_steps": 5, "callbacks": [growing, *callbacks, watch]} | options
    )
    trainer.fit(model, labelled(images(20, batches=3)))
    return watch


@every_variant
@pytest.mark.parametrize("conditional", [False, True])
def test_every_variant_grows(
    variant: type[AdversarialModule], conditional: bool, tmp_path: Path
) -> None:
    model = growing_model(variant, conditional=conditional, n_critic=2)
    networks = model.generator, model.discriminator
    before = [flat(network) for network in networks]
    watch = train(tmp_path, model, GeneratorEMA(0.5))
    assert watch.places == PLACES
    assert len(growing_parts(model)) >= 3  # the average is one of them
    for network, old in zip(networks, before, strict=True):
        assert flat(network).isfinite().all()
        assert not torch.equal(flat(network), old)
    assert model.sample(3).shape == (3, 1, 8, 8)
    assert model.images_seen == 100


# Pieces


def _packed() -> dict[str, Any]:
    discriminator = ProGANDiscriminator(8, image_channels=2, fmap_base=64, fmap_max=4)
    return {"packing": 2, "discriminator": discriminator}


def _penalized(*penalties: Penalty) -> Callable[[], dict[str, Any]]:
    return lambda: {"penalties": list(penalties)}


def _augmented(augmentation: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"augmentation": augmentation}


PIECES: dict[str, Callable[[], dict[str, Any]]] = {
    "unrolled": lambda: {"unrolled_steps": 2},
    "simultaneous": lambda: {"updates": "simultaneous"},
    "extragradient": lambda: {"updates": "extragradient"},  # an iteration takes 20 images, too
    "top-k": lambda: {"top_k": 0.5},
    "packing": _packed,
    "clipping": lambda: {"gradient_clip_val_g": 0.1, "gradient_clip_val_d": 0.1},
    "optimistic": lambda: {"optimizer_g": OptimisticAdam, "optimizer_d": OptimisticAdam},
    "replay": lambda: {"replay": ExperienceReplay(30)},
    "noise": _augmented(InstanceNoise()),
    "DiffAugment": _augmented(DiffAugment()),
    "ADA": _augmented(ADA(target=-1, images=20, interval=1)),
    "pipeline": _augmented(
        AugmentationPipeline(0.8, ["blit", "geometry", "color", "noise", "cutout"])
    ),
    "consensus": _penalized(ConsensusOptimization(0.1)),
    "slopes": _penalized(R1(), R2(interval=2), DRAGANPenalty(), GradientPenalty(), Drift()),
    "features": _penalized(FeatureMatching()),
    "LeCam": _penalized(LeCam()),
    "consistency": _penalized(ConsistencyRegularization(DiffAugment(), fake_weight=1.0)),
    "latents": _penalized(LatentConsistency(), LatentDiversity()),
    "filters": _penalized(OrthogonalRegularization(), OrthogonalRegularization("discriminator")),
}


@pytest.mark.parametrize("piece", PIECES)
def test_pieces_grow(piece: str, tmp_path: Path) -> None:
    model = GAN(**growing_networks() | PIECES[piece]())
    before = flat(model)
    watch = train(tmp_path, model, LookaheadMinimax(steps=2))
    assert watch.places == PLACES
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model), before)
    assert model.images_seen == 100


def test_memory_of_smaller_images_is_forgotten(tmp_path: Path) -> None:
    model = GAN(**growing_networks(), replay=ExperienceReplay(100))
    sizes = []

    class Look(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            assert model.replay is not None
            sizes.append(tuple(model.replay.state()["samples"].shape[::2]))

    train(tmp_path, model, Look())
    assert sizes == [(10, 4), (20, 4), (10, 8), (20, 8), (30, 8)]


@pytest.mark.parametrize("variant", [ACGAN, LSGAN, ProGAN])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true"])
def test_precisions(variant: type[AdversarialModule], precision: Any, tmp_path: Path) -> None:
    model = growing_model(variant)
    before = flat(model)
    options: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed":  # which Lightning would turn into bf16 on a CPU
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        options = {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}
    assert train(tmp_path, model, **options).places == PLACES
    assert flat(model).isfinite().all()
    assert not torch.equal(flat(model).float(), before)


# Processes


def _train_part(rank: int, world_size: int, folder: Path, variant: str, ours: bool) -> Tensor:
    """Return all weights after all phases, on this rank's share of the data."""
    pair = partial(growing_networks, image_size=16, group_size=1)  # 16x16 is never reached
    factories: dict[str, Any] = {"optimizer_g": sgd, "optimizer_d": sgd}
    model = growing_model(VARIANTS[variant], pair, **factories, n_critic=1 if ours else 2)
    growing: dict[str, Any] = {"end_resolution": 8}
    if ours:
        share = WORLD_SIZE // world_size
        growing |= {"batch_size": {4: 6 * share, 8: 4 * share}, "lr_g": {4: 0.05, 8: 0.02}}
        data: Any = Digits(seed=3)
    else:
        draws = torch.rand(3, 2, WORLD_SIZE, 6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        mine = (2 * draws - 1)[:, :, slice(None) if world_size == 1 else rank]
        classes = torch.arange(6).expand(mine.shape[:-3])
        data = ToyData(*zip(mine.flatten(1, -4), classes.flatten(1), strict=True))
    callbacks = [ProgressiveGrowing(40, 40, **growing), watch := Watch()]
    trainer: dict[str, Any] = {"max_steps": 9 if ours else 5, "callbacks": callbacks}
    if world_size > 1:
        trainer |= {"strategy": "ddp", "devices": world_size, "use_distributed_sampler": False}
    rand, randn = torch.rand, torch.randn
    with (
        patch("torch.rand", _UnionRandom(rand, rank, world_size)),
        patch("torch.randn", _UnionRandom(randn, rank, world_size)),
    ):
        toy_trainer(folder, **trainer).fit(model, data)
    assert watch.places[0] == {(4, 1.0)}
    assert any(alpha not in (0.0, 1.0) for [(_, alpha)] in watch.places)
    assert watch.places[-1] == {(8, 1.0)}
    return flat(model)


def _train_rank(rank: int, folder: Path, variant: str, ours: bool) -> Tensor:
    return _train_part(rank, WORLD_SIZE, folder, variant, ours)


@pytest.mark.parametrize(
    ("variant", "ours"), [*((name, False) for name in VARIANTS), ("ProGAN", True)]
)
def test_two_ranks_equal_one_on_the_union(
    ranks: Ranks, tmp_path: Path, variant: str, ours: bool
) -> None:
    expected = _train_part(0, 1, tmp_path, variant, ours)
    assert expected.isfinite().all()
    for weights in ranks.run(_train_rank, tmp_path, variant, ours):
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-5)


# Checkpoints

STEPS = 12
PHASES = [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4]  # of each iteration


def _schedule(share: int = 1) -> ProgressiveGrowing:
    return ProgressiveGrowing(
        stable_images={4: 64, 8: 32, 16: 32},
        fade_images={8: 40, 16: 20},  # which end in the middle of an iteration
        batch_size={4: 16 // share, 8: 8 // share, 16: 4 // share},
        lr_g={4: 1e-3, 8: 2e-3, 16: 3e-3},
        lr_d={4: 3e-3, 8: 2e-3, 16: 1e-3},
        reset_optimizers=True,
    )


def run(folder: Path, ckpt_path: Path | None = None, workers: int = 0, **options: Any) -> None:
    """Train through 4x4, 8x8 and 16x16, validating now and then, saving every iteration."""
    torch.manual_seed(0)
    share = WORLD_SIZE if "devices" in options else 1
    trainer = toy_trainer(
        folder,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        callbacks=[
            _schedule(share),
            GeneratorEMA(half_life=50),
            GANCheckpoint(folder, save_top_k=-1, every_n_train_steps=1),
        ],
        **{"max_steps": STEPS} | options,
    )
    model = ProGAN(**growing_networks(image_size=16), n_critic=2)
    data = Digits(image_size=16, batch_size=115 // share, num_workers=workers, seed=3)
    trainer.fit(model, data, ckpt_path=ckpt_path)


_references: dict[str, Path] = {}


def _reference(name: str, factory: Any, run: Callable[[Path], Any]) -> Path:
    if name not in _references:
        run(folder := factory.mktemp("reference"))
        _references[name] = folder
    return _references[name]


def assert_same_run(folder: Path, reference: Path) -> None:
    actual, expected = (read_checkpoint(path / "last.ckpt") for path in (folder, reference))
    for part in ("state_dict", "optimizer_states", "global_step", "lightning_gan"):
        assert_same(actual[part], expected[part], part)
    for checkpoint in (actual, expected):
        assert checkpoint["callbacks"]["ProgressiveGrowing"] == {"phase": PHASES[-1]}
    assert expected["global_step"] == STEPS


def _place(path: Path) -> tuple[int, float]:
    resolution, alpha = read_checkpoint(path)["state_dict"]["generator._extra_state"].tolist()
    return int(resolution), alpha


def test_reference_goes_through_all_phases(tmp_path_factory: Any) -> None:
    reference = _reference("one rank", tmp_path_factory, run)
    checkpoints = [reference / f"step_{step + 1:08d}.ckpt" for step in range(STEPS)]
    places = [(4, 1.0)] * 2 + [(8, 0.0), (8, 0.4), (8, 0.8)] + [(8, 1.0)] * 2
    assert [_place(path) for path in checkpoints] == [
        *places, (16, 0.4), (16, 0.8), (16, 1.0), (16, 1.0), (16, 1.0)
    ]  # fmt: skip
    read = [read_checkpoint(path) for path in checkpoints]
    assert [checkpoint["callbacks"]["ProgressiveGrowing"]["phase"] for checkpoint in read] == PHASES
    weights = [checkpoint["state_dict"] for checkpoint in read]
    for block, first in {0: 0, 1: 3, 2: 7}.items():  # the first iteration of an alpha above 0
        name = f"generator.blocks.{block}.1.parametrizations.weight.original"
        for step in range(1, STEPS):
            moved = not torch.equal(weights[step][name], weights[step - 1][name])
            assert moved == (step >= first)


@pytest.mark.parametrize("step", range(1, STEPS))
def test_resume_is_exact(step: int, tmp_path: Path, tmp_path_factory: Any) -> None:
    """In the middle of each phase, and at each of its ends."""
    reference = _reference("one rank", tmp_path_factory, run)
    run(tmp_path, reference / f"step_{step:08d}.ckpt")
    assert_same_run(tmp_path, reference)


@pytest.mark.parametrize("step", [3, 7])
def test_resume_with_workers_is_exact(step: int, tmp_path: Path, tmp_path_factory: Any) -> None:
    reference = _reference("one rank", tmp_path_factory, run)
    run(tmp_path, reference / f"step_{step:08d}.ckpt", workers=2)
    assert_same_run(tmp_path, reference)


def _run_rank(rank: int, folder: Path, ckpt_path: Path | None = None) -> None:
    run(folder, ckpt_path, strategy="ddp", devices=2)


@pytest.mark.parametrize("step", [2, 4])
def test_resume_on_two_ranks_is_exact(
    ranks: Ranks, step: int, tmp_path: Path, tmp_path_factory: Any
) -> None:
    def run(folder: Path) -> None:
        ranks.run(_run_rank, folder)

    reference = _reference("two ranks", tmp_path_factory, run)
    ranks.run(_run_rank, tmp_path, reference / f"step_{step:08d}.ckpt")
    assert_same_run(tmp_path, reference)


# Samples


def _piece(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": f"lightning_gan.{name}", "init_args": options}


class KeepRender(Callback):
    """Write what the model makes at its end, and where it stands."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        rendered = pl_module.sample(6, generator=torch.Generator().manual_seed(0))
        places = {(part.resolution, part.alpha) for part in growing_parts(pl_module)}
        torch.save({"images": rendered, "places": places}, self.path)


# Of 16 and then 8 images: 2 iterations at 4x4, and 5 in which 8x8 fades in.
@pytest.mark.parametrize(("steps", "place"), [(2, (4, 1.0)), (3, (8, 0.0)), (4, (8, 0.2))])
def test_samples_of_a_checkpoint_are_the_live_ones(
    steps: int, place: tuple[int, float], tmp_path: Path
) -> None:
    sizes: dict[str, Any] = {"image_size": 8, "image_channels": 1, "fmap_base": 64, "fmap_max": 4}
    config = {
        "model": _piece(
            "ProGAN",
            generator=_piece("networks.ProGANGenerator", latent_dim=4, **sizes),
            discriminator=_piece("networks.ProGANDiscriminator", **sizes),
        ),
        "data": _piece("data.Digits"),
        "trainer": {
            "max_steps": steps, "accelerator": "cpu", "devices": 1, "logger": False,
            "enable_progress_bar": False, "enable_model_summary": False,
            "default_root_dir": str(tmp_path / "run"),
            "callbacks": [
                _piece(
                    "callbacks.ProgressiveGrowing", stable_images={4: 32, 8: 40}, fade_images=40,
                    batch_size={4: 16, 8: 8}, lr_g={4: 0.01, 8: 0.02},
                ),
                {
                    "class_path": "tests.gans.test_growing.KeepRender",
                    "init_args": {"path": str(tmp_path / "live.pt")},
                },
            ],
        },
        "checkpoint": {"dirpath": str(tmp_path)},
        "ema": {"half_life": 10},
        "samples": {"dirpath": str(tmp_path / "grid")},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", f"--config={tmp_path / 'config.yaml'}"])
    path = tmp_path / "last.ckpt"
    live = torch.load(tmp_path / "live.pt")
    assert live["places"] == {place}
    assert live["images"].shape == (6, 1, place[0], place[0])

    model = AdversarialModule.load_from_checkpoint(path)
    assert {(part.resolution, part.alpha) for part in growing_parts(model)} == {place}
    drawn = model.sample(6, generator=torch.Generator().manual_seed(0))
    # Lightning's run has laid its weights out in another order, in which sums round otherwise.
    torch.testing.assert_close(drawn, live["images"], rtol=0, atol=1e-6)

    sample(path, num_images=6, output_dir=tmp_path / "drawn")
    for i, image in enumerate(drawable(drawn)):
        pixels = np.asarray(Image.open(tmp_path / "drawn" / f"{i:06d}.png"))
        assert np.array_equal(pixels, image[0].numpy())


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("step", [2, 4, 8])
def test_validation_takes_the_place_of_the_checkpoint(
    step: int, tmp_path: Path, tmp_path_factory: Any
) -> None:
    """Also at a phase's end, where the data are to be of the next resolution already."""
    reference = _reference("one rank", tmp_path_factory, run)
    path = reference / f"step_{step:08d}.ckpt"
    results = []
    for callbacks in ([], [_schedule()]):
        torch.manual_seed(1)
        model = ProGAN(**growing_networks(image_size=16))
        trainer = toy_trainer(tmp_path, limit_val_batches=2, callbacks=callbacks)
        data = Digits(image_size=16, batch_size=20)
        [values] = trainer.validate(model, data, ckpt_path=path, verbose=False)
        assert {(part.resolution, part.alpha) for part in growing_parts(model)} == {_place(path)}
        results.append(torch.tensor([values["val/d_loss"], values["val/real_logits"]]))
    # Images that were shrunken before are rounded to bytes, and then shrunken again.
    torch.testing.assert_close(*results, rtol=0, atol=0.01)
