"""Keep the lab's results that have published rows, without their samples, and the leaderboard.

    python -m benchmarks.leaderboard runs/lab

copies every such ``results.json`` into ``benchmarks/results/lab`` and writes
``benchmarks/results/leaderboard.md``, which ``lightning-gan lab leaderboard --output_dir
benchmarks/results/lab`` prints.
"""

import argparse
from pathlib import Path

from lightning_gan.lab.leaderboard import leaderboard
from lightning_gan.lab.results import read_results, write_results

KEPT = Path(__file__).parent / "results"


def keep(results: Path) -> None:
    """Copy a file of results without the samples of its rows, which are many times as large."""
    content = read_results(results)
    if content["settings"].get("published"):
        rows = [{k: v for k, v in row.items() if k != "samples"} for row in content["rows"]]
        write_results(KEPT / "lab" / results.parent.name / results.name, content | {"rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/lab"))
    for results in sorted(parser.parse_args().folder.glob("*/results.json")):
        keep(results)
    board = leaderboard(sorted((KEPT / "lab").glob("*/results.json")))
    (KEPT / "leaderboard.md").write_text(board + "\n", encoding="utf-8")
    print(board)


if __name__ == "__main__":
    main()
