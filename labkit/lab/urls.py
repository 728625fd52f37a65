"""What a link to a server looks like for the person who reads it.

Programs use a server's endpoint, which is on this machine. A reader's browser may be on another
one: behind a JupyterHub, or in front of a codespace, where a port is reached by another address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from labkit.servers.base import Endpoint


def link(endpoint: Endpoint, environ: Mapping[str, str] | None = None) -> str:
    """The address at which a reader's browser reaches a server's HTTP port.

    Behind a hub it is the path of jupyter-server-proxy below the reader's own prefix (with the
    hub's public address in front, if the hub tells it). LABKIT_BASE_URL does the same for a
    Jupyter server with a base URL but no hub.

    >>> link(Endpoint("127.0.0.1", 5001), {})
    'http://127.0.0.1:5001'
    >>> link(Endpoint("127.0.0.1", 5001), {"JUPYTERHUB_SERVICE_PREFIX": "/user/ann/"})
    '/user/ann/proxy/5001'
    """
    environ = os.environ if environ is None else environ
    public = environ.get("JUPYTERHUB_PUBLIC_URL", "")
    base = environ.get("LABKIT_BASE_URL") or public or environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if base:
        return f"{base.rstrip('/')}/proxy/{endpoint.port}"
    if name := environ.get("CODESPACE_NAME"):
        domain = environ.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
        return f"https://{name}-{endpoint.port}.{domain}"
    return f"http://{endpoint}"
