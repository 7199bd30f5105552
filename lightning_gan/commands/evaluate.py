"""``lightning-gan evaluate``: images from anywhere beside real ones."""

from pathlib import Path

from tqdm.auto import tqdm

from lightning_gan.data import image_set
from lightning_gan.extractors import make_extractor
from lightning_gan.metrics import METRICS, GenerationMetrics
from lightning_gan.metrics.real_samples import SetOfSamples


def evaluate(
    real: Path,
    fake: Path,
    extractor: str = "inception",
    extractor_weights: Path | None = None,
    held_out: Path | None = None,
    image_size: int | None = None,
    metrics: list[str] | None = None,
    output_dir: Path | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> None:
    """Compare generated images with real ones, from folders or zip archives.

    Args:
        real: Folder or zip archive of the real images.
        fake: Folder or zip archive of the generated ones.
        extractor: What describes images: inception, a name of torch-fidelity's such as
            dinov2-vit-b-14, or a file: .pt2, TorchScript, or of lightning-gan fit-extractor.
        extractor_weights: File of the weights of Inception, for machines without internet.
        held_out: Folder or zip archive of real images on which the generator was not trained, to
            check for memorisation; the real ones must then be those on which it was.
        image_size: Side to which all images are resized and cropped; their own if left out.
        metrics: Which figures; all that are possible if left out.
        output_dir: Folder for the table as text, CSV and JSON; only printed if left out.
        batch_size: Images described at a time.
        device: Where to compute, such as cpu or cuda.
        cache_dir: Folder of the real images' features; the user's cache folder if left out.
    """
    metric = GenerationMetrics(
        make_extractor(extractor, extractor_weights), metrics or METRICS, progress=True
    ).to(device)
    first = image_set(real, image_size)
    channels, *size = first.sample_shape
    sets = {"real": first, "fake": image_set(fake, image_size, channels)}
    if held_out is not None:
        sets["held_out"] = image_set(held_out, image_size, channels)
    for name, images in sets.items():
        if [*images.sample_shape[1:]] != size:
            raise ValueError(
                f"Expected '{name}' to hold images of the size of 'real', {size}, got "
                f"{list(images.sample_shape[1:])}. Give 'image_size' to resize all."
            )
    samples = {name: SetOfSamples(images, None, batch_size) for name, images in sets.items()}
    metric.measure_real(samples["real"], samples.get("held_out"), cache_dir)
    with tqdm(desc="Features of generated samples", total=len(samples["fake"]), delay=1) as bar:
        for part in samples["fake"].parts():
            metric.update(part.to(device), real=False)
            bar.update(len(part))
    report = metric.report()
    print(report.text())
    if output_dir is not None:
        print(f"\nWritten to {report.write(output_dir)}")
