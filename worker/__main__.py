"""`python -m worker`: the whole command line, from a checkout that is not installed."""

from producer.cli import main
from worker.cli import commands

if __name__ == "__main__":
    for command in commands.commands.values():
        main.add_command(command)
    main(prog_name="understudy")
