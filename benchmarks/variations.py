"""What each kind of variation of synthetic faces is worth: ``python -m benchmarks.variations``.

Renders faces without one kind of variation, trains part 3's network on them alone, in a small
setting, and measures it on real faces: every tenth training face of 300-W, never a test folder.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from benchmarks import parser_of
from common.loading import load_crops
from common.recipe import need_one
from datasets.splits import train_and_test
from datasets.synthetic import cached
from datasets.synthetic.render import VARIATIONS
from parts.part3_large_dataset import Best
from parts.studies.experiment import Experiment, evaluate, mean_face_error, trained


def main() -> None:
    """Print NME on real faces: all variations, then without each."""
    parser = parser_of(__doc__)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    for option, count in vars(options).items():
        need_one(f"--{option}", count)

    recipe = replace(Best(), height=64, width=64, margin=8, epochs=options.epochs)
    real = load_crops(train_and_test("ibug", "ibug", None)[0], recipe)
    real = real.take(list(range(0, len(real), 10)))
    complete = None
    for left_out in (None, *VARIATIONS):
        faces = cached.load("crop", "train", options.faces, (left_out,) if left_out else ())
        train = load_crops(faces, recipe)
        errors = []
        for seed in range(options.seeds):
            network, _ = trained(Experiment("3", recipe, seed=seed), train)
            errors.append(evaluate(network, real, recipe)[0]["nme"])
        error = statistics.mean(errors)
        if complete is None:
            complete = error
            print(f"mean synthetic face: nme {mean_face_error(train, real, recipe):.2f} %")
        name = f"without {left_out}" if left_out else "everything"
        print(f"{name:22} nme {error:.2f} % ({error - complete:+.2f})", flush=True)


if __name__ == "__main__":
    main()
