"""`python -m producer`: the command line, where its script is not on the path."""

from producer.cli import main

if __name__ == "__main__":
    main(prog_name="understudy")
