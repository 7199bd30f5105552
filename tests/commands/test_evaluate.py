import json
import zipfile
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from lightning_gan.cli import main
from lightning_gan.extractors import DomainClassifier

# Of samples as few as here.
pytestmark = pytest.mark.filterwarnings("ignore:Even a perfect generator")


def write(folder: Path, n: int, seed: int, side: int = 8, dark: bool = False) -> Path:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    for i, image in enumerate(torch.rand(n, 1, side, side, generator=generator)):
        save_image(image.expand(3, -1, -1) * (0.5 if dark else 1.0), folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("extractor") / "tiny.pt"
    DomainClassifier(3, (8, 8), 4, name="tiny").save(path)
    return path


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return path


def evaluate(tmp_path: Path, extractor: Path, *arguments: str) -> None:
    cache = f"--cache_dir={tmp_path / 'cache'}"
    main(["evaluate", f"--extractor={extractor}", cache, *arguments])


def test_a_table_of_images_from_anywhere(
    tmp_path: Path, extractor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, fake = write(tmp_path / "real", 60, 1), write(tmp_path / "fake", 40, 2, dark=True)
    held_out, out = write(tmp_path / "held", 30, 3), tmp_path / "out"
    evaluate(
        tmp_path, extractor, f"--real={real}", f"--fake={zipped(fake)}",
        f"--held_out={held_out}", f"--output_dir={out}",
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert (out / "evaluation.txt").read_text().strip() in shown
    table = json.loads((out / "evaluation.json").read_text())
    assert (table["protocol"]["generated samples"], table["protocol"]["real samples"]) == (40, 60)
    assert {"fd/tiny", "kd/tiny", "score/tiny", "recall", "copies", "modes"} < set(table["figures"])
    assert table["explanation"] in shown
    # The same real images, from an archive: nothing is extracted anew.
    evaluate(
        tmp_path, extractor, f"--real={zipped(real)}", f"--fake={fake}", f"--held_out={held_out}"
    )
    again = capsys.readouterr().out
    assert f"{table['figures']['fd/tiny']:.4g}" in again
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1


def test_images_are_brought_to_one_size_only_where_asked_for(
    tmp_path: Path, extractor: Path
) -> None:
    real, fake = write(tmp_path / "real", 40, 1), write(tmp_path / "fake", 40, 2, side=10)
    sets = (f"--real={real}", f"--fake={fake}")
    with pytest.raises(SystemExit, match=r"'fake' to hold images of the size .*Give 'image_size'"):
        evaluate(tmp_path, extractor, *sets)
    evaluate(tmp_path, extractor, *sets, "--image_size=8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--real=nowhere", "--fake=nowhere"], "'root' .* got nowhere, which does not exist"),
        (["--real={}", "--fake={}/empty"], "'root' to hold images .*empty"),
        (["--real={}", "--fake={}", "--metrics=[ssim]"], "'metrics' .*ssim"),
    ],
)
def test_refusals_are_one_message(
    arguments: list[str], message: str, tmp_path: Path, extractor: Path
) -> None:
    write(tmp_path / "real", 40, 1)
    (tmp_path / "real" / "empty").mkdir()
    given = [argument.format(tmp_path / "real") for argument in arguments]
    with pytest.raises(SystemExit, match=f"lightning-gan: error: Expected {message}"):
        evaluate(tmp_path, extractor, *given)


def test_broken_images_and_extractors_are_refused(tmp_path: Path, extractor: Path) -> None:
    real = write(tmp_path / "real", 40, 1)
    (tmp_path / "bad.pt").write_bytes(b"no extractor")
    with pytest.raises(SystemExit, match=r"lightning-gan: error: Expected .*bad\.pt"):
        evaluate(tmp_path, tmp_path / "bad.pt", f"--real={real}", f"--fake={real}")
    (real / "7.png").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"readable image, got .*7\.png"):
        evaluate(tmp_path, extractor, f"--real={real}", f"--fake={real}")
