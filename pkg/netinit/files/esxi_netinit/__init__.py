"""What esxi-img runs on the host: Python 3.5, the standard library only."""
