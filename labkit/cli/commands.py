"""All commands, in the order in which `labkit --help` lists them."""

from __future__ import annotations

import click

from labkit.cli import breaking, labs, pages


class _InOrder(click.Group):
    """Lists its commands as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
    no_args_is_help=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(None, package_name="zookeeper-sequence-lab", message="%(version)s")
def labkit() -> None:
    """Run ZooKeeper and a few servers, and break them."""


for command in (
    *(pages.lab, labs.tour, labs.up, labs.ps, labs.down),
    *(breaking.chaos, breaking.ladder, breaking.explore, breaking.judge),
    *(pages.progress, pages.grade, pages.export),
    *(labs.doctor, labs.install_zookeeper, labs.machines),
):
    labkit.add_command(command)
