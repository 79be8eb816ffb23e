"""`python -m hwsim` is `hwsim`."""

from hwsim.cli import main

if __name__ == "__main__":
    main()
