"""`python -m forecast` is the `forecast` command."""

from forecast.cli.app import main

if __name__ == "__main__":
    main()
