"""Putting emr-fl into operation: commands, simulation, the sample federation."""
