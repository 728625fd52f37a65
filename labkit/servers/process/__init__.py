"""Servers as local processes."""
