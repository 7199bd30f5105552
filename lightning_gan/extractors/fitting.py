"""The training of a small classifier on the user's own labelled images."""

from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from tqdm.auto import trange

from lightning_gan.data import GANDataModule, TensorSamples
from lightning_gan.extractors.classifier import DomainClassifier
from lightning_gan.functional import to_uint8

LARGEST_SIDE = 64  # larger images are shrunk to it: more would take minutes and tell little more
BATCH_SIZE = 128
IMAGES_IN_ALL, MOST_EPOCHS = 100_000, 30
LEARNING_RATE = 3e-3
IMAGES_PER_CLASS = 10  # on average; fewer teach nothing
HELD_OUT = 10  # where no data are held out, every so many-th image is
EVALUATION_BATCH = 500

Indexed = tuple[TensorSamples, Tensor]


def fit_classifier(
    data: GANDataModule,
    epochs: int | None = None,
    name: str = "classifier",
    seed: int = 0,
    device: torch.device | str = "cpu",
    widths: Sequence[int] | None = None,
    progress: bool = True,
) -> DomainClassifier:
    """Train a classifier on labelled images, the same one whenever it is called.

    Its accuracy is that on the data's held-out images; where there are none, on a tenth of the
    training images that it is not trained on. Images larger than 64 pixels are shrunk. They are
    shifted a little in training, but never mirrored: a mirrored digit is none.

    Args:
        data: Images with labels.
        epochs: Passes over the training images. None takes as many as show about 100,000 images,
            at most 30.
        name: Under which figures are reported: ``fd/<name>``.
        seed: Decides weights, order and shifts. No generator of torch is moved.
        device: Where to train, and where the result is.
        widths: See :class:`~lightning_gan.extractors.classifier.DomainClassifier`.
        progress: Whether to show a bar.

    Returns:
        The classifier, with its held-out accuracy. A warning is given if that is hardly better than
        to name the most frequent class each time.

    Raises:
        ValueError: If the data are no images, have no labels or too few images, or if ``epochs`` is
            below 1.
    """
    if epochs is not None and epochs < 1:
        raise ValueError(f"Expected 'epochs' to be at least 1, got {epochs}.")
    # Within an evaluation that records no gradients, too.
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        train, held_out = _splits(data)
        channels, *size = data.sample_shape
        height, width = (min(side, LARGEST_SIDE) for side in size)
        classifier = DomainClassifier(
            channels, (height, width), data.num_classes or 1, widths, name
        )
        classifier.fingerprint = train[0].fingerprint()
        _train(classifier.to(device), *train, epochs, progress)
        classifier.accuracy, chance = _accuracy(classifier, *held_out)
    if classifier.accuracy < chance + 0.1 * (1 - chance):
        rank_zero_warn(
            f"The classifier '{name}' is right for {classifier.accuracy:.1%} of the held-out "
            f"images, and the most frequent class alone would be for {chance:.1%}: its features "
            "say little. Check the labels, or train for more epochs."
        )
    return classifier


def _splits(data: GANDataModule) -> tuple[Indexed, Indexed]:
    """Return the samples to train on and those held out, each with the indices to use."""
    if not hasattr(data, "train_set"):
        data.prepare_data()
        data.setup("fit")
    kind, classes, samples = type(data).__name__, data.num_classes, data.train_set
    if len(samples.sample_shape) != 3:
        raise ValueError(
            f"Expected 'data' to be images (C, H, W), got samples of shape "
            f"{tuple(samples.sample_shape)} from {kind}."
        )
    if classes is None or classes < 2:
        raise ValueError(
            f"Expected 'data' with labels of at least 2 classes, got none from {kind}. Without "
            "labels use the extractor 'inception', or a network of your own from a file."
        )
    count = samples.originals
    if count < IMAGES_PER_CLASS * classes:
        raise ValueError(
            f"Expected 'data' to hold at least {IMAGES_PER_CLASS * classes} training images, "
            f"{IMAGES_PER_CLASS} for each of {classes} classes, got {count} from {kind}."
        )
    everything, held_out = torch.arange(len(samples)), data.test_set
    if held_out is not None:
        return (samples, everything), (held_out, torch.arange(len(held_out)))
    apart = torch.zeros(count, dtype=torch.bool)
    apart[torch.randperm(count)[: count // HELD_OUT]] = True
    # An image is not held out if its mirror image is trained on.
    return (samples, everything[~apart[everything % count]]), (samples, apart.nonzero().flatten())


def _train(
    classifier: DomainClassifier,
    samples: TensorSamples,
    index: Tensor,
    epochs: int | None,
    progress: bool,
) -> None:
    network, n = classifier.network.train().requires_grad_(True), len(index)
    device = next(network.parameters()).device
    if epochs is None:
        epochs = min(MOST_EPOCHS, max(1, round(IMAGES_IN_ALL / n)))
    batch_size = min(BATCH_SIZE, max(2, n // 8))
    per_epoch = n // batch_size
    reach = min(classifier.image_size) // 16
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs * per_epoch)
    order, title = index, f"Training the extractor '{classifier.name}'"
    for step in trange(epochs * per_epoch, desc=title, disable=not progress):
        start = step % per_epoch * batch_size
        if start == 0:
            order = index[torch.randperm(n)]
        images, labels = _batch(samples, order[start : start + batch_size])
        x = _shifted(classifier.scaled(images.to(device)), reach)
        optimizer.zero_grad()
        cross_entropy(network(x)[1], labels.to(device)).backward()
        optimizer.step()
        schedule.step()
    network.requires_grad_(False)


def _accuracy(
    classifier: DomainClassifier, samples: TensorSamples, index: Tensor
) -> tuple[float, float]:
    """Return the share of right answers, and that of the most frequent class."""
    device = next(classifier.parameters()).device
    right, counts = 0, torch.zeros(classifier.num_classes or 1)
    for part in index.split(EVALUATION_BATCH):
        images, labels = _batch(samples, part)
        logits = classifier(images.to(device)).logits
        right += int((logits.argmax(dim=1).cpu() == labels).sum())
        counts += labels.bincount(minlength=len(counts))
    return right / len(index), float(counts.max()) / len(index)


def _batch(samples: TensorSamples, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return images as bytes and labels."""
    images, labels = samples[index]
    if not bool(images.isfinite().all()):
        raise ValueError("Expected 'data' to hold finite images, got NaN or infinity.")
    return to_uint8(images), labels


def _shifted(images: Tensor, reach: int) -> Tensor:
    """Move each image by up to ``reach`` pixels, its edges repeated."""
    if not reach:
        return images
    n, _, height, width = images.shape
    padded = pad(images, [reach] * 4, mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, rows, columns, H, W)
    rows, columns = torch.randint(2 * reach + 1, (2, n)).to(images.device)
    return windows[torch.arange(n, device=images.device), :, rows, columns]
