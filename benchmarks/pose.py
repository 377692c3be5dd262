"""The error of head pose from keypoints, on synthetic heads: ``python -m benchmarks.pose``.

Every head has its own proportions, expression, distance and turn, and its keypoints are exact; the
error left is that of using the mean head for everybody. Turns are distributed as in 300-W: yaw 14,
pitch 8, roll 7 degrees of standard deviation, one in ten uniform up to 60, 30, 40.
"""

from __future__ import annotations

import numpy as np

from benchmarks import parser_of, run
from common.keypoints import IBUG_68
from common.photos.pose import head_pose
from datasets.synthetic import scene as synthetic_scene
from datasets.synthetic.render import people


def main() -> None:
    """Print the mean absolute error of each angle, of all heads and of those turned far aside."""
    options = parser_of(__doc__, heads=1000).parse_args()
    poses, turns = [], []
    for seed in range(600_000_000, 600_000_000 + options.heads):  # the people of the test split
        person, scene, _ = people(seed, "crop")
        subject = synthetic_scene.Posed(person, scene, IBUG_68, (256, 256))
        pose = head_pose(subject.camera.project(subject.points)[0])
        poses.append((pose.yaw, pose.pitch, pose.roll))
        turns.append(scene.turn)
    errors, aside = np.abs(np.subtract(poses, turns)), np.abs(np.array(turns)[:, 0]) >= 30
    for name, some in (("all", errors), ("turned aside by 30° or more", errors[aside])):
        yaw, pitch, roll = some.mean(axis=0)
        print(f"{name}: {len(some)} heads, yaw {yaw:.2f}°, pitch {pitch:.2f}°, roll {roll:.2f}°")


if __name__ == "__main__":
    run(main)
