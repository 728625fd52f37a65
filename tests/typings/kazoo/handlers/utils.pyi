from typing import Any

from kazoo.handlers.threading import AsyncResult as _AsyncResult

def AsyncResult(
    handler: Any, condition_factory: Any, timeout_factory: Any
) -> _AsyncResult[Any]: ...
