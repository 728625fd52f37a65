"""What does a reader hold? A lab, its nodes and its ZooKeeper, and what sees and records them."""
