from typing import Any, NamedTuple

class Connect(NamedTuple):
    protocol_version: int
    last_zxid_seen: int
    time_out: int
    session_id: int
    passwd: bytes
    read_only: bool | None

class Transaction(NamedTuple):
    operations: list[Any]
