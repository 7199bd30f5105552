"""The command line, end to end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lightning_gan import WGANGP
from lightning_gan.cli import main
from lightning_gan.data import Digits
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import CheckpointError, read_checkpoint
from tests.toys import VARIANTS, assert_same, config_of, flat

# A checkpoint's folder of another run, and loaders without workers: known and meant here.
pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")


SHORT = [
    *("--trainer.accelerator", "cpu", "--trainer.max_steps", "4"),
    *("--trainer.limit_val_batches", "0.002", "--trainer.check_val_every_n_epoch", "1"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--checkpoint.every_n_train_steps", "2", "--samples.every_n_steps", "2"),
]


def points_run(folder: Path, variant: str = "WGANGP", *more: str) -> list[str]:
    """Return the arguments of a run on points that writes into the folder."""
    return [
        "fit",
        *("--model", variant),
        *("--model.generator", "MLPGenerator", "--model.generator.hidden", "[8]"),
        *("--model.discriminator", "MLPDiscriminator", "--model.discriminator.hidden", "[8]"),
        *("--data", "GaussianMixture", "--data.num_samples", "400", "--data.batch_size", "10"),
        *("--trainer.logger.save_dir", str(folder)),
        *SHORT,
        *more,
    ]


# Arguments with arguments of their own, which a checkpoint has to bring back.
NESTED = [
    *("--model.penalties+=R1", "--model.penalties.interval", "2", "--model.penalties+=Drift"),
    *("--model.optimizer_g", "OptimisticAdam", "--model.optimizer_g.lr", "CosineSchedule"),
    *("--model.optimizer_g.lr.start=1e-3", "--model.optimizer_g.lr.end=0"),
    *("--model.optimizer_g.lr.images", "400", "--model.replay", "ExperienceReplay"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> Path:
    """Return the folder of a finished run."""
    folder: Path = tmp_path_factory.mktemp("run")
    main(points_run(folder, "WGANGP", *NESTED))
    return folder / "version_0"


def ring_run(folder: Path, variant: str, *more: str) -> list[str]:
    """Return the arguments of a short run of a variant's own configuration for the ring."""
    return [
        "fit",
        f"--config={config_of(VARIANTS[variant], 'ring')}",
        *("--data.num_samples", "400", "--data.batch_size", "10"),
        *("--trainer.logger.save_dir", str(folder), "--trainer.logger.name", "null"),
        *SHORT,
        *("--samples.every_n_steps", "4"),  # a plot takes longer than the run
        *more,
    ]


