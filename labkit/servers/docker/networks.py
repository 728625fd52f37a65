"""A lab's networks: one at the front, and one for each ZooKeeper server, with fixed addresses.

All servers are on the front network, where their ports are published, and on one network for each
ZooKeeper server: whoever is taken off that one cannot reach the server any more. An engine
publishes ports on the network whose name comes first in the alphabet, and would publish them anew
if that changed: "front" < "link-…".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from labkit.errors import BackendError
from labkit.servers.base import wait_until

_TIMEOUT = 20.0  # seconds for a Swarm to choose a network's addresses


class Networks:
    """Creates them on the engine of `api`; `called` makes a name that only this lab uses."""

    def __init__(
        self,
        api: Callable[[], APIClient],
        called: Callable[[str], str],
        labels: Mapping[str, str],
    ) -> None:
        self._api = api
        self._called = called
        self._labels = dict(labels)
        self._subnets: dict[str, ipaddress.IPv4Network] = {}  # by ZooKeeper server

    def create_front(self) -> None:
        self._create("front")

    def create_links(self, zookeepers: Sequence[str], tries: int = 20) -> None:
        """Create the networks of ZooKeeper servers, with subnets that allow fixed addresses.

        Only the engine knows which addresses are free on its machine, so it chooses a pool, which
        we divide. Another lab may be given the same one at the same moment; then we ask again.
        """
        for attempt in range(1, tries + 1):
            subnets = self._free_pool().subnets((len(zookeepers) - 1).bit_length())
            made = []
            try:
                for name, subnet in zip(zookeepers, subnets, strict=False):
                    made.append(self._create(f"link-{name}", subnet))
                    self._subnets[name] = subnet
                return
            except APIError as error:
                for network in made:
                    self._api().remove_network(network)
                if "overlaps" not in str(error) or attempt == tries:
                    raise

    def remove_link(self, zookeeper: str) -> None:
        """Take everybody off a ZooKeeper server's network, and remove it. Idempotent."""
        network = self._called(f"link-{zookeeper}")
        if self._subnets.pop(zookeeper, None):
            try:
                on_it = self._api().inspect_network(network)["Containers"]
                for container in on_it:
                    self._api().disconnect_container_from_network(container, network, force=True)
                self._api().remove_network(network)
            except NotFound:
                return

    def address(self, number: int, zookeeper: str) -> str:
        """The address that the lab's server `number` has on a ZooKeeper server's network."""
        subnet = self._subnets[zookeeper]
        host = number + 2  # 0 is the network itself, 1 the gateway
        if host >= subnet.num_addresses - 1:
            raise BackendError(
                f"The network {subnet} has no address for another server. Use a new lab, or give "
                "the engine larger pools (`default-address-pools` in its daemon.json)."
            )
        return str(subnet[host])

    def _create(self, what: str, subnet: ipaddress.IPv4Network | None = None) -> str:
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]) if subnet else None
        name = self._called(what)
        self._api().create_network(name, driver="bridge", ipam=ipam, labels=self._labels)
        return name

    def _free_pool(self) -> ipaddress.IPv4Network:
        probe = self._create("probe")
        try:
            pools = self._api().inspect_network(probe)["IPAM"]["Config"]
        finally:
            self._api().remove_network(probe)
        networks = (ipaddress.ip_network(pool["Subnet"]) for pool in pools)
        return next(net for net in networks if isinstance(net, ipaddress.IPv4Network))


class Overlays(Networks):
    """Networks that span the machines of a Swarm; made by its manager, whose `api` comes first.

    Every machine has an address of its own on each, from the bottom up, so that servers count from
    the top. The Swarm chooses the subnets.
    """

    def __init__(
        self,
        apis: Callable[[], Sequence[APIClient]],
        called: Callable[[str], str],
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(lambda: apis()[0], called, labels)
        self._apis = apis

    def create_links(self, zookeepers: Sequence[str], tries: int = 20) -> None:
        for name in zookeepers:
            network = self._create(f"link-{name}")
            if not wait_until(partial(self._pools, network), _TIMEOUT, 0.05):
                raise BackendError("The Swarm gives a network no addresses. Has it a manager?")
            self._subnets[name] = ipaddress.IPv4Network(self._pools(network)[0]["Subnet"])

    def address(self, number: int, zookeeper: str) -> str:
        subnet = self._subnets[zookeeper]
        host = subnet.num_addresses - 2 - number
        if host < 2 + len(self._apis()):
            raise BackendError(f"The network {subnet} has no address for another server.")
        return str(subnet[host])

    def remove_link(self, zookeeper: str) -> None:
        network = self._called(f"link-{zookeeper}")
        for api in self._apis():
            with suppress(NotFound):
                for container in api.inspect_network(network)["Containers"] or {}:
                    with suppress(NotFound):  # the entries of other machines are no containers
                        api.disconnect_container_from_network(container, network, force=True)
        super().remove_link(zookeeper)

    def _pools(self, network: str) -> list[dict[str, str]]:
        return self._api().inspect_network(network)["IPAM"]["Config"] or []

    def _create(self, what: str, subnet: ipaddress.IPv4Network | None = None) -> str:
        name = self._called(what)
        self._api().create_network(name, driver="overlay", attachable=True, labels=self._labels)
        return name
