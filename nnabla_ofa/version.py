"""The version of this package, where every other module can read it."""

VERSION = "0.1.0"
