"""Progressive growing beside training at full size: the same final networks, as many images.

    python -m benchmarks.growing --data MNIST --root DATA --seeds 0 1
    python -m benchmarks.growing --data ImageFolder --root cifar10.zip --fmap_max 48

Quality is the Fréchet distance between features of generated and of held-out images. The features
are the last ones of a small classifier that is first trained on the data set itself, so that the
distance is one within its domain and not comparable with any Inception distance. Images of a lower
resolution are enlarged without blur. The time is that of the process on one core, without what the
measuring takes; both runs are made in turn.
"""

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_gan import ProGAN
from lightning_gan.callbacks import GeneratorEMA, ProgressiveGrowing, SampleGrid
from lightning_gan.data import MNIST, ImageFolder
from lightning_gan.data.base import GANDataModule
from lightning_gan.functional import enlarge
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import ProGANDiscriminator, ProGANGenerator

SIDE, BATCH, LATENTS, NUM_SAMPLES = 32, 32, 128, 10_000
# Shares of all images, chosen beforehand: most of them at the end, where the images are largest.
STABLE = {4: 0.125, 8: 0.125, 16: 0.125, 32: 0.25}
FADE = {8: 0.125, 16: 0.125, 32: 0.125}
WAYS = ["progressive", "full"]


class Classifier(nn.Module):
    """Maps images (N, C, 32, 32) in [-1, 1] to features (N, ``num_features``)."""

    num_features = 64

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((channels, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        linear = nn.Linear(64 * 16, self.num_features)
        self.layers = nn.Sequential(*layers, nn.Flatten(), linear, nn.ReLU())
        self.head = nn.Linear(self.num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        return self.layers(x)  # type: ignore[no-any-return]


def trained_classifier(data: GANDataModule, epochs: int) -> tuple[Classifier, float]:
    """Train a classifier on the data; return it with its accuracy on held-out images."""
    torch.manual_seed(0)
    net = Classifier(data.sample_shape[0], data.num_classes or 1)
    steps = epochs * (len(data.train_set) // 128)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(steps):
        x, y = data.train_set[torch.randint(len(data.train_set), (128,))]
        optimizer.zero_grad()
        cross_entropy(net.head(net(x)), y).backward()
        optimizer.step()
        schedule.step()
    net.eval().requires_grad_(False)
    assert data.test_set is not None
    right = 0
    for index in torch.arange(len(data.test_set)).split(500):
        x, y = data.test_set[index]
        right += int((net.head(net(x)).argmax(1) == y).sum())
    return net, right / len(data.test_set)


class Judge(Callback):
    """Measure the distance of the averaged generator now and then, off the clock."""

    def __init__(self, distance: FrechetInceptionDistance, every_n_images: int) -> None:
        self.distance = distance
        self.every_n_images = every_n_images
        self.points: list[dict[str, float]] = []
        self.off = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.start = time.process_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Stop the clock and measure."""
        assert isinstance(pl_module, AdversarialModule)
        if pl_module.images_seen % self.every_n_images:
            return
        seconds = time.process_time() - self.start - self.off
        samples = pl_module.sample(NUM_SAMPLES, generator=torch.Generator().manual_seed(0))
        self.distance.reset()
        for part in samples.split(500):
            self.distance.update(enlarge(part, SIDE), real=False)
        point = {"images": pl_module.images_seen, "seconds": seconds}
        point["distance"] = float(self.distance.compute())
        self.points.append(point)
        print(point, flush=True)
        self.off = time.process_time() - self.start - seconds


def run(
    data: GANDataModule, grows: bool, seed: int, arguments: argparse.Namespace, judge: Judge
) -> None:
    """Train once."""
    images, fmap_max = arguments.images, arguments.fmap_max
    seed_everything(seed, verbose=False)
    sizes: dict[str, Any] = {"image_size": SIDE, "image_channels": data.sample_shape[0]}
    sizes |= {"fmap_base": 8 * fmap_max, "fmap_max": fmap_max}
    model = ProGAN(ProGANGenerator(LATENTS, **sizes), ProGANDiscriminator(**sizes))
    folder = arguments.results.parent / f"{arguments.data}-{'grown' if grows else 'full'}-{seed}"
    callbacks: list[Callback] = [GeneratorEMA(half_life=5_000), judge]
    callbacks += [SampleGrid(images // BATCH // 50, dirpath=folder)]
    if grows:
        stable, fade = ({k: int(v * images) for k, v in plan.items()} for plan in (STABLE, FADE))
        callbacks.append(ProgressiveGrowing(stable, fade))
    Trainer(
        max_steps=images // BATCH,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=callbacks,
    ).fit(model, datamodule=data)


def table(rows: list[dict[str, Any]]) -> str:
    """Say in Markdown what all runs so far came to."""
    lines = [
        "| data | maps | images | training | seed | CPU minutes | best, after images | last |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        last, best = row["points"][-1], min(row["points"], key=lambda point: point["distance"])
        lines.append(
            f"| {row['data']} | {row['fmap_max']} | {row['images']:,} "
            f"| {'progressive' if row['grows'] else 'full size'} | {row['seed']} "
            f"| {last['seconds'] / 60:.1f} | {best['distance']:.2f}, {best['images']:,} "
            f"| {last['distance']:.2f} |"
        )
    return "\n".join(lines)


def make_runs(arguments: argparse.Namespace) -> None:
    """Train both ways for each seed and append what came of it to the results."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    kinds = {"MNIST": MNIST, "ImageFolder": ImageFolder}

    def fresh() -> GANDataModule:
        data: GANDataModule = kinds[arguments.data](arguments.root, batch_size=BATCH)
        data.setup("fit")
        return data

    data = fresh()
    net, accuracy = trained_classifier(data, arguments.epochs)
    distance = FrechetInceptionDistance(net, reset_real_features=False)
    assert data.test_set is not None
    for index in torch.arange(len(data.test_set)).split(500):
        distance.update(data.test_set[index][0], real=True)
    chosen = torch.randperm(len(data.train_set), generator=torch.Generator().manual_seed(0))
    for index in chosen[:NUM_SAMPLES].split(500):
        distance.update(data.train_set[index][0], real=False)
    print(f"classifier {accuracy:.4f}, training images {float(distance.compute()):.4f}", flush=True)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for grows in (way == WAYS[0] for way in arguments.ways):
            judge = Judge(distance, arguments.images // 16)
            run(fresh(), grows, seed, arguments, judge)
            row = vars(arguments) | {"seed": seed, "grows": grows, "points": judge.points}
            with arguments.results.open("a") as file:
                file.write(json.dumps(row, default=str) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["MNIST", "ImageFolder"], default="MNIST")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=160_000, help="real ones that are seen")
    parser.add_argument("--fmap_max", type=int, default=32, help="channels up to 16x16; half at 32")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="none: the table alone")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--epochs", type=int, default=3, help="of the classifier")
    parser.add_argument("--results", type=Path, default=Path("runs/growing/results.jsonl"))
    arguments = parser.parse_args()
    if arguments.seeds:
        make_runs(arguments)
    print(table([json.loads(line) for line in arguments.results.read_text().splitlines()]))


if __name__ == "__main__":
    main()
