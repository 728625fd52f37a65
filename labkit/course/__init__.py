"""How it is taught: pages, predictions, tasks, exercises, export."""
