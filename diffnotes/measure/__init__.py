"""What samples and laws are measured by."""
