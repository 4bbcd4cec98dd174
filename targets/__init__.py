"""Boards, one TOML file each; ``docs/boards.md`` explains the fields."""
