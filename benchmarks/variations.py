"""What each kind of variation of synthetic faces is worth: ``python -m benchmarks.variations``.

Renders faces without one kind of variation, trains part 3's network on them alone, in a small
setting, and measures it on real faces: every tenth training face of 300-W, never a test folder.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from benchmarks import parser_of, run
from common.loading import load_crops
from datasets.splits import train_and_test
from datasets.synthetic import cached
from datasets.synthetic.render import VARIATIONS
from parts.part3_large_dataset import Best
from parts.studies.experiment import Experiment, evaluate, is_held_out, mean_face_error, trained


def main() -> None:
    """Print NME on real faces: all variations, then without each."""
    options = parser_of(__doc__, faces=1000, epochs=10, seeds=1).parse_args()
    recipe = replace(Best(), height=64, width=64, margin=8, epochs=options.epochs)
    real = load_crops(train_and_test("ibug", "ibug", None)[0], recipe)
    real = real.take(is_held_out(real.faces).nonzero().flatten())
    complete = None
    for left_out in ((), *((name,) for name in VARIATIONS)):
        train = load_crops(cached.load("crop", "train", options.faces, left_out), recipe)
        errors = []
        for seed in range(options.seeds):
            network, _ = trained(Experiment("3", recipe, seed=seed), train)
            errors.append(evaluate(network, real, recipe)[0]["nme"])
        error = statistics.mean(errors)
        if complete is None:
            complete = error
            print(f"mean synthetic face: nme {mean_face_error(train, real, recipe):.2f} %")
        name = f"without {left_out[0]}" if left_out else "everything"
        print(f"{name:22} nme {error:.2f} % ({error - complete:+.2f})", flush=True)


if __name__ == "__main__":
    run(main)
