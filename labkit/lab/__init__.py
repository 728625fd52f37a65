"""What a reader holds: a lab, its nodes and its ZooKeeper, and what sees and records them."""
