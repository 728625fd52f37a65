"""ZooKeeper from the outside: found in every layout, and its transaction log read exactly."""

from __future__ import annotations

import re
import subprocess
import uuid
from contextlib import nullcontext
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from labkit.errors import BackendError, BackendUnavailable, HistoryError
from labkit.lab.lab import Lab
from labkit.servers import registry
from labkit.servers.base import ZooKeeperSettings
from labkit.servers.zookeeper import config
from labkit.servers.zookeeper.install import find_installation
from labkit.servers.zookeeper.txnlog import parse_transaction_logs
from labkit.servers.zookeeper.words import cli_answer, four_letter, parse_srvr


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(JAVA if path.name == "java" else "")
    path.chmod(0o755)
    return path


JAVA = "#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2\n"


_BREW = "opt/zookeeper/libexec/lib/zookeeper-3.9.3.jar"


@pytest.mark.parametrize(
    ("jar", "java", "environ"),
    [
        ("usr/share/java/zookeeper-3.8.0.jar", "usr/bin/java", {}),
        (f"opt/homebrew/{_BREW}", "opt/homebrew/opt/openjdk/bin/java", {}),
        (f"home/linuxbrew/.linuxbrew/{_BREW}", "usr/bin/java", {}),
        (
            "srv/zk/lib/zookeeper-3.9.3.jar",
            "srv/jdk/bin/java",
            {"ZOOKEEPER_HOME": "srv/zk", "JAVA_HOME": "srv/jdk"},
        ),
    ],
)
def test_finds_every_layout(tmp_path: Path, jar: str, java: str, environ: dict[str, str]) -> None:
    _touch(tmp_path / jar)
    if "share" in jar:
        (tmp_path / "usr/share/java/zookeeper.jar").symlink_to("zookeeper-3.8.0.jar")
    _touch(tmp_path / java)
    environ = {name: str(tmp_path / value) for name, value in environ.items()}
    found = find_installation({"PATH": str(tmp_path / "usr/bin"), **environ}, tmp_path)
    assert jar.endswith(f"zookeeper-{found.version}.jar")
    assert found.java == str(tmp_path / java)
    assert all(Path(jar).exists() for jar in found.jars)


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers run in directories of their own, where a relative path leads nowhere."""
    _touch(tmp_path / "zk/lib/zookeeper-3.9.3.jar")
    _touch(tmp_path / "jdk/bin/java")
    monkeypatch.chdir(tmp_path)
    for environ in ({"JAVA_HOME": "jdk"}, {"PATH": "jdk/bin"}):
        found = find_installation({"ZOOKEEPER_HOME": "zk", "PATH": "", **environ}, tmp_path)
        assert found.java == str(tmp_path / "jdk/bin/java")
        assert found.jars == (str(tmp_path / "zk/lib/zookeeper-3.9.3.jar"),)


@pytest.mark.parametrize(
    ("script", "works"),
    [
        ("echo 'Unable to locate a Java Runtime.' >&2; exit 1", False),
        ("exit 0", False),
        ("echo 'java version \"1.7.0_80\"'", False),
        ("echo 'openjdk version \"11.0.2\"'; exit 3", False),
        ("echo 'openjdk version \"1.8.0_402\"' >&2", True),
        ("echo 'Picked up JAVA_TOOL_OPTIONS: -Dversion=7' >&2; echo 'java version \"25\"'", True),
        ("cat; echo 'openjdk version \"21-ea\"'", True),
    ],
)
def test_a_java_that_does_not_run_is_passed_over(tmp_path: Path, script: str, works: bool) -> None:
    _touch(tmp_path / "usr/share/java/zookeeper.jar")
    asked = _touch(tmp_path / "bin/java")
    asked.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(BackendUnavailable) if not works else nullcontext():
        assert find_installation({"PATH": f"{tmp_path}/bin"}, tmp_path).java == str(asked)
    second = _touch(tmp_path / "usr/bin/java")
    environ = {
        "JAVA_HOME": str(tmp_path),
        "PATH": f"{tmp_path}/none:{tmp_path}/bin:{second.parent}",
    }
    assert find_installation(environ, tmp_path).java == str(asked if works else second)


def test_a_program_that_the_system_cannot_run_is_no_java(tmp_path: Path) -> None:
    _touch(tmp_path / "usr/share/java/zookeeper.jar")
    _touch(tmp_path / "usr/bin/java").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(BackendUnavailable, match="Java is not.*usr/bin/java can't run it"):
        find_installation({"PATH": str(tmp_path / "usr/bin")}, tmp_path)


@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"])
def test_what_java_is_told_elsewhere_is_no_part_of_an_answer(
    zookeeper_lab: Lab, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "-Dcompany=ours")
    assert zookeeper_lab.zkcli("get /zookeeper/none") == "Node does not exist: /zookeeper/none"


def test_says_how_to_install_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="apt-get install zookeeper.*ZOOKEEPER_HOME"):
        find_installation({"PATH": ""}, tmp_path)
    _touch(tmp_path / "usr/share/java/zookeeper.jar")
    with pytest.raises(BackendUnavailable, match="Java is not.*default-jre-headless"):
        find_installation({"PATH": ""}, tmp_path)
    with pytest.raises(BackendUnavailable, match="ZOOKEEPER_HOME is /nowhere"):
        find_installation({"ZOOKEEPER_HOME": "/nowhere"}, tmp_path)


def test_a_dead_server_says_nothing() -> None:
    assert four_letter("127.0.0.1", 1, "srvr") == ""
    assert parse_srvr("") == {}


_BANNER = "Connecting to x:1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\n"


def test_cli_output_loses_its_banner_only() -> None:
    assert cli_answer("ls /", _BANNER + "[1, 2]\n", 0) == "[1, 2]"
    log = "2026-01-01 12:00:00,001 [myid:] - INFO  [main:Environment@98] - Client environment\n"
    assert cli_answer("get /x", log + _BANNER + "Node does not exist: /x\n", 1) == (
        "Node does not exist: /x"
    )
    echo = "JLine support is enabled\n[zk: x:1(CONNECTED) 0] ls /\n[1, 2]\n[zk: x:1(CONNECTED) 1] "
    assert cli_answer("ls /", _BANNER + echo, 0) == "[1, 2]"


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (  # 3.8.0
            'Exception in thread "main" java.lang.NumberFormatException: For input string: "x"\n'
            "\tat java.base/java.lang.Integer.parseInt(Integer.java:668)\n",
            'broke with NumberFormatException: For input string: "x"',
        ),
        (
            "java.io.IOException: no such file\n"
            "\tat org.apache.zookeeper.ZooKeeperMain.main(ZooKeeperMain.java:293)\n",
            "broke with IOException: no such file",
        ),
        ("KeeperErrorCode = ConnectionLoss for /x\n", "serves nobody"),
        (
            'Exception in thread "main" java.io.IOException: org.apache.zookeeper.'
            "KeeperException$ConnectionLossException: KeeperErrorCode = ConnectionLoss\n"
            "\tat org.apache.zookeeper.ZooKeeperMain.connectToZK(ZooKeeperMain.java:285)\n",
            "serves nobody",
        ),
    ],
)
def test_a_command_line_that_breaks_is_no_answer(printed: str, said: str) -> None:
    with pytest.raises(BackendError, match=re.escape(said)) as broken:
        cli_answer("get /x", _BANNER + printed, 1)
    assert "\n" not in str(broken.value)


def test_files_and_containers_are_configured_alike() -> None:
    settings = ZooKeeperSettings(tick_time=123, max_session_timeout=45_678)
    peers = [config.Peer(number, "127.0.0.1", 2888, 3888) for number in (1, 2, 3)]
    for members in ([], peers):
        written = config.zoo_cfg(2181, settings, members)
        lines = dict(line.split("=", 1) for line in written.splitlines())
        variables = config.environment(settings, 1, members)
        extra = dict(word.split("=", 1) for word in variables["ZOO_CFG_EXTRA"].split())
        shared = config.properties(settings, bool(members))
        assert lines.items() >= shared.items()
        values = [*extra.values(), *(v for k, v in variables.items() if k != "JVMFLAGS")]
        assert set(shared.values()) <= set(values)
        assert ("ZOO_SERVERS" in variables) == ("initLimit" in lines) == bool(members)


def _do_a_bit_of_everything(lab: Lab) -> tuple[str, int]:
    """Leave one transaction of each kind below a path of our own; the path and our session."""
    root = f"/t-{uuid.uuid4().hex[:8]}"
    client = KazooClient(lab.zookeeper.hosts)
    client.start()
    session: int = client.client_id[0]
    client.create(root, b"data")
    client.create(f"{root}/e", b"", ephemeral=True)
    client.create(f"{root}/s-", b"\xff\x00", ephemeral=True, sequence=True)
    multi = client.transaction()
    multi.create(f"{root}/7", "größe".encode(), ephemeral=True)
    multi.delete(f"{root}/e")
    assert len(multi.commit()) == 2
    failed = client.transaction()
    failed.create(f"{root}/never")
    failed.delete(f"{root}/nowhere")
    failed.commit()
    client.set(root, b"new")
    client.stop()
    client.close()
    return root, session


def test_transactions_are_exact(zookeeper_lab: Lab) -> None:
    root, session = _do_a_bit_of_everything(zookeeper_lab)
    mine = [t for t in zookeeper_lab.zookeeper.transactions() if t.session == session]
    seen = [(t.op, t.path and t.path.removeprefix(root), t.data, t.ephemeral) for t in mine]
    seen[-2:] = sorted(seen[-2:])  # a session's znodes go in no particular order
    assert seen == [
        ("createSession", None, None, False),
        ("create", "", b"data", False),
        ("create", "/e", b"", True),
        ("create", "/s-0000000001", b"\xff\x00", True),
        ("create", "/7", "größe".encode(), True),
        ("delete", "/e", None, False),
        ("error", None, None, False),
        ("error", None, None, False),
        ("setData", "", b"new", False),
        ("closeSession", None, None, False),
        ("delete", "/7", None, False),
        ("delete", "/s-0000000001", None, False),
    ]
    assert mine[4].zxid == mine[5].zxid
    zxids = [t.zxid for t in zookeeper_lab.zookeeper.transactions()]
    assert zxids == sorted(zxids)


def test_transactions_agree_with_the_official_tool(zookeeper_lab: Lab) -> None:
    _do_a_bit_of_everything(zookeeper_lab)
    home = registry.directory(zookeeper_lab.id) / "zookeeper1"
    [log] = (home / "data" / "version-2").glob("log.*")
    found = find_installation()
    tool = "org.apache.zookeeper.server.persistence.TxnLogToolkit"
    jars = ":".join(found.jars)
    printed = subprocess.run(
        [found.java, "-cp", jars, tool, str(log)], capture_output=True, check=True
    ).stdout.decode(errors="replace")
    lines = re.findall(r"session (0x\w+) cxid (0x\w+) zxid (0x\w+) (-?\w+)", printed)
    theirs = [(int(s, 16), int(c, 16), int(z, 16)) for s, c, z, _ in lines]
    ours = parse_transaction_logs([log.read_bytes()])
    assert list(dict.fromkeys((t.session, t.cxid, t.zxid) for t in ours)) == theirs
    single = {t.zxid: t.op for t in reversed(ours)}
    assert all(single[int(z, 16)] == op for _, _, z, op in lines if op not in ("multi", "error"))


def test_a_log_that_is_being_written_ends_early() -> None:
    assert parse_transaction_logs([b""]) == []
    assert parse_transaction_logs([b"ZKLG" + bytes(12) + bytes(100)]) == []
    with pytest.raises(HistoryError, match="ZKLG"):
        parse_transaction_logs([b"something else"])
