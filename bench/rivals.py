"""GANs against their rivals: the same data, the same minutes of computing, the same judge.

    python bench/rivals.py --data digits --minutes 2 --seeds 3
    python bench/rivals.py --data mnist --minutes 5 --recipes r3gan flowgan vae realnvp ddpm pixelcnn

Quality is the Frechet distance in the features of a classifier that was trained on the real training data, beside that
of held-out real images; recall is diversity; the worst seed is stability; bits per dimension are of held-out images.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ganforge.contest import JUDGED, contest, table
from ganforge.core.errors import GanforgeError
from ganforge.race import Row

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
RECIPES = ["r3gan", "dcgan", "flowgan", "vae", "realnvp", "ddpm", "pixelcnn"]


def show(row: Row) -> None:
    """One line of JSON, as soon as it is known."""
    print(json.dumps(row.to_dict()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, mnist, ring, grid, or labelled images of your own")
    parser.add_argument("--held", help="held-out real data (mnist: its test set; else a fifth is held out)")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--minutes", type=float, default=2.0, help="of computing, for each recipe and seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--judged", type=int, default=JUDGED, help="generated samples that are judged, at most")
    parser.add_argument("--out", help="keep the runs here")
    args = parser.parse_args()
    data, held = args.data, args.held
    if data == "mnist":
        data, held = str(DATA / "mnist-train.zip"), held or str(DATA / "mnist-test.zip")
    try:
        rows = contest(
            data, args.recipes, args.minutes, range(args.seeds), held, args.out, judged=args.judged, seen=show
        )
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
