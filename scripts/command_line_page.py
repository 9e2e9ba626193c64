"""Write docs/reference/command-line.md from the help texts of the program.

Run it after a change of a command: ``python scripts/command_line_page.py``. A test compares.
"""

from pathlib import Path

import click

from napari_camelyon.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"

_LEAD = """# Command line

These are the help texts of the program itself. `python -m napari_camelyon` does the same as
`napari-camelyon`.

A command that fails prints one or two sentences, no traceback, and exits with a status other
than 0.
"""


def page() -> str:
    """Return the text of the page."""
    top = click.Context(
        main, info_name="napari-camelyon", terminal_width=92, **main.context_settings
    )
    parts = [_LEAD, _help(main, top)]
    for name in main.list_commands(top):
        command = main.commands[name]
        context = click.Context(command, parent=top, info_name=name, terminal_width=92)
        parts += [f"## {name}\n", _help(command, context)]
        if isinstance(command, click.Group):
            parts += _of_group(command, context)
    return "\n".join(parts)


def _of_group(group: click.Group, parent: click.Context) -> list[str]:
    parts = []
    for name in group.list_commands(parent):
        command = group.commands[name]
        context = click.Context(command, parent=parent, info_name=name, terminal_width=92)
        parts += [f"### {parent.info_name} {name}\n", _help(command, context)]
    return parts


def _help(command: click.Command, context: click.Context) -> str:
    lines = (line.rstrip() for line in command.get_help(context).splitlines())
    return "```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
