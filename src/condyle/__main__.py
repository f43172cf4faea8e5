"""`python -m condyle`: the command line."""

from condyle.app.cli import main

if __name__ == "__main__":
    main()
