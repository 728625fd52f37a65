"""An installed ZooKeeper: where it is, how it is configured, what it says and writes."""
