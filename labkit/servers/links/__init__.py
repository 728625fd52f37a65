"""The links between nodes and ZooKeeper, and how they break."""
