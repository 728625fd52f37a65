import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from kazoo.handlers.threading import AsyncResult, SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.states import WatchedEvent, ZnodeStat
from kazoo.retry import KazooRetry
from kazoo.security import ACL

_T = TypeVar("_T")
_Watch = Callable[[WatchedEvent], object] | None

class KazooClient:
    handler: SequentialThreadingHandler
    hosts: list[tuple[str, int]]
    chroot: str
    def unchroot(self, path: str) -> str: ...
    client_state: str
    last_zxid: int
    retry: _Retry
    auth_data: set[tuple[str, str]]
    _connection: ConnectionHandler
    _pending: deque[tuple[Any, AsyncResult[Any], int]]
    _session_timeout: float
    _session_id: int | None
    _session_passwd: bytes
    _state: str
    _live: Event
    _stopped: Event
    state_listeners: set[Callable[[str], object]]
    def _session_callback(self, state: str) -> None: ...
    def _make_state_change(self, state: str) -> None: ...

    # The recipes, bound to the client.
    Semaphore: type[Any]
    Lock: type[Any]
    Election: type[Any]
    Queue: type[Any]
    LockingQueue: type[Any]
    Counter: type[Any]
    DataWatch: type[Any]
    ChildrenWatch: type[Any]

    def __init__(
        self,
        hosts: str = ...,
        timeout: float = ...,
        client_id: tuple[int, bytes] | None = ...,
        handler: SequentialThreadingHandler | None = ...,
        default_acl: Sequence[ACL] | None = ...,
        auth_data: Sequence[tuple[str, str]] | None = ...,
        sasl_options: dict[str, Any] | None = ...,
        read_only: bool | None = ...,
        randomize_hosts: bool = ...,
        connection_retry: KazooRetry | dict[str, Any] | None = ...,
        command_retry: KazooRetry | dict[str, Any] | None = ...,
        logger: logging.Logger | None = ...,
        keyfile: str | None = ...,
        keyfile_password: str | None = ...,
        certfile: str | None = ...,
        ca: str | None = ...,
        use_ssl: bool = ...,
        verify_certs: bool = ...,
        check_hostname: bool = ...,
    ) -> None: ...
    @property
    def state(self) -> str: ...
    @property
    def connected(self) -> bool: ...
    @property
    def client_id(self) -> tuple[int, bytes]: ...  # None before the first connection
    def _call(self, request: Any, async_object: AsyncResult[Any]) -> Any: ...
    def start(self, timeout: float = ...) -> Any: ...
    def start_async(self) -> Any: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...
    def add_listener(self, listener: Callable[[str], object]) -> None: ...
    def remove_listener(self, listener: Callable[[str], object]) -> None: ...
    def add_auth(self, scheme: str, credential: str) -> bool: ...
    def command(self, cmd: bytes = ...) -> str: ...
    def server_version(self, retries: int = ...) -> tuple[int, ...]: ...
    def set_hosts(self, hosts: str, randomize_hosts: bool | None = ...) -> None: ...
    def sync(self, path: str) -> str: ...
    def sync_async(self, path: str) -> AsyncResult[str]: ...
    @overload
    def create(
        self,
        path: str,
        value: bytes = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        include_data: Literal[False] = ...,
    ) -> str: ...
    @overload
    def create(
        self,
        path: str,
        value: bytes = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        *,
        include_data: Literal[True],
    ) -> tuple[str, ZnodeStat]: ...
    @overload
    def create_async(
        self,
        path: str,
        value: bytes = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        include_data: Literal[False] = ...,
    ) -> AsyncResult[str]: ...
    @overload
    def create_async(
        self,
        path: str,
        value: bytes = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
        makepath: bool = ...,
        *,
        include_data: Literal[True],
    ) -> AsyncResult[tuple[str, ZnodeStat]]: ...
    def ensure_path(self, path: str, acl: Sequence[ACL] | None = ...) -> bool | str: ...
    def ensure_path_async(
        self, path: str, acl: Sequence[ACL] | None = ...
    ) -> AsyncResult[bool]: ...
    # None where there is none; but a caller that has just seen the znode need not ask for that.
    def exists(self, path: str, watch: _Watch = ...) -> ZnodeStat | Any: ...
    def exists_async(self, path: str, watch: _Watch = ...) -> AsyncResult[ZnodeStat | None]: ...
    def get(self, path: str, watch: _Watch = ...) -> tuple[bytes, ZnodeStat]: ...
    def get_async(self, path: str, watch: _Watch = ...) -> AsyncResult[tuple[bytes, ZnodeStat]]: ...
    @overload
    def get_children(
        self, path: str, watch: _Watch = ..., include_data: Literal[False] = ...
    ) -> list[str]: ...
    @overload
    def get_children(
        self, path: str, watch: _Watch = ..., *, include_data: Literal[True]
    ) -> tuple[list[str], ZnodeStat]: ...
    @overload
    def get_children_async(
        self, path: str, watch: _Watch = ..., include_data: Literal[False] = ...
    ) -> AsyncResult[list[str]]: ...
    @overload
    def get_children_async(
        self, path: str, watch: _Watch = ..., *, include_data: Literal[True]
    ) -> AsyncResult[tuple[list[str], ZnodeStat]]: ...
    def get_acls(self, path: str) -> tuple[list[ACL], ZnodeStat]: ...
    def set_acls(self, path: str, acls: Sequence[ACL], version: int = ...) -> ZnodeStat: ...
    def set(self, path: str, value: bytes, version: int = ...) -> ZnodeStat: ...
    def set_async(self, path: str, value: bytes, version: int = ...) -> AsyncResult[ZnodeStat]: ...
    def delete(self, path: str, version: int = ..., recursive: bool = ...) -> bool: ...
    def delete_async(self, path: str, version: int = ...) -> AsyncResult[bool]: ...
    def reconfig(
        self,
        joining: str | None,
        leaving: str | None,
        new_members: str | None,
        from_config: int = ...,
    ) -> tuple[bytes, ZnodeStat]: ...
    def transaction(self) -> TransactionRequest: ...

class _Retry:
    def __call__(self, func: Callable[..., _T], *args: Any, **kwargs: Any) -> _T: ...

class TransactionRequest:
    client: KazooClient
    operations: list[Any]
    committed: bool
    def create(
        self,
        path: str,
        value: bytes = ...,
        acl: Sequence[ACL] | None = ...,
        ephemeral: bool = ...,
        sequence: bool = ...,
    ) -> None: ...
    def delete(self, path: str, version: int = ...) -> None: ...
    def set_data(self, path: str, value: bytes, version: int = ...) -> None: ...
    def check(self, path: str, version: int) -> None: ...
    def commit(self) -> list[Any]: ...
    def commit_async(self) -> AsyncResult[list[Any]]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None: ...
