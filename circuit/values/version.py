"""The version of circuit; a result of another version is computed again."""

VERSION = "0.1.0"
