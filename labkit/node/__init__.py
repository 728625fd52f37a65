"""What runs in every server? The service that gets a sequence number and answers for it.

Imports nothing else of labkit, because a node's container image holds no more than this.
"""
