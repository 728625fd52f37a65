"""How is it taught? Pages, predictions, tasks, exercises, export."""
