"""Servers in containers of a Docker engine."""
