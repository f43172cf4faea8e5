"""`python -m condyle`: the command line."""

from condyle.app.cli.main import main

if __name__ == "__main__":
    main()
