"""What is right, a module a chapter; not at hand where submissions are executed."""
