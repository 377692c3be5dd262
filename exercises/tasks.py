"""The tasks of all parts by name, in the order of the sheets."""

from exercises import checks_part1, checks_part2, checks_part3

PARTS = (checks_part1, checks_part2, checks_part3)
TASKS = {task.name: task for part in PARTS for task in part.TASKS}
