"""``python -m alphatriangle``: the command."""

from alphatriangle.cli.app import main

main()
