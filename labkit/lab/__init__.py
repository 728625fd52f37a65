"""What a reader holds: a lab, its nodes, its ZooKeeper, and every event of a run."""
