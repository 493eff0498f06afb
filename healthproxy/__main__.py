"""`python -m healthproxy`, the same as `healthproxy`."""

from healthproxy.cli import main

if __name__ == "__main__":
    main()
