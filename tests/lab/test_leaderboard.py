"""Own rows beside published ones, of files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_gan.lab.judges import MixtureJudge
from lightning_gan.lab.leaderboard import beaten, leaderboard
from lightning_gan.lab.published import Published
from lightning_gan.lab.standings import Standing
from tests.lab.test_comparison import row

PAPERS = [
    {"method": "Strong", "figures": {"modes": [7.9, 0.1], "reverse_kl": 0.07}},
    {"method": "Weak", "figures": {"modes": 6.3}, "steps": 4000, "batch_size": 20, "source": "A."},
]


def write(folder: Path, name: str, rows: list[Any], published: list[Any]) -> Path:
    settings = {
        "name": name,
        "title": f"The {name}",
        "judge": {"class_path": "MixtureJudge"},
        "judged": "average",
        "published": published,
        "bars": {"modes": ">= 7.5"},
    }
    path = folder / f"{name}.json"
    content = {"class_path": "", "command": "", "settings": settings, "rows": rows}
    path.write_text(json.dumps(content))
    return path


def test_leaderboard(tmp_path: Path) -> None:
    rows = [
        row("good", 0, 8.0, 0.01, "new"),
        row("good", 1, 8.0, 0.03, "new"),
        row("poor", 0, 7.0, 0.5, "new"),
        row("good", 2, 1.0, 2.0, "old"),
    ]
    ring = write(tmp_path, "ring", rows, PAPERS)
    other = write(tmp_path, "other", rows, [])
    summary, details = leaderboard([ring, other]).split("\n\n## ")
    good, poor = summary.splitlines()[-2:]
    assert good.startswith("| ring | good | modes 8.0 ± 0.0, within 3 std, % 80.0 ± 0.0,")
    assert "reverse KL, nats 0.0200 ± 0.0141 | Strong: modes 7.9 ± 0.1, reverse KL" in good
    assert (
        "| 2 of 2 | yes | `lightning-gan lab ring --only good --seeds '[0,1]' --steps 4` |" in good
    )
    assert "| 1 of 2 | misses modes >= 7.5 |" in poor
    order = [line.split(" | ")[0].strip("| *") for line in details.splitlines()[4:8]]
    assert order == ["good", "Strong", "poor", "Weak"]
    assert "4,000 steps, 80,000 samples | A. |" in details


def test_each_method_has_its_generator(tmp_path: Path) -> None:
    rows = [row(name, 0, 8.0, 0.01, "new") for name in ("plain", "cure")]
    for one in rows:
        one["last"] = one["last"] | {"modes": 3.0}
    path = write(tmp_path, "ring", rows, PAPERS)
    content = json.loads(path.read_text())
    content["settings"]["judged"] = {"plain": "last"}
    path.write_text(json.dumps(content))
    cure, plain = leaderboard([path]).split("\n\n")[1].splitlines()[2:]
    assert cure.startswith("| ring | cure | modes 8.0")
    assert plain.startswith("| ring | plain | modes 3.0")
    assert "1 (± std), last generator" in leaderboard([path])


def test_share_of_the_published_budget(tmp_path: Path) -> None:
    path = write(tmp_path, "ring", [row("good", 0, 8.0, 0.01, "new")], PAPERS[1:])
    assert "| 0.1% |" in leaderboard([path])  # 80 of 80,000 samples


def test_a_row_is_beaten_in_all_that_it_has() -> None:
    own = Standing("a", 4, "average", (row("a", 0, 7.0, 0.1, ""),))
    counts = MixtureJudge.counts

    def beats(**figures: float) -> bool:
        return beaten(own, Published("b", {k: (v, None) for k, v in figures.items()}), counts)

    assert beats(modes=6.0)
    assert beats(modes=7.0, reverse_kl=0.2)
    assert not beats(modes=7.0, reverse_kl=0.1)
    assert not beats(modes=6.0, reverse_kl=0.05)
    undefined = Standing("a", 4, "average", (row("a", 0, 7.0, None, ""),))
    assert not beaten(undefined, Published("b", {"reverse_kl": (9.0, None)}), counts)


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"published rows, .* got 1 files without"):
        leaderboard([write(tmp_path, "ring", [], [])])
    with pytest.raises(ValueError, match="to be a file of results"):
        leaderboard([tmp_path / "none.json"])
