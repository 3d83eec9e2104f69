"""What a course needs: exercises without and with their solutions, marks, and what covers which objective."""
