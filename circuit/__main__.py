"""``python -m circuit``."""

from circuit.cli.app import main

if __name__ == "__main__":
    main()
