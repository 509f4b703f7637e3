"""The commands. Nothing heavy is imported before a command needs it."""

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    from poller.cli.app import app  # noqa: PLC0415 - importing the package costs nothing

    app()
