"""`python -m worker.sandbox`."""

import click

from . import serve


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9100, show_default=True, help="0 takes a free port.")
def main(host: str, port: int) -> None:
    """Run the sandbox provider until it is interrupted."""
    serve(host, port)


if __name__ == "__main__":
    main()
