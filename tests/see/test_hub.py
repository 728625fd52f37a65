"""Two learners behind a real JupyterHub: both work, and neither disturbs the other."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect
from test_jupyterlab import PAGE, answers, run, wait

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

LEARNERS = ("ann", "bob")
_CELLS = 13  # of page 04: three servers have their numbers

_CONFIG = """
c.JupyterHub.bind_url = "{address}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.JupyterHub.db_url = "sqlite:///{home}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{home}/cookies"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.pid_file = "{home}/proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{home}/{{username}}"
c.Spawner.cmd = ["{bin}/jupyterhub-singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.default_url = "/lab/tree/page.ipynb"
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
c.Spawner.environment = {{
    "LABKIT_BACKEND": "process",
    "TMPDIR": lambda spawner: "{home}/" + spawner.user.name + "/tmp",
}}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hub's proxy: the one that is installed, or one from npm."""
    if found := shutil.which("configurable-http-proxy"):
        return found
    if shutil.which("npm") is None:
        pytest.skip("a hub needs configurable-http-proxy, and there is no npm to get it")
    home = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
    subprocess.run([*install, "configurable-http-proxy@5"], check=True, timeout=300)
    return str(home / "node_modules/.bin/configurable-http-proxy")


@pytest.fixture
def hub(proxy: str, tmp_path: Path) -> Iterator[str]:
    """The address of a hub whose learners each have the first cells of page 04."""
    notebook = nbformat.read(PAGE, as_version=4)
    notebook.cells = notebook.cells[:_CELLS]
    for name in LEARNERS:
        (tmp_path / name / "tmp").mkdir(parents=True)
        nbformat.write(notebook, tmp_path / name / "page.ipynb")
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    address, hub, api = (port.getsockname()[1] for port in ports)
    for port in ports:
        port.close()
    config = tmp_path / "config.py"
    config.write_text(
        _CONFIG.format(
            address=f"http://127.0.0.1:{address}",
            hub=hub,
            api=api,
            home=tmp_path,
            proxy=proxy,
            bin=Path(sys.executable).parent,
        )
    )
    with (tmp_path / "hub.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(config)],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        there = f"http://127.0.0.1:{address}"
        wait(lambda: answers(f"{there}/hub/login") or process.poll(), 120, "the hub answers")
        assert process.poll() is None, log.name
        yield there
    finally:
        process.terminate()  # it ends its learners' servers, and they their kernels
        process.wait(timeout=60)


def log_in(chromium: Browser, hub: str, name: str) -> Page:
    page = chromium.new_context(viewport={"width": 1250, "height": 1000}).new_page()
    page.goto(f"{hub}/hub/login")
    page.get_by_label("Username:").fill(name)
    page.get_by_label("Password:").fill("learn")
    page.get_by_role("button", name="Sign in").click()
    return page


def test_two_learners_at_once(chromium: Browser, hub: str) -> None:
    pages = {name: log_in(chromium, hub, name) for name in LEARNERS}
    for name, page in pages.items():
        wait_for_kernel(page, f"{hub}/user/{name}/lab/tree/page.ipynb")
    for page in pages.values():  # both are under way before anybody waits
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
    ports, hosts = {}, {}
    for name, page in pages.items():
        expect(page.get_by_text("[1, 2, 3]")).to_be_visible(timeout=120_000)
        said = run(page, "print(lab.node(1).endpoint.port, lab.zookeeper.hosts)")
        found = re.search(r"(\d+) (127\.0\.0\.1:\d+)", said)
        assert found, said
        ports[name], hosts[name] = found[1], found[2]
        link = page.locator(f'a[href="/user/{name}/proxy/{ports[name]}/swagger"]')
        expect(link.first).to_be_visible()
        executes(page, f"{hub}/user/{name}/proxy/{ports[name]}/swagger")
    assert len(set(ports.values())) == len(set(hosts.values())) == len(LEARNERS)
    for name, other in zip(LEARNERS, reversed(LEARNERS), strict=True):
        stays_outside(pages[name], hub, other, ports[other], hosts[other])
    for page in pages.values():
        run(page, "lab.close()")
        page.context.close()


def wait_for_kernel(page: Page, address: str) -> None:
    ready = page.get_by_text("Python 3 (ipykernel) | Idle")
    # Chromium drops what it is loading when another test's network comes or goes.
    dropped = page.get_by_text(re.compile("Error Loading Theme|File Load Error"))
    for _ in range(5):
        expect(ready.or_(dropped).first).to_be_visible(timeout=150_000)
        if not dropped.first.is_visible():
            break
        page.goto(address)
    expect(ready).to_be_visible(timeout=150_000)


def executes(page: Page, address: str) -> None:
    """Swagger UI behind the learner's prefix: *Execute* asks the node, and it answers."""
    swagger = page.context.new_page()
    swagger.goto(address)
    operation = swagger.locator(".opblock", has_text="/sequence").first
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    status = operation.locator(".live-responses-table .response-col_status").last
    expect(status).to_contain_text("200", timeout=30_000)
    swagger.close()


def stays_outside(page: Page, hub: str, other: str, port: str, hosts: str) -> None:
    """A learner neither gets through to another one's servers, nor changes what they hold."""
    answer = page.context.request.get(f"{hub}/user/{other}/proxy/{port}/status")
    assert answer.status == 403
    said = run(
        page,
        "from labkit.servers import registry\n"
        "from kazoo.client import KazooClient\n"
        "from kazoo.exceptions import NoAuthError\n"
        "print('labs:', len(registry.registered()))\n"
        f"stranger = KazooClient({hosts!r})\n"
        "stranger.start()\n"
        "for act in (lambda: stranger.delete('/sequence/1'),\n"
        "            lambda: stranger.create('/sequence/9'),\n"
        "            lambda: stranger.set('/sequence/1', b'')):\n"
        "    try:\n"
        "        act()\n"
        "    except NoAuthError:\n"
        "        print('refused')\n"
        "stranger.stop()",
    )
    assert "labs: 1" in said
    assert said.count("refused") == 3
