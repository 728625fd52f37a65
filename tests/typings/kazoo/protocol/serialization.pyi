from typing import Any, NamedTuple

from kazoo.security import ACL

class Auth(NamedTuple):
    auth_type: int
    scheme: str
    auth: str

class Connect(NamedTuple):
    protocol_version: int
    last_zxid_seen: int
    time_out: int
    session_id: int
    passwd: bytes
    read_only: bool | None

class Create(NamedTuple):
    path: str
    data: bytes
    acl: list[ACL]
    flags: int

class Create2(NamedTuple):
    path: str
    data: bytes
    acl: list[ACL]
    flags: int

class CheckVersion(NamedTuple):
    path: str
    version: int

class Delete(NamedTuple):
    path: str
    version: int

class Exists(NamedTuple):
    path: str
    watcher: Any

class GetACL(NamedTuple):
    path: str

class GetChildren(NamedTuple):
    path: str
    watcher: Any

class GetChildren2(NamedTuple):
    path: str
    watcher: Any

class GetData(NamedTuple):
    path: str
    watcher: Any

class SetACL(NamedTuple):
    path: str
    acls: list[ACL]
    version: int

class SetData(NamedTuple):
    path: str
    data: bytes
    version: int

class Sync(NamedTuple):
    path: str

class Close(NamedTuple):
    type: int

class Transaction(NamedTuple):
    operations: list[Any]
