"""Every piece works for any variant: from YAML, on two processes, in bf16, with exact resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Trainer
from lightning.pytorch.cli import instantiate_class, instantiate_module

from lightning_gan.callbacks import GANCheckpoint, GeneratorEMA, SampleGrid
from lightning_gan.cli import main
from lightning_gan.data import Digits
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import read_checkpoint
from tests.ranks import Ranks
from tests.toys import VARIANTS, assert_same

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")


def _piece(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": f"lightning_gan.{name}", "init_args": options}


def _dcgan(kind: str, side: int = 16, **options: Any) -> dict[str, Any]:
    sizes = {"image_size": side, "image_channels": 1, "base_channels": 8}
    return _piece(f"networks.DCGAN{kind}", **sizes, **options)


def _resnet(kind: str, **options: Any) -> dict[str, Any]:
    return _piece(f"networks.ResNet{kind}", image_channels=1, base_channels=8, **options)


def _biggan(kind: str, **options: Any) -> dict[str, Any]:
    sizes = {"image_channels": 1, "base_channels": 8, "attention": [16], "num_classes": 10}
    return _piece(f"networks.BigGAN{kind}", **sizes, **options)


def _r3gan(kind: str) -> dict[str, Any]:
    sizes = {"image_size": 16, "image_channels": 1, "width": 8, "blocks_per_stage": 1}
    return _piece(f"networks.R3GAN{kind}", **sizes)


def _progan(kind: str) -> dict[str, Any]:
    sizes = {"image_size": 16, "image_channels": 1, "fmap_base": 64, "fmap_max": 8}
    return _piece(f"networks.ProGAN{kind}", **sizes)


def _schedule(start: float, end: float) -> dict[str, Any]:
    return _piece("training.CosineSchedule", start=start, end=end, images=60)


GENERATOR, DISCRIMINATOR = _dcgan("Generator"), _dcgan("Discriminator", norm="none")

# For each piece: the variant that it is given to, and its arguments.
PIECES: dict[str, tuple[str, dict[str, Any]]] = {
    "penalties": (
        "HingeGAN",
        {
            "penalties": [
                _piece("training.R1", weight=1.0, interval=2),
                _piece("training.R2", weight=1.0),
                _piece("training.DRAGANPenalty", weight=1.0),
                _piece("training.Drift"),
                _piece("training.GradientPenalty", weight=1.0, target=0.0),
            ]
        },
    ),
    "one-sided penalty, two rates": (
        "WGANGP",
        {
            "one_sided": True,
            "optimizer_g": _piece("training.GANAdam", lr=1e-3),
            "optimizer_d": _piece("training.GANAdam", lr=1e-4),
        },
    ),
    "replay, noise, clipping": (
        "LSGAN",
        {
            "replay": _piece("training.ExperienceReplay", capacity=20, fraction=0.5),
            "augmentation": _piece(
                "training.InstanceNoise",
                std=_piece("training.LinearSchedule", start=0.2, end=0.0, images=100),
            ),
            "weight_clip_val_d": 0.05,
        },
    ),
    "minibatch discrimination, attention, pixel norm": (
        "GAN",
        {
            "generator": _dcgan("Generator", norm="pixel", attention=[8]),
            "discriminator": _dcgan(
                "Discriminator", norm="none", attention=[8], minibatch="discrimination"
            ),
            "real_target": 0.9,
        },
    ),
    "spectral norm, minibatch deviation": (
        "LSGAN",
        {
            "generator": _piece("layers.spectral_normalize", network=GENERATOR),
            "discriminator": _piece(
                "layers.spectral_normalize",
                network=_dcgan("Discriminator", norm="none", minibatch="stddev"),
            ),
        },
    ),
    "equalised learning rate": (
        "WGANGP",
        {
            "generator": _piece(
                "layers.equalize_learning_rate", network=_dcgan("Generator", norm="pixel")
            ),
            "discriminator": _piece("layers.equalize_learning_rate", network=DISCRIMINATOR),
        },
    ),
    "several scales": (
        "WGANGP",
        {
            "discriminator": _piece(
                "networks.MultiScaleDiscriminator",
                discriminators=[DISCRIMINATOR, _dcgan("Discriminator", side=8, norm="none")],
            )
        },
    ),
    "patches": (
        "HingeGAN",
        {
            "discriminator": _piece(
                "networks.PatchDiscriminator", image_channels=1, base_channels=8, num_layers=1
            ),
            "penalties": [_piece("training.R1", weight=1.0)],
        },
    ),
    "1-Lipschitz blocks": (
        "WGAN",
        {
            "generator": _resnet("Generator"),
            "discriminator": _piece(
                "layers.lipschitz_normalize", network=_resnet("Discriminator", branches="mean")
            ),
            "weight_clip_val_d": None,
            "n_critic": 2,
        },
    ),
    "schedules of everything, residual networks without normalisation": (
        "R3GAN",
        {
            "generator": _r3gan("Generator"),
            "discriminator": _r3gan("Discriminator"),
            "gamma": _schedule(1.0, 0.1),
            "optimizer_g": _piece("training.GANAdam", lr=_schedule(1e-3, 1e-4), beta1=0),
            "optimizer_d": _piece("training.GANAdam", beta2=_schedule(0.9, 0.99), beta1=0),
            "augmentation": _piece(
                "training.AugmentationPipeline",
                p=_schedule(0.0, 0.5),
                transforms=["blit", "geometry", "color", "cutout", "noise"],
            ),
        },
    ),
    "adaptive augmentation, consistency": (
        "GAN",
        {
            "augmentation": _piece("training.ADA", images=1000, interval=2),
            "penalties": [
                _piece(
                    "training.ConsistencyRegularization",
                    augmentation=_piece("training.DiffAugment"),
                    fake_weight=1.0,
                ),
                _piece("training.R1", weight=1.0),
            ],
        },
    ),
    "LeCam, latents, features, filters, top-k": (
        "HingeGAN",
        {
            "top_k": 0.5,
            "penalties": [
                _piece("training.LeCam"),
                _piece("training.LatentConsistency"),
                _piece("training.LatentDiversity"),
                _piece("training.FeatureMatching"),
                _piece("training.OrthogonalRegularization"),
            ],
        },
    ),
    "packing under a gradient penalty": (
        "WGANGP",
        {
            "discriminator": _piece(
                "networks.DCGANDiscriminator",
                image_size=16,
                image_channels=2,
                base_channels=8,
                norm="none",
            ),
            "augmentation": _piece("training.DiffAugment"),
            "packing": 2,
        },
    ),
    "unrolling, optimism": (
        "GAN",
        {
            "unrolled_steps": 2,
            "optimizer_g": _piece("training.OptimisticAdam", lr=1e-3),
            "optimizer_d": _piece("training.OptimisticAdam", lr=1e-3),
        },
    ),
    "extragradient": ("GAN", {"updates": "extragradient"}),
    "consensus": (
        "GAN",
        {
            "updates": "simultaneous",
            "penalties": [_piece("training.ConsensusOptimization", weight=0.1)],
        },
    ),
    "hierarchical latents, shared embedding": (
        "BigGAN",
        {
            "generator": _biggan("Generator", latent_dim=8),
            "discriminator": _biggan("Discriminator"),
        },
    ),
    "lookahead": ("DRAGAN", {}),
    "evaluation": ("GAN", {}),
    "diagnostics": ("SNGAN", {}),
    "collapse guard": ("GAN", {"replay": _piece("training.ExperienceReplay", capacity=20)}),
    "progressive growing": (
        "LSGAN",
        {
            "generator": _progan("Generator"),
            "discriminator": _progan("Discriminator"),
            "replay": _piece("training.ExperienceReplay", capacity=20),
        },
    ),
    "a mixture without a classifier": (
        "HingeGAN",
        {
            "generator": _piece(
                "networks.MixtureGenerator", generator=GENERATOR, num_generators=3, share="none"
            )
        },
    ),
}

# For pieces that are callbacks, or need one.
CALLBACKS = {
    # Goes back after the third iteration, between the checkpoint and the resumed run's end.
    "lookahead": _piece("callbacks.LookaheadMinimax", steps=3),
    # Of 20 images an iteration: two at 8x8, the checkpoint, and two while 16x16 fades in.
    "progressive growing": _piece(
        "callbacks.ProgressiveGrowing", start_resolution=8, stable_images=30, fade_images=60
    ),
}


# Evaluated before the training, at the checkpoint and at the end.
EVALUATION = {
    "every_n_steps": 2,
    "num_images": 30,
    "num_real": 50,
    "extractor": _piece(
        "extractors.DomainClassifier", image_channels=1, image_size=[16, 16], num_classes=10
    ),
}

# Options of the command line's own callbacks.
OPTIONS: dict[str, dict[str, Any]] = {
    "evaluation": {"evaluation": EVALUATION},
    "diagnostics": {"diagnostics": {"every_n_steps": 1, "steepness_every_n_steps": 2}},
    # All samples are too alike for it: it goes back at each iteration, and stops at the fourth.
    "collapse guard": {
        "diagnostics": {
            "every_n_steps": 1,
            "thresholds": {"diversity": 1e9},
            "patience": 1,
            "grace": 0,
        },
        "guard": {"on": ["samples collapse"], "action": "roll_back", "factor": 0.9},
    },
}

TRAINER: dict[str, Any] = {
    "max_steps": 4, "accelerator": "cpu", "devices": 2, "strategy": "ddp",
    "precision": "bf16-mixed", "enable_progress_bar": False, "enable_model_summary": False,
    "limit_val_batches": 0.2, "log_every_n_steps": 2,
}  # fmt: skip


def _data(piece: str) -> dict[str, int]:
    large = any(family in str(PIECES[piece]) for family in ("ResNet", "BigGAN"))
    return {"image_size": 32 if large else 16, "batch_size": 10}


def _callbacks(piece: str) -> list[dict[str, Any]]:
    return [CALLBACKS[piece]] if piece in CALLBACKS else []


def _run(rank: int, folder: Path, piece: str, ckpt_path: Path | None = None) -> None:
    variant, options = PIECES[piece]
    networks = {"generator": GENERATOR, "discriminator": DISCRIMINATOR}
    config = {
        "seed_everything": 1,
        "model": _piece(variant, **networks | options),
        "data": _piece("data.Digits", **_data(piece)),
        "trainer": TRAINER | {"callbacks": _callbacks(piece)},
        "checkpoint": {"every_n_train_steps": 2, "dirpath": str(folder / "checkpoints")},
        "ema": {"half_life": 50},
        "samples": {"dirpath": str(folder / "samples")},
    } | OPTIONS.get(piece, {})  # fmt: skip
    path = folder / f"config_{rank}.yaml"
    path.write_text(yaml.safe_dump(config))
    resume = [] if ckpt_path is None else [f"--ckpt_path={ckpt_path}"]
    main(["fit", f"--config={path}", "--trainer.logger.save_dir", str(folder), *resume])


def _resume(rank: int, folder: Path, piece: str, ckpt_path: Path) -> None:
    """Go on with new parts, the model from the arguments in the checkpoint."""
    arguments = read_checkpoint(ckpt_path)["hyper_parameters"]
    del arguments["_instantiator"]
    callbacks = [
        *(instantiate_class((), callback) for callback in _callbacks(piece)),
        GeneratorEMA(half_life=50),
        SampleGrid(dirpath=folder / "samples"),
        GANCheckpoint(folder / "checkpoints", every_n_train_steps=2),
    ]
    trainer = Trainer(**TRAINER, callbacks=callbacks, logger=False, default_root_dir=folder)
    model = instantiate_module(VARIANTS[PIECES[piece][0]], arguments)
    trainer.fit(model, Digits(**_data(piece)), ckpt_path=ckpt_path)


@pytest.mark.parametrize("piece", PIECES)
def test_piece_on_two_ranks_in_bf16_with_resume(piece: str, ranks: Ranks, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder in (whole, resumed):
        folder.mkdir()
    ranks.run(_run, whole, piece)
    earlier = whole / "checkpoints" / "step_00000002.ckpt"
    # Where there is an evaluation, the command line adds a second checkpoint callback.
    ranks.run(_run if piece in OPTIONS else _resume, resumed, piece, earlier)
    expected = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    actual = read_checkpoint(resumed / "checkpoints" / "last.ckpt")
    assert expected["global_step"] == 4
    if piece == "collapse guard":
        assert expected["callbacks"]["CollapseGuard"]["times"] == 3
    for part in ("state_dict", "lightning_gan"):
        assert_same(actual[part], expected[part])
    weights = expected["state_dict"]
    start = read_checkpoint(earlier)["state_dict"]
    moved = [name for name in weights if not torch.equal(weights[name], start[name])]
    assert any(name.startswith("discriminator.") for name in moved)
    assert any(name.startswith("generator.") for name in moved)
    model = AdversarialModule.load_from_checkpoint(whole / "checkpoints" / "last.ckpt")
    assert model.sample(3).isfinite().all()
