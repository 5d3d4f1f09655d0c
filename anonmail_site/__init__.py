"""What is above all other packages: settings, URLs, processes, and pages that span everything."""

__version__ = "0.1.0"
