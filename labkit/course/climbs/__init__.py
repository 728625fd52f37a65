"""Servers to put on the ladder, each a page of plain kazoo: how far does which idea carry?"""
