"""The service that runs in every container or process: a server with a sequence number.

Imports nothing else of labkit, because a node's container image holds no more than this.
"""
