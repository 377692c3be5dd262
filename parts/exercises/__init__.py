"""What checks the exercises: the tasks of each part, their known mistakes, and the judge."""
