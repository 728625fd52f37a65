from typing import Self

from kazoo.client import KazooClient

class Counter:
    path: str
    last_set: int | float | None
    pre_value: int | float | None
    post_value: int | float | None
    def __init__(
        self,
        client: KazooClient,
        path: str,
        default: int | float = ...,
        support_curator: bool = ...,
    ) -> None: ...
    @property
    def value(self) -> int | float: ...
    def __add__(self, value: int | float) -> Self: ...
    def __sub__(self, value: int | float) -> Self: ...
