"""Translates recorded scenarios (tests/oracle) into what the golden player reads; ../README.md tells the files."""