def printed_config(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    with pytest.raises(SystemExit):
        main([*arguments, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("variant", VARIANTS)
def test_run_folder_is_complete_and_loads_without_arguments(
    variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(ring_run(tmp_path, variant, "--trainer.log_every_n_steps", "2"))
    capsys.readouterr()
    folder = tmp_path / "version_0"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert {
        "config.yaml",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/step_00000004.ckpt",
        "samples/step_00000000.png",
        "samples/step_00000004.png",
    } <= files
    last = folder / "checkpoints" / "last.ckpt"
    model = AdversarialModule.load_from_checkpoint(last)
    assert type(model) is VARIANTS[variant]
    assert isinstance(model.ema_generator, nn.Module)
    assert model.sample(3).shape == (3, 2)
    # The resolved configuration, of which the model above was built, says the same again.
    resolved = folder / "config.yaml"
    again = printed_config(capsys, "fit", "--config", str(resolved))
    assert again == yaml.safe_load(resolved.read_text())


def test_resolved_configuration_ends_in_the_same_weights(tmp_path: Path) -> None:
    main(ring_run(tmp_path, "ProGAN"))
    main(["fit", "--config", str(tmp_path / "version_0" / "config.yaml")])
    model, again = (
        AdversarialModule.load_from_checkpoint(tmp_path / version / "checkpoints" / "last.ckpt")
        for version in ("version_0", "version_1")
    )
    torch.testing.assert_close(flat(again), flat(model), rtol=0, atol=0)


def test_resume_from_the_command_line_is_exact(run: Path, tmp_path: Path) -> None:
    earlier = run / "checkpoints" / "step_00000002.ckpt"
    main(points_run(tmp_path, "WGANGP", *NESTED, "--ckpt_path", str(earlier)))
    actual, expected = (
        read_checkpoint(folder / "checkpoints" / "last.ckpt")
        for folder in (tmp_path / "version_0", run)
    )
    # A run without a configured seed draws one; the resumed run goes on with the checkpoint's.
    for part in ("lightning_gan", "state_dict", "optimizer_states"):
        assert_same(actual[part], expected[part], part)


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_of_a_run(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    config = str(run / "config.yaml")
    folder = ["--trainer.logger.save_dir", str(tmp_path)]
    main([command, "--config", config, "--ckpt_path", checkpoint, *folder])
    if command != "predict":
        stage = {"validate": "val", "test": "test"}[command]
        shown = capsys.readouterr().out
        assert f"{stage}/d_loss" in shown
        assert ("Verdict: " in shown) == (command == "test")


def test_a_checkpoint_finds_the_configuration_of_its_run(run: Path, tmp_path: Path) -> None:
    place = ["--trainer.logger.save_dir", str(tmp_path)]
    main(["test", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", *place])
    table = json.loads((tmp_path / "version_0" / "evaluation.json").read_text())
    assert table["protocol"]["extractor"] == "points"
    assert table["protocol"]["generated samples"] == table["protocol"]["real samples"] == 400


def test_an_evaluated_run_keeps_the_best_checkpoint(tmp_path: Path) -> None:
    main(points_run(tmp_path, "GAN", "--evaluation.every_n_steps", "2"))
    folder = tmp_path / "version_0"
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "step_00000002.ckpt", "step_00000004.ckpt"}
    distances = {}
    for step in (2, 4):
        report = json.loads((folder / "evaluation" / f"step_{step:08d}.json").read_text())
        distances[report["figures"]["fd/points"]] = step
    best = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    assert best["global_step"] == distances[min(distances)]


def test_damaged_checkpoint_is_refused_before_anything(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.ckpt"
    path.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"damaged\.ckpt"):
        main(points_run(tmp_path, "WGANGP", "--ckpt_path", str(path)))
    with pytest.raises(CheckpointError, match=r"absent\.ckpt: it does not exist"):
        main(points_run(tmp_path, "WGANGP", "--ckpt_path", str(tmp_path / "absent.ckpt")))
    assert not (tmp_path / "version_0").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.gp_wieght", "1"], "gp_wieght"),
        (["--model.optimizer_g.learning_rate", "1"], "learning_rate"),
        (["--trainer.max_stps", "1"], "max_stps"),
        (["--ema.deacy", "0.9"], "deacy"),
        (["--data.layout", "circle"], "circle"),
    ],
)
def test_misspelt_keys_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(points_run(tmp_path, "WGANGP", *arguments))
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.n_critic", "0"], "Expected 'n_critic' to be at least 1, got 0."),
        (["--model.discriminator.num_outputs", "3"], "with num_outputs=1, which is what this"),
        (["--model.generator.norm", "batch", "--model.generator.latent_dim", "0"], "'latent_dim'"),
        (["--data.num_samples", "0"], "Expected 'num_samples' to be at least 1, got 0."),
    ],
)
def test_refusals_are_one_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(points_run(tmp_path, "WGANGP", *arguments))
    said = str(stop.value)
    assert said.startswith("lightning-gan: error: Expected ")
    assert message in said
    assert len(said) < 300


def test_errors_of_other_code_keep_their_traceback(tmp_path: Path) -> None:
    torch_layer = ["--model.discriminator", "torch.nn.Conv2d", "--model.discriminator.groups", "3"]
    sizes = [f"--model.discriminator.{name}=2" for name in ("in_channels", "out_channels")]
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        main(
            ["fit", "--model=GAN", "--model.generator=MLPGenerator", *torch_layer, *sizes,
             "--model.discriminator.kernel_size=1", "--data=GaussianMixture"]
        )  # fmt: skip


def test_every_part_is_configurable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = points_run(
        tmp_path,
        "WGANGP",
        *("--model.optimizer_g.beta1", "0"),
        *("--model.optimizer_d", "RMSprop", "--model.optimizer_d.lr", "5e-5"),
        *("--model.lr_scheduler_g", "StepLR", "--model.lr_scheduler_g.step_size", "3"),
        *("--model.penalties+=R1", "--model.penalties.interval", "4"),
        *("--trainer.callbacks+=LearningRateMonitor", "--ema.decay", "0.9"),
    )
    config = printed_config(capsys, *arguments)
    model = config["model"]["init_args"]
    assert model["optimizer_g"]["init_args"]["beta1"] == 0
    assert model["optimizer_g"]["init_args"]["lr"] == 1e-4
    assert model["optimizer_d"]["class_path"] == "torch.optim.RMSprop"
    assert model["penalties"][0]["init_args"]["interval"] == 4
    assert config["ema"]["decay"] == 0.9
    # What is printed is a configuration that says the same again, and runs.
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert printed_config(capsys, "fit", "--config", str(path)) == config
    main(["fit", "--config", str(path), "--trainer.fast_dev_run", "true"])


def test_labels_and_images_from_the_command_line(tmp_path: Path) -> None:
    sizes = ["image_size=8", "image_channels=1", "base_channels=4", "num_classes=10"]
    networks = [
        argument
        for network, kind in (
            ("generator", "DCGANGenerator"),
            ("discriminator", "DCGANDiscriminator"),
        )
        for argument in (
            f"--model.{network}={kind}",
            *(f"--model.{network}.{size}" for size in sizes),
        )
    ]
    main(
        [
            "fit",
            "--model=WGANGP",
            *networks,
            "--model.discriminator.norm=layer",
            "--data=Digits",
            "--data.batch_size=8",
            "--trainer.max_steps=1",
            "--trainer.accelerator=cpu",
            "--trainer.precision=bf16-mixed",
            f"--trainer.logger.save_dir={tmp_path}",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
        ]
    )
    last = tmp_path / "version_0" / "checkpoints" / "last.ckpt"
    model = WGANGP.load_from_checkpoint(last)
    assert model.num_classes == 10
    assert model.sample(2, torch.tensor([3, 4])).shape == (2, 1, 8, 8)
    main(["sample", f"--ckpt_path={last}", "--num_images=4", "--labels", "1", "2", "--grid",
          f"--output_dir={tmp_path / 'out'}"])  # fmt: skip
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    assert (tmp_path / "out-grid.png").exists()


def test_python_module_and_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lightning_gan", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for command in ("fit", "validate", "test", "predict", "sample"):
        assert command in done.stdout


def test_digits_are_embedded() -> None:
    data = Digits()
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (64, 1, 8, 8)
    assert labels.shape == (64,)
