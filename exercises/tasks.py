"""The tasks of each part, in the order of its sheet."""

from exercises import checks_part1, checks_part2, checks_part3

TASKS = {"1": checks_part1.TASKS, "2": checks_part2.TASKS, "3": checks_part3.TASKS}
