"""What ``aqe bench`` measures: one module per kind, listed in `aqe_core.cli.bench.KINDS`."""
